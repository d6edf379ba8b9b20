"""Tracked writes of 8 KiB from Python on a split pair, beside os.pwrite and a C loop of pwrite."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

from ceilings import words
from figures import Beside, Sizes
from pyrep import StorageSystem

_BYTES = 8192
_VOLUME = 64 << 20


def bench_tracked_write(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    choose = random.Random(3)
    offsets = [choose.randrange(_VOLUME // _BYTES) * _BYTES for _ in range(sizes.writes)]
    packed = words(offsets)
    data = choose.randbytes(_BYTES)
    plain = tmp_path / "plain"
    plain.write_bytes(bytes(_VOLUME))
    file = os.open(plain, os.O_RDWR)
    from_python: list[float] = []
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        volume = system.create_volume("105", _VOLUME)
        system.create_volume("106", _VOLUME)
        for offset in range(0, _VOLUME, 1 << 20):
            volume.pwrite(bytes(1 << 20), offset)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()

        def write() -> None:
            start = time.perf_counter_ns()
            for offset in offsets:
                volume.pwrite(data, offset)
            tracked = time.perf_counter_ns() - start
            start = time.perf_counter_ns()
            for offset in offsets:
                os.pwrite(file, data, offset)
            from_python.append((tracked - (time.perf_counter_ns() - start)) / len(offsets))
            beside.pairs.append((tracked, beside.ceilings.pwrites(file, data, packed)))

        benchmark.pedantic(write, rounds=sizes.rounds)
    os.close(file)
    beside.report(
        writes=sizes.writes,
        above_os_pwrite_median_ns=sorted(from_python)[len(from_python) // 2],
    )
