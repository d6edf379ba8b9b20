"""Bitmaps of 2^31 bits beside plain C loops over the same words, and beside pyroaring and numpy.

The words of both sides are random, repeated every 2^20 bits, which no branch predictor learns.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyroaring import BitMap

from figures import Beside, Sizes
from pyrep._core import Bitmap

np: Any = importlib.import_module("numpy") if importlib.util.find_spec("numpy") else None

_TILE_BITS = 1 << 20
_CAPACITY = 16384
"""Runs handed out at once, on both sides."""
_FEW = 2147
"""Set bits of a sparse bitmap: 1 in a million of 2^31."""


def _density(share: float, seed: int) -> bytes:
    rng = random.Random(seed)
    if share == 0.5:
        return rng.randbytes(_TILE_BITS // 8)
    tile = bytearray(_TILE_BITS // 8)
    for index in rng.sample(range(_TILE_BITS), int(share * _TILE_BITS)):
        tile[index // 8] |= 1 << index % 8
    return bytes(tile)


def _in_runs(mean: int, seed: int) -> bytes:
    """Half of the bits, in runs that begin and end anywhere."""
    rng = random.Random(seed)
    bits: list[str] = []
    length = 0
    while length < _TILE_BITS:
        for bit in "01":
            run = rng.randint(1, 2 * mean - 1)
            bits.append(bit * run)
            length += run
    return int("".join(bits)[:_TILE_BITS], 2).to_bytes(_TILE_BITS // 8, "little")


def _words(tile: bytes, bits: int) -> array[int]:
    words = array("Q")
    words.frombytes((tile * max(1, bits // _TILE_BITS))[: bits // 8])
    return words


def _set(tile: bytes, bits: int) -> BitMap:
    number = int.from_bytes(tile, "little")
    found = BitMap(index for index, bit in enumerate(bin(number)[:1:-1]) if bit == "1")
    length = _TILE_BITS
    while length < bits:
        found |= found.shift(length)
        length *= 2
    return found


def _bitmap(tile: bytes, bits: int) -> Bitmap:
    return Bitmap.from_roaring(_set(tile, bits).serialize(), bits)


def _timed(call: Callable[[], object]) -> int:
    """Return the processor time of this thread: nothing here waits, but others may want the CPU."""
    start = time.thread_time_ns()
    call()
    return time.thread_time_ns() - start


def _interleaved(
    beside: Beside,
    sizes: Sizes,
    *,
    measure: Callable[[], int],
    ceiling: Callable[[], int],
    peers: dict[str, Callable[[], int]],
    at_most: float | None = None,
    **facts: object,
) -> None:
    """Take pairs in turns, and what peers take between them."""
    measure(), ceiling()  # the first touches the pages

    def once() -> None:
        measured = measure()
        beside.pairs.append((measured, ceiling()))
        for name, peer in peers.items():
            beside.peer(name, measured, peer())

    beside.benchmark.pedantic(once, rounds=sizes.rounds)
    beside.report(at_most=at_most, **facts)


def _numpy(*words: array[int]) -> list[Any]:
    return [] if np is None else [np.frombuffer(one, dtype=np.uint64) for one in words]


@pytest.mark.parametrize("operation", ["or", "andnot"])
def bench_join(operation: str, beside: Beside, sizes: Sizes) -> None:
    """50 % random: every word of both is read, and the target's written."""
    tiles = _density(0.5, 1), _density(0.5, 2)
    target, source = (_bitmap(tile, sizes.bits) for tile in tiles)
    words = [_words(tile, sizes.bits) for tile in tiles]
    join = target.update if operation == "or" else target.difference_update
    peers: dict[str, Callable[[], int]] = {}
    arrays = _numpy(*words)
    if arrays:
        peers["numpy"] = lambda: _timed(lambda: np.bitwise_or(arrays[0], arrays[1], out=arrays[0]))
    _interleaved(
        beside,
        sizes,
        measure=lambda: _timed(lambda: join(source)),
        ceiling=lambda: _timed(lambda: beside.ceilings.join(operation, words[0], words[1])),
        peers=peers if operation == "or" else {},
        at_most=1 / 0.8,
        bits=sizes.bits,
    )


def bench_count(beside: Beside, sizes: Sizes) -> None:
    tile = _density(0.5, 1)
    bitmap, words = _bitmap(tile, sizes.bits), _words(tile, sizes.bits)
    assert bitmap.count() == beside.ceilings.popcount(words)[1]
    peers: dict[str, Callable[[], int]] = {}
    arrays = _numpy(words)
    if arrays and hasattr(np, "bitwise_count"):
        peers["numpy"] = lambda: _timed(lambda: np.bitwise_count(arrays[0]).sum())
    _interleaved(
        beside,
        sizes,
        measure=lambda: _timed(bitmap.count),
        ceiling=lambda: _timed(lambda: beside.ceilings.popcount(words)),
        peers=peers,
        at_most=1 / 0.8,
        bits=sizes.bits,
    )


