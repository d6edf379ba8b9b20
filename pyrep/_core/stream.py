"""Outgoing streams: ordered records, in frames."""

from __future__ import annotations

import enum
import errno
import mmap
from dataclasses import dataclass
from typing import NoReturn

from pyrep._core.frame import FRAME_BYTES
from pyrep._core.line import Line, check_lines
from pyrep._core.native import Owned, Pointer, check, deadline_of, error_of, ffi, in_slices, lib
from pyrep._core.wake import Wake, pointer_of
from pyrep.errors import InvalidArgumentError, WireError

__all__ = [
    "Ack",
    "Stream",
    "StreamInfo",
    "new_frame_buffer",
]


class Ack(enum.IntEnum):
    """When a shipped write is acknowledged."""

    QUEUED = lib.REP_ACK_QUEUED
    RECEIVED = lib.REP_ACK_RECEIVED
    DURABLE = lib.REP_ACK_DURABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """State of an outgoing stream. Numbers of records; sizes in bytes.

    The lags are ages of the oldest record that isn't received, or durable, yet. `full_s` is how
    long, in all, hosts found no room. `pulled`: the last record when the group last pulled ahead.
    """

    open: bool
    corked: bool
    attempt: int
    last: int
    taken: int
    received: int
    durable: int
    queued_bytes: int
    queued_peak_bytes: int
    frame_bytes: int
    received_lag_s: float
    durable_lag_s: float
    full_s: float
    pulled: int
    pull_count: int


class Stream(Owned):
    """The ordered outgoing stream to one (remote system, consistency group)."""

    def __init__(self, stream_id: int, *, capacity_bytes: int) -> None:
        out = ffi.new("rep_stream **")
        code = lib.rep_stream_new(stream_id, capacity_bytes, out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(f"a queue of {capacity_bytes} bytes is under 4 MiB")
        check(code, "making a stream")
        super().__init__(out[0], lib.rep_stream_free)

    def open(self, attempt: int) -> int:
        """Begin a connection; return the number of the first record it will carry."""
        out = ffi.new("uint64_t *")
        check(lib.rep_stream_open(self.pointer, attempt, out), "opening a stream")
        return int(out[0])

    def break_off(self, errno_code: int = errno.EPIPE) -> None:
        """End the connection: everything unsettled becomes pending, every wait ends."""
        lib.rep_stream_break(self.pointer, -errno_code)

    def take_into(self, frame: Pointer, timeout_s: float, wake: Wake) -> int:
        """Fill `frame` (a cffi buffer of FRAME_BYTES); return its length, 0 at the time-out.

        Raises:
            PathLostError: the stream isn't open.
            CancelledError: `wake` was raised.
        """
        out = ffi.new("uint64_t *")
        deadline = deadline_of(timeout_s)
        code = lib.rep_stream_take(self.pointer, frame, deadline, wake.pointer, out)
        if code == -errno.ETIMEDOUT:
            return 0
        check(code, "taking a frame")
        return int(out[0])

    def wait_takable(self, timeout_s: float, wake: Wake) -> bool:
        """Wait until there is a frame to take; return whether there is. Raises as `take_into`."""
        code = lib.rep_stream_await(self.pointer, deadline_of(timeout_s), wake.pointer)
        if code == -errno.ETIMEDOUT:
            return False
        check(code, "waiting for a frame")
        return True

    def carry(self, line: Line | None) -> None:
        """Let the core send the stream over a line, by `pump` and by writers that wait."""
        code = lib.rep_stream_carry(self.pointer, ffi.NULL if line is None else line.pointer)
        check(code, "opening a stream")
        self.handle.keep("line", None if line is None else line.handle)

    def pump(self, wake: Wake) -> NoReturn:
        """Send what is appended over the line, until it ends.

        Raises:
            PathLostError: the stream isn't open any more, or the line ended.
            CancelledError: `wake` was raised.
        """
        code = lib.rep_stream_pump(self.pointer, wake.pointer)
        if code == -errno.ECANCELED:
            raise error_of(code, "sending frames")
        check_lines(code)
        raise AssertionError(code)

    def ack(self, attempt: int, received: int, durable: int) -> None:
        """Take the peer's two numbers; those of an older attempt are ignored."""
        code = lib.rep_stream_ack(self.pointer, attempt, received, durable)
        if code == -errno.EBADMSG:
            raise WireError(f"acknowledged record {received}/{durable} was never sent")

    def barrier(self) -> None:
        """Ask the peer to make durable what was sent so far."""
        lib.rep_stream_barrier(self.pointer)

    def wait(
        self, number: int, ack: Ack, *, timeout_s: float | None, wake: Wake | None = None
    ) -> None:
        """Wait until record `number` is acknowledged, with None as long as the stream is open.

        Raises:
            TimedOutError, CancelledError, PathLostError.
        """

        def call(deadline: int) -> int:
            handle = pointer_of(wake)
            return int(lib.rep_stream_wait(self.pointer, number, int(ack), deadline, handle))

        check(in_slices(call, timeout_s), f"waiting for record {number}")

    def uncork(self) -> None:
        """Let go what a cut holds back."""
        lib.rep_stream_uncork(self.pointer)

    def info(self) -> StreamInfo:
        """Return its state."""
        out = ffi.new("rep_stream_info *")
        lib.rep_stream_info_get(self.pointer, out)
        return StreamInfo(
            open=bool(out.open),
            corked=bool(out.corked),
            attempt=out.attempt,
            last=out.last,
            taken=out.taken,
            received=out.received,
            durable=out.durable,
            queued_bytes=out.queued_bytes,
            queued_peak_bytes=out.queued_peak_bytes,
            frame_bytes=out.frame_bytes,
            received_lag_s=out.received_lag_ns / 1e9,
            durable_lag_s=out.durable_lag_ns / 1e9,
            full_s=out.full_ns / 1e9,
            pulled=out.pulled,
            pull_count=out.pull_count,
        )


def new_frame_buffer() -> tuple[Pointer, memoryview]:
    """Return a buffer for `Stream.take_into` and the memory behind it.

    It begins on a page: what is copied to other than multiples of 32 takes three times as long.
    """
    memory = memoryview(mmap.mmap(-1, FRAME_BYTES))
    return ffi.from_buffer("uint8_t[]", memory, require_writable=True), memory
