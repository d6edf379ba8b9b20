"""Local resync by the pending bitmap, beside a C program that copies exactly these runs."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ceilings import words
from figures import Beside, Sizes
from pyrep import Pair, StorageSystem, Volume

_CHUNK = 8192
_MIB = 1 << 20


def _runs(kind: str, size: int, seed: int) -> list[tuple[int, int]]:
    """Return the dirty runs: 1 % random chunks, or 10 % in runs of 1 MiB; offset and length."""
    choose = random.Random(seed)
    length, share = (_CHUNK, 100) if kind == "1 % in 8 KiB" else (_MIB, 10)
    places = choose.sample(range(size // length), max(size // length // share, 1))
    return [(place * length, length) for place in sorted(places)]


@contextlib.contextmanager
def _pair(directory: Path, size: int) -> Iterator[tuple[Volume, Volume, Pair]]:
    """A split local pair whose volumes are allocated and in the page cache."""
    with StorageSystem.create(directory, "100a") as system:
        source, target = (system.create_volume(name, size) for name in ("105", "106"))
        block = random.Random(0).randbytes(_MIB)
        for volume in (source, target):
            for offset in range(0, size, _MIB):
                volume.pwrite(block, offset)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()
        yield source, target, pair


@pytest.mark.parametrize("kind", ["1 % in 8 KiB", "10 % in 1 MiB"])
def bench_local_resync(
    kind: str, tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    runs = _runs(kind, sizes.volume_bytes, 1)
    offsets, lengths = (words([run[side] for run in runs]) for side in (0, 1))
    with _pair(tmp_path / "system", sizes.volume_bytes) as (source, target, pair):
        plain = [tmp_path / name for name in ("from", "to")]
        for path in plain:
            with path.open("wb") as file:
                block = random.Random(0).randbytes(_MIB)
                for _ in range(0, sizes.volume_bytes, _MIB):
                    file.write(block)
        files = [os.open(path, os.O_RDWR) for path in plain]
        counter = iter(range(1, 1 << 30))

        def dirty() -> None:
            """Split again, then write every run anew."""
            if pair.status().status == "DUPLEX":
                pair.split()
            fill = next(counter).to_bytes(8, "little")
            for offset, length in runs:
                source.pwrite(fill * (length // 8), offset)
            for handle in files:
                os.fsync(handle)

        def resync() -> None:
            start = time.perf_counter_ns()
            job = pair.resync()
            if job is not None:
                job.wait()
            took = time.perf_counter_ns() - start
            _, ceiling = beside.ceilings.copy_runs(files[0], files[1], offsets, lengths)
            beside.pairs.append((took, ceiling))

        benchmark.pedantic(resync, setup=dirty, rounds=sizes.rounds)
        assert target.pread(runs[0][1], runs[0][0]) == source.pread(runs[0][1], runs[0][0])
        for handle in files:
            os.close(handle)
    beside.report(dirty_bytes=sum(lengths), runs=len(runs), volume_bytes=sizes.volume_bytes)
