"""Tracked writes of 8 KiB from Python on split pairs, beside os.pwrite and a C loop of pwrite."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ceilings import words
from figures import Beside, Sizes
from pyrep import StorageSystem, Volume

_BYTES = 8192
_VOLUME = 64 << 20
_MIB = 1 << 20
_ROUNDS = 15
"""More than of others: the difference of two times is near its bar."""
_TURNS = 40
"""A round of writes goes in so many turns: what disturbs the machine then disturbs both sides."""


def _split_volume(system: StorageSystem, generations: int) -> Volume:
    """Return an allocated volume that as many generations have been split from."""
    volume = system.create_volume("105", _VOLUME)
    for offset in range(0, _VOLUME, _MIB):
        volume.pwrite(bytes(_MIB), offset)
    for number in range(generations):
        system.create_volume(f"106-{number}", _VOLUME)
        pair = system.create_local_pair("105", f"106-{number}")
        pair.wait()
        pair.split()
    volume.flush()
    return volume


def _offsets(sizes: Sizes) -> list[int]:
    choose = random.Random(3)
    return [choose.randrange(_VOLUME // _BYTES) * _BYTES for _ in range(sizes.writes)]


def _timed(write: Callable[[int], object], offsets: list[int]) -> int:
    start = time.perf_counter_ns()
    for offset in offsets:
        write(offset)
    return time.perf_counter_ns() - start


@pytest.mark.parametrize("generations", [1, 16])
def bench_tracked_write(
    generations: int, tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """The ratio is to a C loop; `above_os_pwrite` is what one write costs more, in nanoseconds.

    All of them write to the volume's own file, os.pwrite and the C loop past pyrep: one write to
    two files that were filled alike takes up to twice as long in the one as in the other.
    """
    offsets = _offsets(sizes)
    data = random.Random(4).randbytes(_BYTES)
    above: list[float] = []
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        volume = _split_volume(system, generations)
        file = os.open(volume.path, os.O_RDWR)

        def write() -> None:
            spent = [0, 0, 0]

            def tracked() -> None:
                spent[0] += _timed(lambda offset: volume.pwrite(data, offset), some)

            def plain() -> None:
                spent[1] += _timed(lambda offset: os.pwrite(file, data, offset), some)

            for turn in range(_TURNS):
                some = offsets[turn::_TURNS]
                for one in (tracked, plain) if turn % 2 else (plain, tracked):
                    one()
                spent[2] += beside.ceilings.pwrites(file, data, words(some))
            above.append((spent[0] - spent[1]) / len(offsets))
            beside.pairs.append((spent[0], spent[2]))

        benchmark.pedantic(write, rounds=sizes.rounds if sizes.is_smoke else _ROUNDS)
        os.close(file)
    above.sort()
    edge = max(len(above) // 2 - 4, 0)
    beside.report(
        writes=sizes.writes,
        generations=generations,
        above_os_pwrite_median_ns=statistics.median(above),
        above_os_pwrite_interval_ns=[above[edge], above[-1 - edge]],
    )


def bench_write_with_16_generations_beside_1(
    tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """The ratio is to the same writes on a volume with one generation."""
    offsets = _offsets(sizes)
    data = random.Random(4).randbytes(_BYTES)
    with (
        StorageSystem.create(tmp_path / "one", "100a") as one,
        StorageSystem.create(tmp_path / "many", "100b") as many,
    ):
        few, full = _split_volume(one, 1), _split_volume(many, 16)

        def write() -> None:
            spent = [0, 0]
            for turn in range(_TURNS):
                some = offsets[turn::_TURNS]
                spent[0] += _timed(lambda offset: full.pwrite(data, offset), some)
                spent[1] += _timed(lambda offset: few.pwrite(data, offset), some)
            beside.pairs.append((spent[0], spent[1]))

        benchmark.pedantic(write, rounds=sizes.rounds)
    beside.report(writes=sizes.writes)
