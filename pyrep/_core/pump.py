"""Pumps: a path in its steady state, without the interpreter."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

from pyrep._core.apply import Apply
from pyrep._core.line import Line, check_lines
from pyrep._core.native import Buffer, error_of, ffi, held, lib
from pyrep._core.stream import Stream
from pyrep._core.wake import Wake
from pyrep.errors import WireError

__all__ = ["Left", "Numbers", "Pump", "decode_numbers", "encode_numbers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a pump came back for: one of these.

    Attributes:
        envelope: an envelope that it doesn't take; its body is still to be read.
        frame: one that it couldn't take, and that had no effect; valid until it is called again.
        failed: volumes of this stream failed; errors are to be taken and acknowledged.
        numbers: what it couldn't take (`decode_numbers`).
    """

    envelope: bytes | None = None
    frame: memoryview | None = None
    failed: Apply | None = None
    numbers: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a peer has received and made durable of a stream."""

    stream_id: int
    attempt: int
    received: int
    durable: int


def encode_numbers(numbers: Numbers) -> bytes:
    """Return the body of an envelope of numbers."""
    data = bytearray(lib.REP_NUMBERS_BYTES)
    words = (numbers.stream_id, numbers.attempt, numbers.received, numbers.durable)
    lib.rep_numbers_put(ffi.from_buffer(data), ffi.new("rep_numbers *", words))
    return bytes(data)


def decode_numbers(body: Buffer) -> Numbers:
    """Return what a body says. WireError: its length or its digest isn't right."""
    out = ffi.new("rep_numbers *")
    if len(body) != lib.REP_NUMBERS_BYTES or lib.rep_numbers_get(ffi.from_buffer(body), out):
        raise WireError(f"cannot take numbers of {len(body)} bytes: their digest doesn't match")
    return Numbers(
        stream_id=out.stream_id, attempt=out.attempt, received=out.received, durable=out.durable
    )


class Pump:
    """The two lines of a connection. One thread takes frames, one takes numbers.

    Attributes:
        data: where frames go, both ways.
        control: where numbers go, and whatever else.
    """

    def __init__(self, data: Line, control: Line) -> None:
        self.data = data
        self.control = control

    def frames(self, applies: Sequence[Apply], wake: Wake) -> Left:
        """Take, apply and acknowledge frames of these streams, until something else comes.

        Raises:
            PathLostError: a line ended.
            CancelledError: `wake` was raised in the midst of a frame.
        """
        left = ffi.new("rep_pump *")
        with held(*applies):
            array = ffi.new("rep_apply *[]", [one.pointer for one in applies])
            data, control, count = self.data.pointer, self.control.pointer, len(applies)
            code = lib.rep_pump_frames(data, control, array, count, wake.pointer, left)
        match code:
            case lib.REP_PUMP_ENVELOPE:
                return Left(envelope=bytes(ffi.buffer(left.envelope)))
            case lib.REP_PUMP_FRAME:
                return Left(frame=memoryview(ffi.buffer(left.frame, left.frame_bytes)))
            case lib.REP_PUMP_FAILED:
                return Left(failed=applies[left.index])
            case _:
                if code == -errno.ECANCELED:
                    raise error_of(code, "applying a frame")
                check_lines(code, self.data, self.control)
                raise AssertionError(code)

    def numbers(self, streams: Sequence[Stream]) -> Left:
        """Take the peer's numbers of these streams, until something else comes. Raises likewise."""
        left = ffi.new("rep_pump *")
        with held(*streams):
            array = ffi.new("rep_stream *[]", [one.pointer for one in streams])
            code = lib.rep_pump_numbers(self.control.pointer, array, len(streams), left)
        match code:
            case lib.REP_PUMP_ENVELOPE:
                return Left(envelope=bytes(ffi.buffer(left.envelope)))
            case lib.REP_PUMP_NUMBERS:
                return Left(numbers=bytes(ffi.buffer(left.numbers)))
            case _:
                check_lines(code, self.control)
                raise AssertionError(code)
