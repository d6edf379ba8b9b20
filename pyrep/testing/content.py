"""The content of a volume in the reference model: a dict from block to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from pyrep._core import Io
from pyrep.errors import OutOfRangeError

__all__ = ["BLOCK_BYTES", "Content", "HostWrite", "in_some_order"]

BLOCK_BYTES = 4096
_SPAN_BYTES = 16 * BLOCK_BYTES
_ZEROS = bytes(BLOCK_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWrite:
    """What a host wrote: bytes at an offset. Zero and trim are writes of zeros."""

    offset: int
    data: bytes


class Content:
    """The bytes of a volume. Blocks of 4 KiB that were never written read as zeros.

    Args:
        size_bytes: size of the volume.
        blocks: bytes by block index; each has 4 KiB, the last one too.
    """

    def __init__(self, size_bytes: int, blocks: dict[int, bytes] | None = None) -> None:
        self.size_bytes = size_bytes
        self._blocks = dict(blocks or {})
        # Asked for far more often than it changes.
        self._all: bytes | None = None
        self._pieces: dict[tuple[int, int], bytes] = {}

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return the content that these bytes are."""
        content = cls(len(data))
        for index in content.differing_blocks(data):
            start = index * BLOCK_BYTES
            block = data[start : start + BLOCK_BYTES]
            content._blocks[index] = block.ljust(BLOCK_BYTES, b"\0")
        return content

    def write(self, data: bytes, offset: int) -> None:
        """Put bytes at an offset. OutOfRangeError: nothing was written."""
        self._check(len(data), offset)
        self._all = None
        self._pieces = {}
        done = 0
        while done < len(data):
            index, start = divmod(offset + done, BLOCK_BYTES)
            piece = data[done : done + BLOCK_BYTES - start]
            old = self._blocks.get(index, _ZEROS)
            self._blocks[index] = old[:start] + piece + old[start + len(piece) :]
            done += len(piece)

    def apply(self, write: HostWrite) -> None:
        """Do a host's write."""
        self.write(write.data, write.offset)

    def read(self, length: int, offset: int) -> bytes:
        """Return bytes at an offset. OutOfRangeError: they reach past the end."""
        self._check(length, offset)
        if length == 0:
            return b""
        first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
        blocks = b"".join(self._blocks.get(index, _ZEROS) for index in range(first, last + 1))
        return blocks[offset - first * BLOCK_BYTES :][:length]

    def to_bytes(self) -> bytes:
        """Return all of it."""
        if self._all is None:
            self._all = self.read(self.size_bytes, 0)
        return self._all

    def copy(self) -> Content:
        """Return another content of the same bytes."""
        copied = Content(self.size_bytes, self._blocks)
        copied._all, copied._pieces = self._all, dict(self._pieces)
        return copied

    def differing_blocks(self, data: bytes) -> Iterator[int]:
        """Yield the indices of the blocks in which `data` isn't this content."""
        if self._all is not None and data == self._all:
            return
        for span in range(0, self.size_bytes, _SPAN_BYTES):
            end = min(span + _SPAN_BYTES, self.size_bytes)
            yield from self._differing(data[span:end], span)

    def differing_from(self, other: Content) -> Iterator[int]:
        """Yield the indices of the blocks in which another content of this size isn't this one."""
        mine, theirs = self._blocks, other._blocks
        for index in sorted(mine.keys() | theirs.keys()):
            if mine.get(index, _ZEROS) != theirs.get(index, _ZEROS):
                yield index

    def differing_in(self, io: Io) -> Iterator[int]:
        """Yield the indices of the blocks in which a storage isn't this content.

        Its holes aren't read: a volume of which little is data costs little.
        """
        holes, next_index = set(self._blocks), 0
        for offset, length in io.extents():
            first = max(offset // BLOCK_BYTES, next_index)
            next_index = -(-(offset + length) // BLOCK_BYTES)
            start, end = first * BLOCK_BYTES, min(next_index * BLOCK_BYTES, self.size_bytes)
            holes.difference_update(range(first, next_index))
            if start < end:
                yield from self._differing(io.pread(end - start, start), start)
        for index in sorted(holes):
            if self._blocks[index] != _ZEROS:
                yield index

    def _differing(self, found: bytes, start: int) -> Iterator[int]:
        """Yield the blocks in which whole blocks found at an offset aren't this content."""
        key = start, len(found)
        if key not in self._pieces:
            self._pieces[key] = self.read(len(found), start)
        if found == self._pieces[key]:
            return
        for offset in range(0, len(found), BLOCK_BYTES):
            piece = found[offset : offset + BLOCK_BYTES]
            index = (start + offset) // BLOCK_BYTES
            if piece != self._blocks.get(index, _ZEROS)[: len(piece)]:
                yield index

    def _check(self, length: int, offset: int) -> None:
        if offset < 0 or length > self.size_bytes - offset:
            raise OutOfRangeError(
                f"bytes {offset}…{offset + length} reach past the end at {self.size_bytes}"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Content) or self.size_bytes != other.size_bytes:
            return False
        return not any(True for _ in self.differing_from(other))

    __hash__ = None  # type: ignore[assignment]


def in_some_order(
    before: Content, writes: Sequence[HostWrite], found: bytes
) -> Sequence[HostWrite] | None:
    """Return the writes in an order in which they make `found` of `before`.

    Concurrent writes to one range may land in any order, but each of them as a whole. None: no
    order gives it. For a handful of writes: it tries every order.
    """
    wanted = Content.of(found)
    for order in permutations(writes):
        after = before.copy()
        for write in order:
            after.apply(write)
        if after == wanted:
            return order
    return None
