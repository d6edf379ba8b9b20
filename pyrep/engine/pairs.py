"""The pairs that a system holds a side of: found, and commanded several at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyrep.engine.arguments import several
from pyrep.engine.caller import Caller
from pyrep.engine.cancel import Cancel, ProgressCallback
from pyrep.engine.local import LocalPairs
from pyrep.engine.marker import MarkerOutcome, require_pairs
from pyrep.engine.pair import Pair
from pyrep.engine.remote import RemotePairs
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.meta.column import known_hint
from pyrep.model import (
    AckPoint,
    Generation,
    GroupStatus,
    PairId,
    check_text,
    group_status,
)

__all__ = ["Pairs"]


class Pairs:
    """All pairs of a system. `StorageSystem` says what may be asked, and what is raised."""

    def __init__(self, state: SystemState, local: LocalPairs, remote: RemotePairs) -> None:
        self._state = state
        self._local = local
        self._remote = remote

    def get(self, pair_id: str) -> Pair:
        """Return one of them. NotFoundError names those there are."""
        self._state.mirror(PairId(pair_id))
        return Pair(self._state, PairId(pair_id), self._local, self._remote)

    def all(self) -> tuple[Pair, ...]:
        """Return all of them."""
        with self._state.control:
            self._state.check_open()
            ids = dict.fromkeys(row.pair_id for row in self._state.table.rows())
        return tuple(Pair(self._state, one, self._local, self._remote) for one in ids)

    def group_status(self, group: str) -> GroupStatus:
        """Return the status of a consistency group."""
        table = self._state.table.rows()
        rows = [row for row in table if row.group_id == group]
        if not rows:
            known = {row.group_id for row in table if row.group_id is not None}
            raise NotFoundError(
                f"system {self._state.system_id} has no pair in group {group}",
                hint=known_hint("group", known),
            )
        return group_status(rows)

    def split(
        self,
        pair_ids: Sequence[str],
        *,
        label: str,
        progress: ProgressCallback | None,
        cancel: Cancel | None,
    ) -> Generation | None:
        """Split several pairs, all local or all remote, at one point (INV-6)."""
        ids = [PairId(check_text("pair", one)) for one in several("pairs", pair_ids)]
        remote = {self._state.mirror(one).row.is_remote for one in ids}
        if remote == {True, False}:
            raise InvalidArgumentError("cannot split local and remote pairs with one command")
        caller = Caller(f"split of pairs {', '.join(ids)}", progress=progress, cancel=cancel)
        if remote == {True}:
            self._remote.splits.split(ids, caller=caller)
            return None
        return self._local.splits.split(ids, label=label, caller=caller)

    def wait_marker(
        self,
        pair_ids: Iterable[str],
        group: str | None,
        *,
        until: AckPoint,
        timeout_s: float | None,
        cancel: Cancel | None,
    ) -> dict[PairId, MarkerOutcome]:
        """Wait until what was written to these pairs, and to a group's, is at the secondary."""
        ids = [PairId(one) for one in pair_ids]
        if group is not None:
            rows = [one.row for one in self.all()]
            ids += [one.pair_id for one in rows if one.group_id == group and one.is_primary]
        require_pairs(ids)
        return self._remote.markers.wait(ids, until=until, timeout_s=timeout_s, cancel=cancel)
