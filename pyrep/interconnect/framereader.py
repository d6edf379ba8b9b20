"""The frames of a data channel, one after the other, read into memory that is used again."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator

from pyrep._core import FRAME_BYTES
from pyrep.errors import WireError
from pyrep.interconnect.channel import Channel
from pyrep.interconnect.envelope import ENVELOPE_BYTES, Kind, open_envelope

__all__ = ["FrameReader"]

_AHEAD_BYTES = 64 << 10
"""Read at most, before it is known how long a frame is: many small ones come in one call."""


def _new_memory() -> memoryview:
    """Return memory for a frame and what is read with it.

    It begins on a page, which a bytearray doesn't: envelopes, headers and most data are multiples
    of 32 bytes long, and what is received is copied to multiples of 32 three times as fast.
    """
    return memoryview(mmap.mmap(-1, ENVELOPE_BYTES + FRAME_BYTES + _AHEAD_BYTES))


class FrameReader:
    """Frames as they come, unchecked. One thread reads and uses them: see ADR 24."""

    def __init__(self, channel: Channel, heard: Callable[[], None] = lambda: None) -> None:
        """Begin with nothing read.

        Args:
            channel: where they come; nobody else receives from it.
            heard: called when one has come.
        """
        self._channel = channel
        self._heard = heard
        self._memory = _new_memory()
        self._begin = self._end = 0

    def __iter__(self) -> Iterator[memoryview]:
        """Yield each; raises as `next`."""
        while True:
            frame = self.next()
            self._heard()
            yield frame

    @property
    def next_has_begun(self) -> bool:
        """Whether a part of the next frame is here already, or all of it; or the channel's end."""
        return self._begin < self._end or self._channel.has_come()

    def next(self) -> memoryview:
        """Wait for the next frame; it is valid until the next is asked for.

        Raises:
            WireError: what came isn't a frame's envelope: nothing after it can be told apart any
                more.
            PathLostError: the channel ended.
        """
        self._make_room(ENVELOPE_BYTES + _AHEAD_BYTES)
        while self._end - self._begin < ENVELOPE_BYTES:
            view = self._memory[self._end : self._end + _AHEAD_BYTES]
            self._end += self._channel.recv_into(view)
        envelope = open_envelope(self._memory[self._begin : self._begin + ENVELOPE_BYTES])
        if envelope.kind is not Kind.FRAME:
            raise WireError(f"cannot take {envelope.kind.name} where frames come")
        self._begin += ENVELOPE_BYTES
        self._make_room(envelope.body_bytes)
        begin, end = self._begin, self._begin + envelope.body_bytes
        if self._end < end:
            # No further than this frame's end, so that nothing has to be moved afterwards.
            self._channel.fill(self._memory[self._end : end])
            self._end = end
        self._begin = end
        return self._memory[begin:end]

    def _make_room(self, length: int) -> None:
        """Move what has come to the front, unless `length` bytes have room where it is."""
        if self._begin == self._end and self._begin:
            self._begin = self._end = 0
        if self._begin + length <= len(self._memory):
            return
        left = self._end - self._begin
        self._memory[:left] = bytes(self._memory[self._begin : self._end])
        self._begin, self._end = 0, left
