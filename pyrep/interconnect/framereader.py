"""The frames of a data channel, one after the other, read into memory that is used again."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from pyrep._core import FRAME_BYTES
from pyrep.errors import WireError
from pyrep.interconnect.channel import Channel
from pyrep.interconnect.envelope import ENVELOPE_BYTES, Kind, open_envelope

__all__ = ["read_frames"]

_AHEAD_BYTES = 64 << 10
"""Read at most, before it is known how long a frame is: many small ones come in one call."""


def read_frames(channel: Channel) -> Iterator[memoryview]:
    """Yield frames as they come, unchecked; each is valid until the next is asked for.

    Raises:
        WireError: what came isn't a frame's envelope: nothing after it can be told apart any more.
        PathLostError: the channel ended.
    """
    # Begins on a page, which a bytearray doesn't: envelopes, headers and most data are multiples of
    # 32 bytes long, and what is received is copied to multiples of 32 three times as fast.
    memory = memoryview(mmap.mmap(-1, ENVELOPE_BYTES + FRAME_BYTES + _AHEAD_BYTES))
    begin = end = 0
    while True:
        begin, end = _room_for(memory, begin, end, ENVELOPE_BYTES + _AHEAD_BYTES)
        while end - begin < ENVELOPE_BYTES:
            end += channel.recv_into(memory[end : end + _AHEAD_BYTES])
        envelope = open_envelope(memory[begin : begin + ENVELOPE_BYTES])
        if envelope.kind is not Kind.FRAME:
            raise WireError(f"cannot take {envelope.kind.name} where frames come")
        begin += ENVELOPE_BYTES
        begin, end = _room_for(memory, begin, end, envelope.body_bytes)
        if end - begin < envelope.body_bytes:
            # No further than this frame's end, so that nothing has to be moved afterwards.
            channel.fill(memory[end : begin + envelope.body_bytes])
            end = begin + envelope.body_bytes
        yield memory[begin : begin + envelope.body_bytes]
        begin += envelope.body_bytes


def _room_for(memory: memoryview, begin: int, end: int, length: int) -> tuple[int, int]:
    """Move what has come to the front, unless `length` bytes have room from `begin` on."""
    if begin + length <= len(memory):
        return (0, 0) if begin == end else (begin, end)
    memory[: end - begin] = bytes(memory[begin:end])
    return 0, end - begin
