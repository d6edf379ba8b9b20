"""The hold of a backup (420 to 470) while a host writes at random, with much pending before it."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from figures import Beside, Sizes
from pyrep import StorageSystem, Volume, connect
from pyrep.workflows import BackupReport, backup

_BYTES = 8192
_MIB = 1 << 20
_HOLDS = 40
"""At least: 95 of 100 can't be told from 11."""


@contextlib.contextmanager
def _sites(directory: Path, size: int) -> Iterator[tuple[StorageSystem, Volume]]:
    """105a mirrored to 105b, and that to 106b; all allocated."""
    with (
        StorageSystem.create(directory / "100a", "100a") as a,
        StorageSystem.create(directory / "100b", "100b") as b,
    ):
        connect(a, b)
        volume = a.create_volume("105a", size)
        for name in ("105b", "106b"):
            b.create_volume(name, size)
        a.create_remote_pair("105a", "100b", "105b").wait()
        b.create_local_pair("105b", "106b").wait()
        block = random.Random(0).randbytes(_MIB)
        for offset in range(0, size, _MIB):
            volume.pwrite(block, offset)
        yield a, volume


@contextlib.contextmanager
def _host(volume: Volume) -> Iterator[None]:
    """Write 8 KiB at random, about a thousand times a second."""
    choose, done = random.Random(5), threading.Event()
    block = choose.randbytes(_BYTES)

    def write() -> None:
        while not done.wait(0.001):
            volume.pwrite(block, choose.randrange(volume.size_bytes // _BYTES) * _BYTES)

    host = threading.Thread(target=write, name="host")
    host.start()
    try:
        yield
    finally:
        done.set()
        host.join()


def _flush_once(file: int) -> int:
    start = time.perf_counter_ns()
    os.pwrite(file, bytes(4096), 0)
    os.fdatasync(file)
    return time.perf_counter_ns() - start


def bench_hold(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    """The ratio is to one flush of 4 KiB: what flushing anything would add to the hold."""
    size = 2 * sizes.volume_bytes
    reports: list[BackupReport] = []
    file = os.open(tmp_path / "flushed", os.O_RDWR | os.O_CREAT)
    block = random.Random(1).randbytes(_MIB)
    choose = random.Random(2)
    with _sites(tmp_path, size) as (a, volume), _host(volume):

        def make_pending() -> None:
            for place in choose.sample(range(size // _MIB), size // _MIB // 2):
                volume.pwrite(block, place * _MIB)

        def hold() -> None:
            report = backup(a, ["105a"], reuse_last=True)
            reports.append(report)
            beside.pairs.append((report.hold_ms * 1e6, _flush_once(file)))

        rounds = sizes.rounds if sizes.rounds == 1 else _HOLDS
        benchmark.pedantic(hold, setup=make_pending, rounds=rounds)
    os.close(file)
    holds = sorted(one.hold_ms for one in reports)
    beside.report(
        pending_bytes=size // 2,
        hold_ms_median=statistics.median(holds),
        hold_ms_95_of_100=holds[-(-len(holds) * 95 // 100) - 1],
        hold_ms_max=holds[-1],
        **{
            f"{phase}_median": statistics.median(getattr(one, phase) for one in reports)
            for phase in ("prepare_ms", "closed_ms", "cut_ms", "drain_ms", "split_ms", "uncork_ms")
        },
    )
