"""A remote resync that compares digests, of a pair that is wholly pending though it is equal."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from figures import Beside, Sizes
from pyrep import Compare
from sites import Sites, two_sites

_MIB = 1 << 20


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, sizes: Sizes) -> Iterator[Sites]:
    with two_sites(tmp_path_factory.mktemp("digest"), 16 * sizes.volume_bytes) as made:
        yield made


def _read(paths: list[Path], length: int) -> int:
    """Read the first `length` bytes of each, one after the other, by the MiB; return the time."""
    buffer = bytearray(_MIB)
    start = time.perf_counter_ns()
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        for offset in range(0, length, _MIB):
            os.preadv(handle, [buffer], offset)
        os.close(handle)
    return time.perf_counter_ns() - start


@pytest.mark.parametrize("compare", [Compare.XXH3, Compare.SHA256])
def bench_digest_resync_of_equal_volumes(
    compare: Compare, plain: Sites, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    pair, length = plain.pair, plain.source.size_bytes // 4
    state = plain.system.state
    (peer,) = state.peers.values()
    crossed = []

    def all_pending() -> None:
        plain.settle()
        pair.split()
        state.mirror(pair.pair_id).mark_all()

    def resync() -> int:
        before = peer.frame_bytes
        start = time.perf_counter_ns()
        job = pair.resync(compare=compare)
        assert job is not None
        job.wait()
        taken = time.perf_counter_ns() - start
        assert job.compared_bytes == length
        assert job.sent_bytes == 0
        crossed.append(peer.frame_bytes - before)
        return taken

    def round_() -> None:
        paths = [Path(plain.source.path), plain.far.target]
        if len(crossed) % 2:
            floor = _read(paths, length)
            taken = resync()
        else:
            taken = resync()
            floor = _read(paths, length)
        beside.pairs.append((taken, floor))

    benchmark.pedantic(round_, setup=all_pending, rounds=sizes.rounds)
    beside.report(
        at_most=2.0 if compare is Compare.XXH3 else 20.0,
        compared_bytes=length,
        frame_bytes_most=max(crossed),
        volume_bytes=plain.source.size_bytes,
    )
