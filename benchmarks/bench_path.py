"""Remote resync over loopback TCP, beside programs that send exactly these runs, or these bytes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from figures import Beside, Pairs, Sizes, ratios
from peers import StorageDaemon, nbdkit, storage_daemon
from runs import KINDS, dirty_runs
from sites import Sites, two_sites


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, sizes: Sizes) -> Iterator[Sites]:
    with two_sites(tmp_path_factory.mktemp("plain"), 16 * sizes.volume_bytes) as made:
        yield made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, sizes: Sizes) -> Iterator[Sites]:
    size = 16 * sizes.volume_bytes
    with two_sites(tmp_path_factory.mktemp("secured"), size, is_tls=True) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def bench_remote_resync(
    kind: str, plain: Sites, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    runs = dirty_runs(kind, plain.source.size_bytes)
    sent: Pairs = []

    def round_() -> None:
        if len(sent) % 2:
            floor = plain.copy_in_c(beside.ceilings, runs)
            taken = plain.resync(runs)
        else:
            taken = plain.resync(runs)
            floor = plain.copy_in_c(beside.ceilings, runs)
        beside.pairs.append((taken[1], floor[1]))
        sent.append((taken[0], floor[0]))

    benchmark.pedantic(round_, setup=lambda: plain.dirty(runs), rounds=sizes.rounds)
    beside.report(
        at_most=1.3 if kind == KINDS[0] else 1.5,
        dirty_bytes=sum(length for _, length in runs),
        runs=len(runs),
        volume_bytes=plain.source.size_bytes,
        sent=ratios(sent),
    )


@pytest.mark.parametrize("kind", KINDS)
def bench_remote_resync_over_tls(
    kind: str, secured: Sites, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """The ceiling only moves bytes; the resync reads and writes them too. Without the flush."""
    runs = dirty_runs(kind, secured.source.size_bytes)
    length = sum(run[1] for run in runs)
    in_all: Pairs = []

    def round_() -> None:
        if len(in_all) % 2:
            floor = secured.pump(length)
            taken = secured.resync(runs)
        else:
            taken = secured.resync(runs)
            floor = secured.pump(length)
        beside.pairs.append((taken[0], floor))
        in_all.append((taken[1], floor))

    benchmark.pedantic(round_, setup=lambda: secured.dirty(runs), rounds=sizes.rounds)
    beside.report(at_most=1 / 0.7, dirty_bytes=length, runs=len(runs), in_all=ratios(in_all))


@contextlib.contextmanager
def _daemon(site: Sites) -> Iterator[StorageDaemon]:
    """QEMU over the same source, into what nbdkit serves: a file of its own that has its blocks."""
    path = site.far.directory / "peer.img"
    with path.open("wb") as file:
        block = random.Random(0).randbytes(1 << 20)
        for _ in range(0, site.source.size_bytes // 4, 1 << 20):
            file.write(block)
        file.truncate(site.source.size_bytes)
    try:
        with nbdkit(path) as port:
            if port is None:
                pytest.skip("nbdkit isn't installed (Debian: nbdkit)")
            source = Path(site.source.path)
            with storage_daemon(source, path, chunk_bytes=8192, port=port) as daemon:
                if daemon is None:
                    pytest.skip("QEMU isn't installed (Debian: qemu-system-common, qemu-utils)")
                yield daemon
    finally:
        path.unlink()


@pytest.mark.parametrize("kind", KINDS)
def bench_remote_resync_beside_qemu(
    kind: str, plain: Sites, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """QEMU's bitmap backup to nbdkit over loopback TCP. Whoever reads it judges: no bar."""
    runs = dirty_runs(kind, plain.source.size_bytes)
    fills = count(1)
    with _daemon(plain) as daemon:

        def dirty() -> None:
            daemon.write(runs, next(fills) % 256)
            plain.dirty(runs)

        def round_() -> None:
            taken = plain.resync(runs)
            beside.pairs.append((taken[1], plain.copy_in_c(beside.ceilings, runs)[1]))
            found = daemon.copy(uses_copy_range=False)
            beside.peer("qemu to nbdkit, with fdatasync", taken[1], found[1])

        benchmark.pedantic(round_, setup=dirty, rounds=sizes.rounds)
    beside.report(dirty_bytes=sum(length for _, length in runs), runs=len(runs))
