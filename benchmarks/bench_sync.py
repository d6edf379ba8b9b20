"""Synchronous and asynchronous writes of 4 KiB to a remote pair over loopback TCP.

Beside C programs that write here, send, write there and answer, with as many writes on their way.
"""

from __future__ import annotations

import random
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ceilings import Hosts
from figures import Beside, Sizes
from pyrep import AckPoint, Options, StorageSystem, Volume
from sites import Sites, two_sites

_BYTES = 4096
_VOLUME = 64 << 20
_QUEUE = 8 << 20
_DATA = random.Random(4).randbytes(_BYTES)
_P99_BY_MEDIAN = 4

Took = tuple[int, list[int]]
"""Nanoseconds of all writes together, and of each."""


def _offsets(count: int) -> list[int]:
    choose = random.Random(5)
    return [choose.randrange(_VOLUME // 4 // _BYTES) * _BYTES for _ in range(count)]


@pytest.fixture(scope="module", params=[AckPoint.RECEIVED, AckPoint.DURABLE], ids=str)
def sites(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sites]:
    with two_sites(tmp_path_factory.mktemp("sync"), _VOLUME, ack=request.param) as made:
        yield made


def _write_all(volume: Volume | Hosts, offsets: list[int], outstanding: int) -> Took:
    """Write by as many threads."""
    took: list[list[int]] = [[] for _ in range(outstanding)]

    def host(number: int) -> None:
        pwrite, now, mine = volume.pwrite, time.perf_counter_ns, took[number]
        for offset in offsets[number::outstanding]:
            begun = now()
            pwrite(_DATA, offset)
            mine.append(now() - begun)

    hosts = [threading.Thread(target=host, args=(number,)) for number in range(1, outstanding)]
    start = time.perf_counter_ns()
    for one in hosts:
        one.start()
    host(0)
    for one in hosts:
        one.join()
    return time.perf_counter_ns() - start, [one for each in took for one in each]


@pytest.mark.parametrize("outstanding", [1, 16])
def bench_sync_write(
    outstanding: int, sites: Sites, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """The ratio is of the times of as many writes; a host with 16 on their way has 16 threads.

    The C echo has one thread for all 16. What 16 threads of Python take that call the same echo is
    a second ceiling: of whatever is called so. The bar is the first one's.
    """
    is_durable = sites.pair.row.ack is AckPoint.DURABLE
    offsets = _offsets(sizes.writes // (40 if is_durable else 10))
    spread: dict[str, list[float]] = {"measured": [], "ceiling": []}

    def tell(who: str, took: Took) -> float:
        all_ns, each = took
        cuts = statistics.quantiles(each, n=100)
        spread[who].append(cuts[98] / statistics.median(each))
        return all_ns

    def measured() -> float:
        return tell("measured", _write_all(sites.source, offsets, outstanding))

    def ceiling() -> float:
        took = sites.write_in_c(beside.ceilings, _DATA, offsets, outstanding, is_durable=is_durable)
        return tell("ceiling", took)

    def called() -> float:
        with sites.hosts_in_c(_BYTES, len(offsets), is_durable=is_durable) as hosts:
            return _write_all(hosts, offsets, outstanding)[0]

    for _ in range(sizes.rounds):
        beside.interleave(1, measured, ceiling)
        if outstanding > 1:
            measured_ns, ceiling_ns = beside.pairs[-1]
            called_ns = called()
            name = f"echo called by {outstanding} threads"
            beside.peer(name, measured_ns, called_ns)
            beside.peer(f"  {name}, beside the echo", called_ns, ceiling_ns)
    benchmark.pedantic(measured, rounds=1)
    bars = {(False, 1): 0.5, (False, 16): 0.3, (True, 1): 0.6, (True, 16): 0.6}
    if outstanding == 1:
        beside.tail(spread["measured"], spread["ceiling"], at_most=_P99_BY_MEDIAN)
    beside.report(
        at_most=1 / bars[is_durable, outstanding],
        writes=len(offsets),
        p99_by_median=statistics.median(spread["measured"]),
        ceiling_p99_by_median=statistics.median(spread["ceiling"]),
    )


def _paced(write: Callable[[bytes, int], None], offsets: list[int], every_ns: int) -> float:
    """Write one every so often; return the median time of a write."""
    took = []
    due = time.perf_counter_ns()
    for offset in offsets:
        while time.perf_counter_ns() < due:
            pass
        begun = time.perf_counter_ns()
        write(_DATA, offset)
        took.append(time.perf_counter_ns() - begun)
        due = max(due + every_ns, begun)
    return statistics.median(took)


def bench_async_write(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    """The ratio is of median times of a write, to a volume with a split pair alone.

    Both hosts write half as fast as the unmirrored one can.
    """
    offsets = _offsets(sizes.writes // 4)
    with (
        two_sites(tmp_path / "two", _VOLUME, ack=AckPoint.QUEUED) as made,
        StorageSystem.create(tmp_path / "one", "100c") as system,
    ):
        alone = _tracked(system)
        start = time.perf_counter_ns()
        for offset in offsets:
            alone.pwrite(_DATA, offset)
        every_ns = 2 * (time.perf_counter_ns() - start) // len(offsets)
        beside.interleave(
            sizes.rounds,
            lambda: _paced(made.source.pwrite, offsets, every_ns),
            lambda: _paced(alone.pwrite, offsets, every_ns),
        )
        benchmark.pedantic(lambda: _paced(made.source.pwrite, offsets, every_ns), rounds=1)
    beside.report(at_most=1.3, writes=len(offsets), every_ns=every_ns)


def _tracked(system: StorageSystem) -> Volume:
    volume = system.create_volume("105", _VOLUME)
    for offset in range(0, _VOLUME // 4, 1 << 20):
        volume.pwrite(bytes(1 << 20), offset)
    system.create_volume("106", _VOLUME)
    pair = system.create_local_pair("105", "106")
    pair.wait()
    pair.split()
    return volume


def bench_memory_while_the_peer_stalls(
    tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """The memory that a host's writes cost while the far end takes nothing, beside the queue's.

    Bytes stand where times do: all that the near end has grown by since before its system was
    made, its queue and a frame included. The host writes until it finds no room.
    """
    queue_bytes = 4 << 20 if sizes.is_smoke else _QUEUE
    options = Options(queue_bytes=queue_bytes)
    before = _resident()
    with two_sites(tmp_path, _VOLUME, ack=AckPoint.QUEUED, options=options) as made:
        block = random.Random(6).randbytes(1 << 20)

        def host() -> None:
            for number in range(4 * queue_bytes >> 20):
                made.source.pwrite(block, (number << 20) % (_VOLUME // 4))

        thread = threading.Thread(target=host)

        def stall() -> None:
            with made.far.stalled():
                thread.start()
                thread.join(0.2 if sizes.is_smoke else 3.0)
                assert thread.is_alive(), "it found room for four times the queue"
                beside.pairs.append((max(_resident() - before, 1), queue_bytes))
            thread.join()

        benchmark.pedantic(stall, rounds=1)
    beside.report(at_most=2.0, queue_bytes=queue_bytes)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
