"""Remote pairs whose volume or peer's volume failed: noticed at their primary."""

from __future__ import annotations

import contextlib

from pyrep._core import LinkMode
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import BusyError, NotFoundError
from pyrep.model import PairId, PairStatus, SplitCause

__all__ = ["RemoteFailures"]


class RemoteFailures:
    """Links of remote pairs that broke, and what their rows say then."""

    def __init__(self, state: SystemState, line: RemoteLine) -> None:
        self._state = state
        self._line = line

    def refresh(self) -> None:
        """Notice links that broke since the last look; not those that a command is busy with.

        A stream that broke is the path's matter.
        """
        state = self._state
        with state.control:
            if state.closing:
                return
            failed = [one for one in state.mirrors.values() if self._has_failed(one)]
        for mirror in failed:
            with (
                contextlib.suppress(BusyError, NotFoundError),
                state.operation("mark", [mirror.row.pair_id], lease=ANY_LEASE),
            ):
                if self._has_failed(mirror):
                    self._note_failed(mirror)

    def note_peer_failed(self, pair_id: PairId) -> None:
        """A volume of the secondary failed; the link is broken by now."""
        with self._state.control:
            for mirror in self._state.mirrors.values():
                if mirror.row.pair_id == pair_id and mirror.row.cause is SplitCause.CONGESTED:
                    mirror.failed = True

    def _has_failed(self, mirror: Mirror) -> bool:
        row = mirror.row
        if not row.is_remote or not row.is_source or mirror.job:
            return False
        if row.status is PairStatus.SPLIT:  # what was queued still goes there
            return mirror.failed and row.cause is SplitCause.CONGESTED
        if mirror.failed:
            return True
        info = mirror.link.info()
        if info.mode is not LinkMode.SHIP or not info.broken or info.pulled_ahead:
            return False
        peer = self._state.peers.get(row.pair_system_id)
        outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
        return outlet is not None and outlet.stream.info().open

    def _note_failed(self, mirror: Mirror) -> None:
        """A volume of the pair failed: SPLIT, device_error; the SVOL is whole if it was the PVOL.

        The secondary notes its own failure by itself; of this side's it is told.
        """
        row = mirror.row
        source_failed = bool(mirror.link.info().source_failed)
        spared = source_failed or (mirror.failed and mirror.spared)
        whole = row.status is PairStatus.DUPLEX and spared
        with mirror.noting_its_end(spared=whole):
            mirror.link.mark()  # forgets why it broke
            self._state.change(
                mirror,
                status=PairStatus.SPLIT,
                cause=SplitCause.DEVICE_ERROR,
                target_consistent=whole,
                pending_union=False,
                # A flush that failed has made everything pending.
                overmarked=row.overmarked or source_failed,
            )
        if row.is_primary:
            self._line.drain_or_break(mirror)
            self._line.tell_split(mirror)
