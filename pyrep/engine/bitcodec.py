"""Pending bitmaps on the wire: portable Roaring bitmaps (docs/formats.md)."""

from __future__ import annotations

from pyroaring import BitMap

from pyrep._core import Bitmap
from pyrep.errors import WireError

__all__ = ["from_roaring", "to_pyroaring", "to_roaring"]


def to_pyroaring(bitmap: Bitmap) -> BitMap:
    """Return the set chunk indices; embedders do set algebra with them."""
    out = BitMap()
    for first, count in bitmap.runs():
        out.add_range(first, first + count)
    return out


def to_roaring(bitmap: Bitmap) -> bytes:
    """Return the portable serialisation."""
    bits = to_pyroaring(bitmap)
    bits.run_optimize()
    return bytes(bits.serialize())


def from_roaring(data: bytes, into: Bitmap) -> None:
    """OR a serialised bitmap in.

    Raises:
        WireError: malformed, or bits past the end; nothing was set.
    """
    try:
        bits = BitMap.deserialize(data)
    except (ValueError, IndexError, MemoryError) as error:
        raise WireError(f"cannot take a pending bitmap of {len(data)} bytes: {error}") from error
    if bits and bits.max() >= len(into):
        raise WireError(f"cannot take a pending bitmap: bit {bits.max()} is past its {len(into)}")
    first = previous = None
    for index in bits:
        if previous is not None and index == previous + 1:
            previous = index
            continue
        if first is not None and previous is not None:
            into.set(first, previous - first + 1)
        first = previous = index
    if first is not None and previous is not None:
        into.set(first, previous - first + 1)
