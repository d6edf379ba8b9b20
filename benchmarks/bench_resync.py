"""Local resync by the pending bitmap, beside a C program that copies exactly these runs."""

from __future__ import annotations

import contextlib
import os
import random
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ceilings import Ceilings, words
from figures import Beside, Pairs, Sizes, ratios
from peers import StorageDaemon, storage_daemon
from pyrep import Pair, PairStatus, StorageSystem, Volume
from runs import KINDS, Runs, dirty_runs

_CHUNK = 8192
_MIB = 1 << 20
_TABLES_BYTES = 4 << 20
"""More than a copy's commits write beside its data."""

Times = tuple[int, int]
"""Nanoseconds to the last write, and in all: with one fdatasync of the target."""


@dataclass(slots=True)
class _Site:
    """A split local pair: sparse volumes, a quarter allocated, all of that in the page cache."""

    pair: Pair
    source: Volume
    target: Volume
    directory: Path
    fills: Iterator[int] = field(default_factory=lambda: count(1))

    def dirty(self, runs: Runs) -> None:
        """Split again, then write every run anew; the source is durable afterwards."""
        if self.pair.status().status is PairStatus.DUPLEX:
            self.pair.split()
        fill = next(self.fills).to_bytes(8, "little") * (_MIB // 8)
        for offset, length in runs:
            self.source.pwrite(fill[:length], offset)
        self.source.flush()

    def resync(self, runs: Runs, workers: int) -> Times:
        """Copy what is pending, and see that no byte more was written."""
        expected = sum(length for _, length in runs)
        before = _written_bytes()
        start = time.perf_counter_ns()
        job = self.pair.resync(workers=workers)
        begun = time.perf_counter_ns()
        assert job is not None
        job.wait()
        done = time.perf_counter_ns()
        assert job.done_bytes == expected
        assert expected <= _written_bytes() - before < expected + _TABLES_BYTES
        assert job.sent_s is not None
        return begun - start + int(job.sent_s * 1e9), done - start


def _written_bytes() -> int:
    """Return how many bytes this process has asked the kernel to write."""
    found = re.search(r"^wchar: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, sizes: Sizes) -> Iterator[_Site]:
    directory = tmp_path_factory.mktemp("resync")
    size = 16 * sizes.volume_bytes
    with StorageSystem.create(directory / "system", "100a") as system:
        source, target = (system.create_volume(name, size) for name in ("105", "106"))
        block = random.Random(0).randbytes(_MIB)
        for offset in range(0, size // 4, _MIB):
            source.pwrite(block, offset)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()
        yield _Site(pair, source, target, directory)
        paths = [Path(volume.path) for volume in (source, target)]
    for path in paths:
        path.unlink()


@contextlib.contextmanager
def _files(*paths: str) -> Iterator[list[int]]:
    handles = [os.open(path, os.O_RDWR) for path in paths]
    try:
        yield handles
    finally:
        for handle in handles:
            os.close(handle)


@dataclass(slots=True)
class _Ceiling:
    """The C program, on the very files: it leaves what the resync leaves."""

    ceilings: Ceilings
    source: int
    target: int
    runs: Runs
    threads: int
    by_range: bool = False

    def copy(self) -> Times:
        offsets, lengths = (words([run[side] for run in self.runs]) for side in (0, 1))
        return self.ceilings.copy_runs(
            self.source,
            self.target,
            offsets,
            lengths,
            threads=self.threads,
            by_range=self.by_range,
        )

    def choose(self, rounds: int) -> None:
        """Find out which way is the faster one here."""
        taken: dict[bool, list[int]] = {False: [], True: []}
        for _ in range(rounds):
            for self.by_range in (False, True):
                with contextlib.suppress(OSError):
                    taken[self.by_range].append(self.copy()[0])
        self.by_range = bool(taken[True]) and (
            statistics.median(taken[True]) < statistics.median(taken[False])
        )


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def bench_local_resync(
    *, kind: str, workers: int, site: _Site, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    runs = dirty_runs(kind, site.source.size_bytes)
    in_all: Pairs = []
    with _files(site.source.path, site.target.path) as (source, target):
        ceiling = _Ceiling(beside.ceilings, source, target, runs, workers)
        site.dirty(runs)
        ceiling.choose(1 if sizes.is_smoke else 3)

        def round_() -> None:
            if len(in_all) % 2:
                floor = ceiling.copy()
                taken = site.resync(runs, workers)
            else:
                taken = site.resync(runs, workers)
                floor = ceiling.copy()
            beside.pairs.append((taken[0], floor[0]))
            in_all.append((taken[1], floor[1]))
            if workers > 1:
                site.dirty(runs)
                beside.peer("one worker", taken[0], site.resync(runs, 1)[0])

        benchmark.pedantic(round_, setup=lambda: site.dirty(runs), rounds=sizes.rounds)
    assert site.target.pread(_CHUNK, runs[0][0]) == site.source.pread(_CHUNK, runs[0][0])
    beside.report(
        at_most=1.1,
        dirty_bytes=sum(length for _, length in runs),
        runs=len(runs),
        volume_bytes=site.source.size_bytes,
        ceiling_uses="copy_file_range" if ceiling.by_range else "pread, pwrite",
        in_all=ratios(in_all),
    )


@contextlib.contextmanager
def _daemon(site: _Site) -> Iterator[StorageDaemon]:
    """QEMU over the same source, into a target of its own that has its blocks."""
    path = site.directory / "peer.img"
    with path.open("wb") as file:
        block = random.Random(0).randbytes(_MIB)
        for _ in range(0, site.source.size_bytes // 4, _MIB):
            file.write(block)
        file.truncate(site.source.size_bytes)
    try:
        with storage_daemon(Path(site.source.path), path, chunk_bytes=_CHUNK) as daemon:
            if daemon is None:
                pytest.skip("QEMU isn't installed (Debian: qemu-system-common, qemu-utils)")
            yield daemon
    finally:
        path.unlink()


@pytest.mark.parametrize(("kind", "workers"), [(KINDS[0], 1), (KINDS[1], 1), (KINDS[1], 2)])
def bench_local_resync_beside_qemu(
    kind: str, workers: int, *, site: _Site, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    runs = dirty_runs(kind, site.source.size_bytes)
    with _daemon(site) as daemon:

        def dirty() -> None:
            daemon.write(runs, next(site.fills) % 256)
            site.dirty(runs)

        def round_() -> None:
            taken = site.resync(runs, workers)
            with _files(site.source.path, site.target.path) as (source, target):
                floor = _Ceiling(beside.ceilings, source, target, runs, workers).copy()
            beside.pairs.append((taken[0], floor[0]))
            found = daemon.copy(uses_copy_range=True)
            beside.peer("qemu, copy-range", taken[0], found[0])
            beside.peer("qemu, copy-range, with fdatasync", taken[1], found[1])

        benchmark.pedantic(round_, setup=dirty, rounds=sizes.rounds)
    beside.report(dirty_bytes=sum(length for _, length in runs), runs=len(runs))
