"""Bitmaps in memory: one bit per chunk."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator

from pyrep._core.native import Buffer, Owned, Pointer, check, ffi, lib
from pyrep.errors import InvalidArgumentError, WireError

__all__ = [
    "Bitmap",
]


_Operation = Callable[[Pointer, Pointer], int]


class Bitmap(Owned):
    """One bit per chunk. Borrowed ones belong to a link or a volume, kept alive by `keep`.

    Threads: set, clear, fill, update of a borrowed one, and whatever only reads may run beside each
    other; other changes need the bitmap for themselves.
    """

    def __init__(
        self, bit_count: int, *, pointer: Pointer = None, keep: Owned | None = None
    ) -> None:
        self._borrowed = pointer is not None
        if pointer is not None:
            super().__init__(pointer, lambda _pointer: None, needs=[keep] if keep else [])
            return
        out = ffi.new("rep_bitmap **")
        code = lib.rep_bitmap_new(bit_count, out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(f"a bitmap can't have {bit_count} bits")
        check(code, "making a bitmap")
        super().__init__(out[0], lib.rep_bitmap_free)

    def __len__(self) -> int:
        return int(lib.rep_bitmap_size(self.pointer))

    def set(self, first: int, count: int = 1) -> None:
        """Set bits. OutOfRangeError: nothing was set."""
        check(lib.rep_bitmap_set(self.pointer, first, count), "setting bits")

    def clear(self, first: int, count: int = 1) -> None:
        """Clear bits. OutOfRangeError: nothing was cleared."""
        check(lib.rep_bitmap_clear(self.pointer, first, count), "clearing bits")

    def test(self, index: int) -> bool:
        """Whether the bit is set."""
        return bool(check(lib.rep_bitmap_test(self.pointer, index), "testing a bit"))

    def fill(self) -> None:
        """Set all bits."""
        lib.rep_bitmap_fill(self.pointer)

    def any(self) -> bool:
        """Whether a bit is set."""
        return bool(lib.rep_bitmap_any(self.pointer))

    def count(self) -> int:
        """How many bits are set."""
        return int(lib.rep_bitmap_count(self.pointer))

    def update(self, other: Bitmap) -> None:
        """OR `other` in. A borrowed bitmap may be in use meanwhile."""
        self._operate(lib.rep_bitmap_merge if self._borrowed else lib.rep_bitmap_or, other)

    def intersection_update(self, other: Bitmap) -> None:
        """AND with `other`. As `difference_update`."""
        self._operate(self._alone(lib.rep_bitmap_and), other)

    def difference_update(self, other: Bitmap) -> None:
        """Clear what is set in `other` (ANDNOT).

        Nobody may use this bitmap meanwhile. InvalidArgumentError: it is borrowed, or of another
        size; nothing has changed.
        """
        self._operate(self._alone(lib.rep_bitmap_andnot), other)

    def symmetric_difference_update(self, other: Bitmap) -> None:
        """XOR with `other`. As `difference_update`."""
        self._operate(self._alone(lib.rep_bitmap_xor), other)

    def _alone(self, operation: _Operation) -> _Operation:
        if self._borrowed:
            raise InvalidArgumentError("cannot do set algebra in a bitmap that is in use")
        return operation

    def _operate(self, operation: _Operation, other: Bitmap) -> None:
        if operation(self.pointer, other.pointer):
            raise InvalidArgumentError(f"bitmaps of {len(self)} and {len(other)} bits don't match")

    def run_arrays(
        self, *, union: Bitmap | None = None, minus: Bitmap | None = None, capacity: int = 4096
    ) -> Iterator[tuple[memoryview, memoryview]]:
        """Yield runs in bulk, ascending: their firsts and their counts, unsigned 64-bit numbers.

        Each pair is good until the next is asked for; it may be empty.

        Args:
            union: another bitmap that counts too.
            minus: or one whose bits don't count.
            capacity: of one pair, at most.

        Raises:
            InvalidArgumentError: both are given, or one of another size.
        """
        other = minus if union is None else union
        both = union is not None and minus is not None
        if both or (other is not None and len(other) != len(self)):
            raise InvalidArgumentError(f"no runs of a bitmap of {len(self)} bits and others")
        join = lib.REP_BITMAP_UNION if minus is None else lib.REP_BITMAP_DIFFERENCE
        joined = ffi.NULL if other is None else other.pointer
        firsts = ffi.new("uint64_t[]", capacity)
        counts = ffi.new("uint64_t[]", capacity)
        views = [memoryview(ffi.buffer(one)).cast("B").cast("Q") for one in (firsts, counts)]
        resume = ffi.new("uint64_t *", 0)
        size = len(self)
        while resume[0] < size:
            got = lib.rep_bitmap_runs(
                self.pointer, joined, join, resume[0], firsts, counts, capacity, resume
            )
            check(got, "reading runs")
            yield views[0][:got], views[1][:got]

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield (first, count) of every run of set bits, ascending."""
        for firsts, counts in self.run_arrays():
            yield from zip(firsts, counts, strict=True)

    def extents(self, *, chunk_bytes: int, size_bytes: int) -> Iterator[tuple[int, int]]:
        """Yield the bytes (offset, length) of every run, ascending.

        Args:
            chunk_bytes: bytes of one bit.
            size_bytes: of the volume, where the last extent ends.
        """
        for first, count in self.runs():
            offset = first * chunk_bytes
            yield offset, min(count * chunk_bytes, size_bytes - offset)

    def roaring_view(self) -> memoryview:
        """Return a portable 32-bit Roaring bitmap of the bits (docs/formats.md), read-only.

        Raises:
            InvalidArgumentError: a bit from 2^32 on is set.
        """
        out = ffi.new("rep_roaring *")
        code = lib.rep_roaring_encode(self.pointer, out)
        if code == -errno.EOVERFLOW:
            raise InvalidArgumentError(
                f"cannot make a Roaring bitmap of {len(self)} bits: it ends at bit 4294967295",
                hint="larger chunks need fewer bits",
            )
        check(code, "encoding a bitmap")
        # The view keeps what it shows, and that is released with it.
        shown = ffi.gc(out.bytes, lambda _bytes: lib.rep_roaring_release(out))
        return memoryview(ffi.buffer(shown, out.byte_count)).toreadonly()

    def to_roaring(self) -> bytes:
        """Return a copy of `roaring_view`."""
        return bytes(self.roaring_view())

    @classmethod
    def from_roaring(cls, data: Buffer, bit_count: int) -> Bitmap:
        """Return a new bitmap of a portable Roaring bitmap. WireError: as `update_roaring`."""
        bitmap = cls(bit_count)
        bitmap.update_roaring(data)
        return bitmap

    def update_roaring(self, data: Buffer) -> None:
        """OR a portable 32-bit Roaring bitmap in.

        Raises:
            WireError: malformed, or a bit past the end; nothing was set.
        """
        if self._borrowed:
            with Bitmap.from_roaring(data, len(self)) as taken:
                self.update(taken)
            return
        highest = ffi.new("uint64_t *")
        source = ffi.from_buffer(data)
        code = lib.rep_roaring_decode(
            ffi.cast("uint8_t *", source), len(source), self.pointer, highest
        )
        what = f"cannot take a bitmap of {len(source)} bytes"
        if code == -errno.EBADMSG:
            raise WireError(f"{what}: it is no portable Roaring bitmap, or a damaged one")
        if code == -errno.ERANGE:
            raise WireError(f"{what}: bit {highest[0]} is past its {len(self)}")
        check(code, "decoding a bitmap")
