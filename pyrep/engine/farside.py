"""The other side of a pair, as who verifies it asks it."""

from __future__ import annotations

from typing import Protocol

from pyrep._core import Ack, Bitmap, Runs
from pyrep.engine.datamap import RunList, data_runs
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.questions import ask_data, ask_digests
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.state import SystemState
from pyrep.engine.sums import Sums

__all__ = ["Far", "LocalFar", "RemoteFar"]


class Far(Protocol):
    """The other side."""

    def digests(self, sums: Sums, runs: Runs) -> bytes:
        """Return digests of its volume."""
        ...

    def data(self, first: int, past: int) -> tuple[RunList, int]:
        """Return where its volume has data, as `data_runs`."""
        ...

    def await_sent(self) -> None:
        """What was sent up to now is there."""
        ...

    def cover(self) -> Bitmap:
        """Return what is pending or unsettled on either side."""
        ...


class LocalFar:
    """The SVOL of a local pair."""

    def __init__(self, state: SystemState, pvol: Mirror, svol: Mirror) -> None:
        self._sides = (pvol, svol)
        self._io = state.volume(svol.row.volume_id).io

    def digests(self, sums: Sums, runs: Runs) -> bytes:
        """Return digests of its volume."""
        return sums.read(self._io, runs)[0]

    def data(self, first: int, past: int) -> tuple[RunList, int]:
        """Return where its volume has data."""
        return data_runs(self._io, first, past, chunk_bytes=self._sides[0].row.chunk_bytes)

    def await_sent(self) -> None:
        """A write is forwarded in its own pass."""

    def cover(self) -> Bitmap:
        """Return what is pending or unsettled on either side."""
        pvol, svol = self._sides
        both = pvol.pending()
        both.update(svol.pending())
        return both


class RemoteFar:
    """The SVOL of a remote pair, at the primary."""

    def __init__(
        self, state: SystemState, line: RemoteLine, mirror: Mirror, outlet: Outlet | None
    ) -> None:
        self._state = state
        self._line = line
        self._mirror = mirror
        self._outlet = outlet
        self._peer: Peer = line.peer(mirror)

    def digests(self, sums: Sums, runs: Runs) -> bytes:
        """Return digests of its volume."""
        return ask_digests(self._peer, self._mirror.row.pair_id, sums, runs)

    def data(self, first: int, past: int) -> tuple[RunList, int]:
        """Return where its volume has data."""
        return ask_data(self._peer, self._mirror.row.pair_id, first, past)

    def await_sent(self) -> None:
        """Wait until what was sent up to now is there."""
        if self._outlet is not None:
            timeout_s = self._state.options.ack_timeout_s
            last = self._outlet.stream.info().last
            self._outlet.await_answer(
                last, Ack.RECEIVED, timeout_s=timeout_s, wake=self._state.wake
            )

    def cover(self) -> Bitmap:
        """Return what is pending or unsettled on either side."""
        return self._line.peek(self._mirror)
