"""Repairing a pair: what a verification found to differ becomes pending, and is copied again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import replace

from pyrep.engine.cancel import Cancel
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import name_of
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.pairverify_result import PairVerifyResult
from pyrep.engine.remote import RemotePairs
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError, PyrepError, RefusedError
from pyrep.model import PairId, PairStatus, SplitCause

__all__ = ["PairRepairs"]

_log = logging.getLogger(__name__)


class PairRepairs:
    """Repairs pairs of one system; of remote ones those whose PVOL is here."""

    def __init__(self, state: SystemState, local: LocalPairs, remote: RemotePairs) -> None:
        self._state = state
        self._local = local
        self._remote = remote

    def repair(
        self, pair_id: PairId, found: PairVerifyResult, cancel: Cancel | None = None
    ) -> CopyJob | None:
        """Do `Pair.repair`."""
        state = self._state
        if found.pair_id != pair_id:
            raise InvalidArgumentError(
                f"cannot repair pair {pair_id} by a verification of pair {found.pair_id}"
            )
        if found.is_equal:
            return None
        with state.operation("repair", [pair_id]):
            mirror = state.mirror(pair_id)
            status = mirror.row.status
            if status is PairStatus.COPY:
                raise RefusedError(
                    f"cannot repair {name_of(mirror.row, state.system_id)}: it is {status}",
                    hint="wait until it is DUPLEX",
                )
            # Once it is set aside it goes on by itself, also after a crash, with what is pending
            # then: that is written down before. INV-2.
            with mirror.savers, mirror.link.expecting(found.found.chunks):
                self._note(mirror)
                self._set_aside(mirror)
                with self._guarded_on_error(mirror):
                    self._make_pending(mirror, found)
        if status is not PairStatus.DUPLEX:
            return None
        if mirror.row.is_remote:
            with self._guarded_on_error(mirror):
                return self._remote.copies.resync_forward(pair_id, cancel=cancel)
        return self._local.copies.resync_forward(pair_id)

    @contextlib.contextmanager
    def _guarded_on_error(self, mirror: Mirror) -> Iterator[None]:
        """Let the fence level hold again when what follows `_set_aside` fails."""
        try:
            yield
        except PyrepError:
            if mirror.row.is_remote:
                self._remote.splits.guard_again(mirror)
            raise

    def _set_aside(self, mirror: Mirror) -> None:
        if mirror.row.status is not PairStatus.DUPLEX:
            return
        if mirror.row.is_remote:
            # Goes on forward by itself, should this end here; its SVOL stays closed to hosts, and
            # the generation that is split from it first is known to be of a repair.
            self._remote.splits.set_aside(mirror)
        else:
            self._set_aside_local(mirror.row.pair_id)

    def _set_aside_local(self, pair_id: PairId) -> None:
        """SPLIT, unclean, no generation: what the SVOL holds is nothing that its PVOL ever held."""
        pvol, svol = self._state.sides(pair_id)
        with self._state.control, pvol.noting_its_end():
            pvol.link.mark()
            svol.link.mark()
            self._state.commit(
                *(
                    replace(
                        one.row,
                        status=PairStatus.SPLIT,
                        cause=SplitCause.UNCLEAN,
                        target_consistent=False,
                    )
                    for one in (pvol, svol)
                )
            )

    @staticmethod
    def _note(mirror: Mirror) -> None:
        """Write down what is about to be pending; where that fails, that everything may be."""
        try:
            mirror.save()
        except PyrepError as error:
            _log.info("pair.repair pair=%s all is pending: %s", mirror.row.pair_id, error)
            mirror.file.mark_open()

    def _make_pending(self, mirror: Mirror, found: PairVerifyResult) -> None:
        mirror.link.pending.update(found.found.chunks)
        if mirror.file.marked_open:
            mirror.save()
        _log.warning(
            "pair.repair pair=%s extents=%d pending again",
            mirror.row.pair_id,
            found.differing_count,
        )
