"""OR and ANDNOT of two bitmaps at 50 %, beside a plain C loop over the same words."""

from __future__ import annotations

import random
import time
from array import array
from typing import Any

import pytest

from figures import Beside, Sizes
from pyrep._core import Bitmap

_RUN = 64
"""Every other run of 64 bits is set: each word is full or empty, and half of all bits are set."""


def _bitmap(bits: int, phase: int) -> Bitmap:
    bitmap = Bitmap(bits)
    step = 1 << 16
    for first in range(phase * _RUN, bits, 2 * step):
        bitmap.set(first, min(step, bits - first))
    return bitmap


def _words(bits: int, seed: int) -> array[int]:
    pattern = random.Random(seed).randbytes(1 << 16)
    data = array("Q")
    data.frombytes((pattern * (bits // 8 // len(pattern) + 1))[: bits // 8])
    return data


@pytest.mark.parametrize("operation", ["or", "andnot"])
def bench_join(operation: str, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    source = _bitmap(sizes.bits, 0)
    fill, empty = _words(sizes.bits, 1), _words(sizes.bits, 2)
    measured: list[float] = []

    def setup() -> tuple[tuple[Bitmap], dict[str, object]]:
        if measured:
            ceiling = beside.ceilings.join(operation, empty, fill)
            beside.pairs.append((measured.pop(), ceiling))
        return (_bitmap(sizes.bits, 1),), {}

    def join(target: Bitmap) -> None:
        start = time.perf_counter_ns()
        if operation == "or":
            target.update(source)
        else:
            target.difference_update(source)
        measured.append(time.perf_counter_ns() - start)

    benchmark.pedantic(join, setup=setup, rounds=sizes.rounds)
    beside.pairs.append((measured.pop(), beside.ceilings.join(operation, empty, fill)))
    beside.report(bits=sizes.bits)
