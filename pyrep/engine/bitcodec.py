"""Bitmaps as pyroaring sets, for embedders; on the wire they travel as `Bitmap.to_roaring`."""

from __future__ import annotations

from pyroaring import BitMap

from pyrep._core import Bitmap

__all__ = ["to_pyroaring"]


def to_pyroaring(bitmap: Bitmap) -> BitMap:
    """Return the set chunk indices; embedders do set algebra with them.

    Raises:
        InvalidArgumentError: an index from 2^32 on is set.
    """
    return BitMap.deserialize(bitmap.to_roaring())
