"""A served volume as storage for a file system in this process, with a cache as a host has one."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator

from pyrep._core import Buffer, CalledIo, Io
from pyrep.api.client import Client
from pyrep.model import KIB, MIB

__all__ = ["CACHE_BYTES", "open_volume"]

CACHE_BYTES = 64 * MIB

_SPAN_BYTES = MIB
_BLOCK_BYTES = 4 * KIB


class _Span:
    """A piece of the volume in the cache; `dirty` has a bit for each block that is to be sent."""

    __slots__ = ("data", "dirty")

    def __init__(self, data: bytearray) -> None:
        self.data = data
        self.dirty = 0

    def mark(self, at: int, length: int) -> None:
        first, end = at // _BLOCK_BYTES, -(-(at + length) // _BLOCK_BYTES)
        self.dirty |= (1 << end) - (1 << first)

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield the dirty ranges, as start and end within the span."""
        bits = self.dirty
        at = 0
        while bits:
            skip = (bits & -bits).bit_length() - 1
            bits >>= skip
            count = (~bits & (bits + 1)).bit_length() - 1
            bits >>= count
            start = at + skip
            at = start + count
            yield start * _BLOCK_BYTES, min(at * _BLOCK_BYTES, len(self.data))


class _Cache:
    """Reads ahead by spans, and sends what was written at a flush or when its room is needed."""

    def __init__(self, client: Client, volume_id: str, *, size_bytes: int, room: int) -> None:
        self._client = client
        self._volume_id = volume_id
        self._size_bytes = size_bytes
        self._room = max(1, room)
        self._spans: OrderedDict[int, _Span] = OrderedDict()

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        done = 0
        for index, at, length in _pieces(offset, len(buffer)):
            span = self._span(index)
            buffer[done : done + length] = span.data[at : at + length]
            done += length

    def pwrite(self, data: Buffer, offset: int) -> None:
        done = 0
        view = memoryview(data)
        for index, at, length in _pieces(offset, len(view)):
            span = self._span(index, whole=length == self._length(index))
            span.data[at : at + length] = view[done : done + length]
            span.mark(at, length)
            done += length

    def zero(self, length: int, offset: int) -> None:
        for index, at, part in _pieces(offset, length):
            span = self._span(index, whole=part == self._length(index))
            span.data[at : at + part] = bytes(part)
            span.mark(at, part)

    def flush(self) -> None:
        for index in sorted(self._spans):
            self._send(index, self._spans[index])
        self._client.flush(self._volume_id)

    def _length(self, index: int) -> int:
        return min(_SPAN_BYTES, self._size_bytes - index * _SPAN_BYTES)

    def _span(self, index: int, *, whole: bool = False) -> _Span:
        """Return a span, read if it isn't here; not if `whole` of it is about to be written."""
        found = self._spans.get(index)
        if found is None:
            while len(self._spans) >= self._room:
                oldest = next(iter(self._spans))
                self._send(oldest, self._spans[oldest])
                del self._spans[oldest]
            length = self._length(index)
            data = bytearray(length)
            if not whole:
                data[:] = self._client.read(self._volume_id, length, index * _SPAN_BYTES)
            found = self._spans[index] = _Span(data)
        self._spans.move_to_end(index)
        return found

    def _send(self, index: int, span: _Span) -> None:
        view = memoryview(span.data)
        for start, end in span.runs():
            self._client.write(self._volume_id, view[start:end], index * _SPAN_BYTES + start)
        span.dirty = 0


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Yield the parts of a range by span: its index, where in it, how long."""
    while length:
        index, at = divmod(offset, _SPAN_BYTES)
        part = min(length, _SPAN_BYTES - at)
        yield index, at, part
        offset += part
        length -= part


@contextlib.contextmanager
def open_volume(client: Client, volume_id: str, *, cache_bytes: int = CACHE_BYTES) -> Iterator[Io]:
    """Open a served volume as storage, for `pyrep.fs` and whatever takes an `Io`.

    It has a write-back cache, as a host's file system has: nobody else may write the volume
    meanwhile, and what was written is at the volume after a flush, and at the end. When the block
    ends with an error, what is in the cache then is dropped, as if the host had lost power.

    Args:
        client: of the system that has the volume.
        volume_id: the volume.
        cache_bytes: room of the cache.

    Raises:
        PyrepError: what the daemon answered to a read or a write, instead of the errno that the
            code above the storage saw.
    """
    size_bytes = int(client.volume(volume_id)["size_bytes"])
    room = cache_bytes // _SPAN_BYTES
    cache = _Cache(client, volume_id, size_bytes=size_bytes, room=room)
    with CalledIo(cache, size_bytes, volume_id) as io:
        try:
            yield io
        except Exception as error:
            if io.error is not None and io.error is not error:
                raise io.error from error
            raise
        if io.error is not None:
            raise io.error
        cache.flush()
