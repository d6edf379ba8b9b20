"""Links of local pairs that broke because storage failed, and what their rows say then."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from pyrep._core import LinkMode
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import BusyError, NotFoundError
from pyrep.model import Generation, GenerationState, PairStatus, SplitCause

__all__ = ["LocalBreaks"]


class LocalBreaks:
    """Notices what broke since the last look."""

    def __init__(self, state: SystemState) -> None:
        self._state = state

    def refresh(self) -> None:
        """Notice links that broke since the last look; not those that a command is busy with."""
        state = self._state
        with state.control:
            if state.closing:
                return
            broken = [one.row.pair_id for one in state.mirrors.values() if _is_broken(one)]
        for pair_id in broken:
            with (
                contextlib.suppress(BusyError, NotFoundError),
                state.operation("mark", [pair_id], lease=ANY_LEASE),
            ):
                pvol, svol = state.sides(pair_id)
                source, target = (pvol, svol) if pvol.row.is_source else (svol, pvol)
                if _is_broken(source):
                    self._note_broken(source, target)

    def note_all_broken(self) -> None:
        """Notice, at the end, what broke since the last look: no command runs any more."""
        state = self._state
        for source in list(state.mirrors.values()):
            if _is_broken(source):
                row = source.row
                self._note_broken(source, state.mirrors[row.pair_id, row.mirror_volume_id])

    def _note_broken(self, source: Mirror, target: Mirror) -> None:
        """A link ended its work because a side's storage failed: SPLIT, device_error.

        The target stays consistent if it was the source that failed.
        """
        state = self._state
        halves = self._half_taken(target) if source.failed else []
        spared = source.link.info().source_failed or (source.failed and source.spared)
        consistent = source.row.target_consistent and spared
        with state.control, source.noting_its_end(spared=consistent):
            source.link.mark()  # forgets why it broke
            target.link.mark()
            columns = {
                "status": PairStatus.SPLIT,
                "cause": SplitCause.DEVICE_ERROR,
                "target_consistent": consistent,
            }
            state.commit(
                replace(source.row, pending_union=False, **columns),  # type: ignore[arg-type]
                replace(target.row, **columns),  # type: ignore[arg-type]
                first=lambda: self._fail(halves),
            )

    def _fail(self, generations: list[Generation]) -> None:
        for one in generations:
            self._state.catalogue.replace(replace(one, state=GenerationState.FAILED))

    def _half_taken(self, svol: Mirror) -> list[Generation]:
        """Return generations that a split couldn't complete: the tables took nothing any more."""
        return [
            one
            for one in self._state.catalogue.all()
            if one.state is GenerationState.TAKING
            and one.home == self._state.system_id
            and svol.row.volume_id in {member.svol for member in one.members}
        ]


def _is_broken(mirror: Mirror) -> bool:
    row = mirror.row
    if row.is_remote or not row.is_source or row.status is PairStatus.SPLIT:
        return False
    if mirror.job is not None:
        return False  # it has yet to find out
    info = mirror.link.info()
    return mirror.failed or (info.mode is LinkMode.FORWARD and bool(info.broken))
