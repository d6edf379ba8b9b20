"""Dirty runs: which parts of a volume a resync has to copy."""

from __future__ import annotations

import random

__all__ = ["KINDS", "Runs", "dirty_runs"]

Runs = list[tuple[int, int]]
"""Offset and length in bytes, ascending."""

_CHUNK = 8192
_MIB = 1 << 20

KINDS = ["1 % in 8 KiB", "10 % in 1 MiB"]


def dirty_runs(kind: str, size: int) -> Runs:
    """Return the dirty runs: 1 % of the volume by chunks, or 10 % by MiB.

    They lie in the first quarter of the volume, the allocated one.
    """
    choose = random.Random(1)
    if kind == "1 % in 8 KiB":
        length, wanted = _CHUNK, size // _CHUNK // 100
    else:
        length, wanted = _MIB, size // _MIB // 10
    places = choose.sample(range(size // 4 // length), wanted)
    return [(place * length, length) for place in sorted(places)]