def _scan(runs: Iterator[tuple[memoryview, memoryview]]) -> int:
    return sum(len(firsts) for firsts, _ in runs)


_PATTERNS: dict[str, Callable[[], bytes]] = {
    "1 % random": lambda: _density(0.01, 3),
    "50 % in runs of 64": lambda: _in_runs(64, 4),
    "50 % in runs of 512": lambda: _in_runs(512, 5),
    "50 % in runs of 8192": lambda: _in_runs(8192, 6),
}


@pytest.mark.parametrize("pattern", _PATTERNS)
def bench_scan(pattern: str, beside: Beside, sizes: Sizes) -> None:
    tile = _PATTERNS[pattern]()
    bitmap, words = _bitmap(tile, sizes.bits), _words(tile, sizes.bits)
    found = beside.ceilings.runs(words, _CAPACITY)[1]
    assert _scan(bitmap.run_arrays(capacity=_CAPACITY)) == found
    _interleaved(
        beside,
        sizes,
        measure=lambda: _timed(lambda: _scan(bitmap.run_arrays(capacity=_CAPACITY))),
        ceiling=lambda: _timed(lambda: beside.ceilings.runs(words, _CAPACITY)),
        peers={},
        at_most=0.8,
        bits=sizes.bits,
        runs=found,
    )


def _few(bits: int, among: int, seed: int) -> Bitmap:
    """Bits anywhere in the first `among`, spread over all of them."""
    bitmap = Bitmap(bits)
    for index in random.Random(seed).sample(range(among), min(_FEW, among // 64)):
        bitmap.set(index * (bits // among))
    return bitmap


def bench_sparse_union(beside: Beside, sizes: Sizes) -> None:
    """2,147 bits of each, of 2^33 beside as many of 2^31: the ratio is the price of the size."""
    small, large = sizes.bits, 4 * sizes.bits
    ones = {bits: (_few(bits, small, 1), _few(bits, small, 2)) for bits in (small, large)}
    sets = [BitMap(first for first, _ in one.runs()) for one in ones[small]]

    def scan(bits: int) -> int:
        one, other = ones[bits]
        return _timed(lambda: _scan(one.run_arrays(union=other, capacity=_CAPACITY)))

    _interleaved(
        beside,
        sizes,
        measure=lambda: scan(large),
        ceiling=lambda: scan(small),
        peers={"pyroaring_or": lambda: _timed(lambda: sets[0] | sets[1])},
        at_most=1.2,
        bits=large,
    )


@pytest.mark.parametrize("direction", ["encode", "decode"])
def bench_roaring(direction: str, beside: Beside, sizes: Sizes) -> None:
    """50 % random beside the OR of as many words; a ratio of 1 would be 3 passes over memory."""
    tile = _density(0.5, 1)
    bitmap = _bitmap(tile, sizes.bits)
    words = [_words(tile, sizes.bits) for _ in range(2)]
    data = bitmap.to_roaring()
    theirs = BitMap.deserialize(data)

    def decode() -> int:
        with Bitmap(sizes.bits) as into:
            return _timed(lambda: into.update_roaring(data))

    ours = decode if direction == "decode" else lambda: _timed(bitmap.roaring_view)
    peer = theirs.serialize if direction == "encode" else lambda: BitMap.deserialize(data)
    _interleaved(
        beside,
        sizes,
        measure=ours,
        ceiling=lambda: _timed(lambda: beside.ceilings.join("or", words[0], words[1])),
        peers={"pyroaring": lambda: _timed(peer)},
        bits=sizes.bits,
        bytes=sizes.bits // 8,
    )
    facts = beside.benchmark.extra_info
    facts["gb_s"] = sizes.bits / 8 / facts["measured_median_ns"]


def bench_fill(beside: Beside, sizes: Sizes) -> None:
    """All pending, of a fresh bitmap, beside the OR of as many words."""
    words = [array("Q", bytes(sizes.bits // 8)) for _ in range(2)]

    def fill() -> int:
        with Bitmap(sizes.bits) as fresh:
            return _timed(fresh.fill)

    _interleaved(
        beside,
        sizes,
        measure=fill,
        ceiling=lambda: _timed(lambda: beside.ceilings.join("or", words[0], words[1])),
        peers={},
        bits=sizes.bits,
    )
