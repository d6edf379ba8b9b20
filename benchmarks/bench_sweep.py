"""Local resync against the dirty share and against the volume's size: what `make plot` draws."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from ceilings import words
from figures import Beside, Sizes
from pyrep import StorageSystem

_CHUNK = 8192
_PIECE = 1 << 20


def _runs(volume_bytes: int, count: int) -> list[tuple[int, int]]:
    """Return `count` random chunks as runs, offset and length: neighbours are one run."""
    runs: list[tuple[int, int]] = []
    for chunk in sorted(random.Random(5).sample(range(volume_bytes // _CHUNK), count)):
        offset = chunk * _CHUNK
        if runs and sum(runs[-1]) == offset and runs[-1][1] < _PIECE:
            runs[-1] = (runs[-1][0], runs[-1][1] + _CHUNK)
        else:
            runs.append((offset, _CHUNK))
    return runs


def _sweep(
    directory: Path,
    benchmark: Any,
    beside: Beside,
    *,
    rounds: int,
    volume_bytes: int,
    runs: list[tuple[int, int]],
) -> None:
    """Measure rounds of: write every run anew, resync; beside the same runs copied by C."""
    offsets, lengths = (words([run[side] for run in runs]) for side in (0, 1))
    plain: list[int] = []
    for name in ("from", "to"):
        plain.append(os.open(directory / name, os.O_RDWR | os.O_CREAT))
        os.ftruncate(plain[-1], volume_bytes)
    with StorageSystem.create(directory / "system", "100a") as system:
        source = system.create_volume("105", volume_bytes)
        system.create_volume("106", volume_bytes)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        fills = iter(range(1, 1 << 30))

        def dirty() -> None:
            if pair.status().status == "DUPLEX":
                pair.split()
            fill = next(fills).to_bytes(8, "little") * (_PIECE // 8)
            for offset, length in runs:
                source.pwrite(fill[:length], offset)
                os.pwrite(plain[0], fill[:length], offset)
            source.flush()
            os.fsync(plain[0])

        def resync() -> int:
            start = time.perf_counter_ns()
            job = pair.resync()
            if job is not None:
                job.wait()
            return time.perf_counter_ns() - start

        def ceiling() -> int:
            return beside.ceilings.copy_runs(plain[0], plain[1], offsets, lengths)[1]

        dirty()  # both targets have their blocks afterwards: allocating is nobody's subject here
        resync()
        ceiling()
        benchmark.pedantic(
            lambda: beside.interleave(1, resync, ceiling), setup=dirty, rounds=rounds
        )
    for handle in plain:
        os.close(handle)


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
def bench_by_dirty_share(
    share: float, tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    runs = _runs(sizes.volume_bytes, max(int(sizes.volume_bytes // _CHUNK * share), 1))
    _sweep(
        tmp_path,
        benchmark,
        beside,
        rounds=sizes.rounds,
        volume_bytes=sizes.volume_bytes,
        runs=runs,
    )
    beside.report(sweep="dirty_share", at=share, volume_bytes=sizes.volume_bytes, runs=len(runs))


@pytest.mark.parametrize("times", [1, 16, 256, 4096])
def bench_by_volume_size(
    times: int, tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    # The same number of dirty chunks in a sparse volume that grows round them.
    volume_bytes = sizes.volume_bytes * times
    runs = _runs(volume_bytes, sizes.volume_bytes // _CHUNK // 16)
    _sweep(
        tmp_path,
        benchmark,
        beside,
        rounds=sizes.rounds,
        volume_bytes=volume_bytes,
        runs=runs,
    )
    beside.report(sweep="volume_bytes", at=volume_bytes, dirty_bytes=sum(run[1] for run in runs))
