"""The content of a volume in the reference model: a dict from block to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from pyrep.errors import OutOfRangeError

__all__ = ["BLOCK_BYTES", "Content", "HostWrite", "in_some_order"]

BLOCK_BYTES = 4096
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
        self._all: bytes | None = None  # asked for far more often than it changes

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Return the content that these bytes are."""
        content = cls(len(data))
        content.write(data, 0)
        return content

    def write(self, data: bytes, offset: int) -> None:
        """Put bytes at an offset. OutOfRangeError: nothing was written."""
        self._check(len(data), offset)
        self._all = None
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
        copied._all = self._all
        return copied

    def differing_blocks(self, data: bytes) -> Iterator[int]:
        """Yield the indices of the blocks in which `data` isn't this content."""
        if data == self.to_bytes():
            return
        for offset in range(0, self.size_bytes, BLOCK_BYTES):
            length = min(BLOCK_BYTES, self.size_bytes - offset)
            if data[offset : offset + length] != self.read(length, offset):
                yield offset // BLOCK_BYTES

    def _check(self, length: int, offset: int) -> None:
        if offset < 0 or length > self.size_bytes - offset:
            raise OutOfRangeError(
                f"bytes {offset}…{offset + length} reach past the end at {self.size_bytes}"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]


def in_some_order(
    before: Content, writes: Sequence[HostWrite], found: bytes
) -> Sequence[HostWrite] | None:
    """Return the writes in an order in which they make `found` of `before`.

    Concurrent writes to one range may land in any order, but each of them as a whole. None: no
    order gives it. For a handful of writes: it tries every order.
    """
    for order in permutations(writes):
        after = before.copy()
        for write in order:
            after.apply(write)
        if after.to_bytes() == found:
            return order
    return None
