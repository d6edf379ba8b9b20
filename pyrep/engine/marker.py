"""Markers: whether what hosts wrote up to a moment is at the secondary."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pyrep._core import Ack, LinkMode, StreamInfo
from pyrep.engine.arguments import check_timeout
from pyrep.engine.cancel import Cancel
from pyrep.engine.decide import name_of
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet, ack_of
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.state import SystemState
from pyrep.errors import (
    CancelledError,
    InvalidArgumentError,
    NotFoundError,
    PathLostError,
    RefusedError,
    TimedOutError,
)
from pyrep.model import AckPoint, Direction, PairId, PairStatus, check_text

__all__ = ["MarkerOutcome", "Markers", "require_pairs"]

_POLL_S = 0.02
_SLICE_S = 0.2


class MarkerOutcome(StrEnum):
    """What became of a marker, ordered from good to bad.

    DONE: everything written before it is there. TIMED_OUT: not yet. CHANGED: somebody has split,
    dissolved or turned the pair meanwhile, or stopped its copy. BROKEN: the path or a volume has
    failed, or had.
    """

    DONE = "done"
    TIMED_OUT = "timed out"
    CHANGED = "changed"
    BROKEN = "broken"


@dataclass(slots=True)
class _Marker:
    """A pair, and the record to wait for; none is known before its copy has ended."""

    mirror: Mirror
    outlet: Outlet | None = None
    attempt: int = 0
    number: int = 0


class Markers:
    """Waits for what was written, of remote pairs whose PVOL is here."""

    def __init__(self, state: SystemState, line: RemoteLine) -> None:
        self._state = state
        self._line = line

    def wait(
        self,
        pair_ids: Sequence[PairId],
        *,
        until: AckPoint,
        timeout_s: float | None,
        cancel: Cancel | None,
    ) -> dict[PairId, MarkerOutcome]:
        """Mark this moment in every pair, then wait for each. See `StorageSystem.wait_marker`."""
        if until is AckPoint.QUEUED:
            raise InvalidArgumentError(
                "a marker that waits for queued waits for nothing",
                hint="until received, or durable",
            )
        check_timeout(timeout_s)
        asked = [check_text("pair", one) for one in pair_ids]
        mirrors = [self._mirror(one) for one in dict.fromkeys(asked)]
        markers = [_Marker(one) for one in mirrors]
        for one in markers:
            self._place(one)
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        return {
            one.mirror.row.pair_id: self._wait(one, ack_of(until), end_s, cancel) for one in markers
        }

    def _mirror(self, pair_id: PairId) -> Mirror:
        mirror = self._state.mirror(pair_id)
        row = mirror.row
        if not row.is_remote or not row.is_primary:
            hint = f"ask system {row.pair_system_id}" if row.is_remote else "name a remote pair"
            raise RefusedError(
                f"cannot wait for {name_of(row, self._state.system_id)} to have what was written: "
                f"only the primary of a remote pair knows",
                hint=hint,
            )
        return mirror

    def _place(self, marker: _Marker) -> MarkerOutcome | None:
        """Note the newest record, if the pair follows; return how it ended if it can't."""
        mirror = marker.mirror
        row = mirror.row
        if self._is_gone(mirror) or row.status is PairStatus.SPLIT:
            return self._ended(mirror)
        if row.direction is Direction.REVERSE or (row.status is PairStatus.COPY and mirror.stopped):
            return MarkerOutcome.CHANGED
        try:
            peer = self._line.peer(mirror)
            peer.connection()
        except PathLostError:
            return MarkerOutcome.BROKEN  # of a copy, too: when it goes on nobody knows
        if row.status is not PairStatus.DUPLEX:
            return None
        outlet = peer.known_outlet(row.group_id) if row.group_id else None
        if outlet is None:
            return MarkerOutcome.BROKEN
        # The stream first: a link that ships afterwards has shipped until then.
        info, link = outlet.stream.info(), mirror.link.info()
        if not info.open or link.mode is not LinkMode.SHIP or link.broken:
            return MarkerOutcome.BROKEN
        marker.outlet, marker.attempt, marker.number = outlet, info.attempt, info.last
        return None

    def _is_gone(self, mirror: Mirror) -> bool:
        return self._state.mirrors.get(mirror.key) is not mirror

    def _ended(self, mirror: Mirror) -> MarkerOutcome:
        cause = None if self._is_gone(mirror) else mirror.row.cause
        failed = cause is not None and cause.is_error
        return MarkerOutcome.BROKEN if failed else MarkerOutcome.CHANGED

    def _wait(
        self, marker: _Marker, ack: Ack, end_s: float | None, cancel: Cancel | None
    ) -> MarkerOutcome:
        while True:
            if self._state.closing:
                raise CancelledError(f"system {self._state.system_id} is closing")
            if cancel is not None:
                cancel.check("waiting for a marker")
            left_s = _SLICE_S if end_s is None else end_s - time.monotonic()
            slice_s = max(min(left_s, _SLICE_S), 0.0)
            found = self._look(marker, ack, slice_s)
            if found is not None:
                return found
            if left_s <= 0:
                return MarkerOutcome.TIMED_OUT

    def _look(self, marker: _Marker, ack: Ack, slice_s: float) -> MarkerOutcome | None:
        """Wait for a moment; return the outcome when it is known."""
        if marker.outlet is None:
            # In COPY: whatever was written is there when it is DUPLEX.
            found = self._place(marker)
            if found is None and marker.outlet is None:
                with self._state.control:
                    self._state.control.wait_for(lambda: self._state.closing, min(slice_s, _POLL_S))
            return found
        stream = marker.outlet.stream
        with contextlib.suppress(TimedOutError, PathLostError):
            stream.wait(marker.number, ack, timeout_s=slice_s, wake=self._state.wake)
        info = stream.info()
        if not self._is_same(marker, info):
            ended = self._ended(marker.mirror)
            split = marker.mirror.row.status is PairStatus.SPLIT or self._is_gone(marker.mirror)
            return ended if split else MarkerOutcome.BROKEN
        if (info.durable if ack is Ack.DURABLE else info.received) >= marker.number:
            return MarkerOutcome.DONE
        return None

    def _is_same(self, marker: _Marker, info: StreamInfo) -> bool:
        """Whether the stream is still that of the marker: numbers of another one say nothing."""
        return info.open and info.attempt == marker.attempt


def require_pairs(pair_ids: Sequence[PairId]) -> None:
    """Raise unless there is something to wait for."""
    if not pair_ids:
        raise NotFoundError("there is no pair to wait for", hint="name pairs, or a group")
