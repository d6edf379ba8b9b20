"""The activity log: writes in the hot set and beyond it, flushes, and opening after a crash."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from figures import Beside, Sizes
from pyrep import Options, StorageSystem, connect
from pyrep._core import (
    Alog,
    AlogShape,
    BitmapFile,
    BitmapKey,
    FileIo,
    LinkCore,
    Tree,
    VolumeCore,
    Wake,
)
from pyrep.model import PairStatus

_BYTES = 8192
_PAGE = 4096
_REGION = 4 << 20
_MIB = 1 << 20
_VOLUME = 64 << 20
_LARGE = 15 << 40
_ROUNDS = 15
_TURNS = 40
_ACK_S = 1.0


@contextmanager
def _two_volumes(root: Path) -> Iterator[tuple[VolumeCore, VolumeCore]]:
    """Yield two volumes on one file, each with a row that marks; the first one has a log."""
    wake = Wake()
    (root / "volume").write_bytes(bytes(_VOLUME))
    io = FileIo(root / "volume")
    made = [VolumeCore(io, Tree(number), name=f"{number}", wake=wake) for number in (1, 2)]
    links = [LinkCore(one, chunk_bytes=_BYTES, shares_marks=False) for one in made]
    shape = AlogShape(
        system_key=bytes(16),
        volume_key=bytes(16),
        size_bytes=_VOLUME,
        region_bytes=_REGION,
        hot_regions=1237,
    )
    (root / "log").write_bytes(bytes(shape.file_bytes))
    log_io = FileIo(root / "log")
    Alog.format(log_io, shape)
    log = Alog(log_io, shape)
    log.begin(made[0])
    key = BitmapKey(
        system_key=bytes(16),
        volume_key=bytes(16),
        row_key=bytes(16),
        bit_count=_VOLUME // _BYTES,
        chunk_bytes=_BYTES,
        data_id=1,
    )
    file = BitmapFile.create(root / "row", key, marked_open=True)
    links[0].keep(file, bytes(16))
    for link in links:
        link.mark()
    links[0].save()
    yield made[0], made[1]
    for owned in (*links, *made, file, log, log_io, io):
        owned.close()


def _timed(volume: VolumeCore, data: bytes, offsets: list[int]) -> int:
    start = time.perf_counter_ns()
    for offset in offsets:
        volume.pwrite(data, offset, ack_timeout_s=_ACK_S)
    return time.perf_counter_ns() - start


def bench_hot_write(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    """Random 8 KiB writes to hot regions, beside the same without a log. The bar: 1.05."""
    choose = random.Random(3)
    offsets = [choose.randrange(_VOLUME // _BYTES) * _BYTES for _ in range(sizes.writes)]
    data = choose.randbytes(_BYTES)
    with _two_volumes(tmp_path) as (logged, plain):
        for volume in (logged, plain):
            _timed(volume, data, list(range(0, _VOLUME, _BYTES)))

        def once() -> None:
            spent = {logged: 0, plain: 0}
            for turn in range(_TURNS):
                for one in (logged, plain) if turn % 2 else (plain, logged):
                    spent[one] += _timed(one, data, offsets[turn::_TURNS])
            beside.pairs.append((spent[logged], spent[plain]))

        benchmark.pedantic(once, rounds=sizes.rounds if sizes.is_smoke else _ROUNDS)
    beside.report(at_most=1.05, writes=sizes.writes)


def _misses(directory: Path, count: int) -> tuple[float, int]:
    """Return durable writes per miss, and the misses, of writes over 100 times the hot set."""
    hot = 64
    size = 100 * hot * _REGION
    choose = random.Random(5)
    with StorageSystem.create(directory, "100a", options=Options(hot_regions=hot)) as system:
        volume = system.create_volume("105", size)
        system.create_volume("106", size)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()
        log = system.state.live[volume.volume_id].log
        if log is None:
            raise LookupError("log")
        before = log.info()
        for _ in range(count):
            volume.pwrite(b"x" * _BYTES, choose.randrange(size // _BYTES) * _BYTES)
        after = log.info()
    durable = sum(
        getattr(after, name) - getattr(before, name)
        for name in ("transactions", "volume_flushes", "page_flushes")
    )
    misses = after.admissions - before.admissions
    return durable / misses, misses


def bench_beyond_the_hot_set(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    """One writer over 100 times the hot set; the bar: 1.5 durable writes per miss.

    The ratio is to as many of pwrite and fdatasync of 4 KiB.
    """
    count = 40 if sizes.is_smoke else 2000
    per_miss: list[float] = []
    file = os.open(tmp_path / "floor", os.O_RDWR | os.O_CREAT)
    os.pwrite(file, bytes(_MIB), 0)

    def once() -> None:
        start = time.perf_counter_ns()
        each, misses = _misses(tmp_path / f"system{len(per_miss)}", count)
        took = time.perf_counter_ns() - start
        per_miss.append(each)
        start = time.perf_counter_ns()
        for number in range(misses):
            os.pwrite(file, bytes(_PAGE), number % 256 * _PAGE)
            os.fdatasync(file)
        beside.pairs.append((took, time.perf_counter_ns() - start))

    benchmark.pedantic(once, rounds=1 if sizes.is_smoke else 3)
    os.close(file)
    beside.report(durable_writes_per_miss_max=max(per_miss))


@pytest.mark.parametrize("status", [PairStatus.SPLIT, PairStatus.DUPLEX])
def bench_hot_write_and_flush(
    status: PairStatus, tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """4 KiB and a flush in a hot region of a local pair, beside pwrite and fdatasync: 1.15.

    In DUPLEX the mirror is written to as well, and flushed every 5 s by itself: beside a program
    that does so (`two pwrites`), since the second write alone may cost it the bar.
    """
    count = 20 if sizes.is_smoke else 200
    data = bytes(_PAGE)
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        volume = system.create_volume("105", _VOLUME)
        system.create_volume("106", _VOLUME)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        if status is PairStatus.SPLIT:
            pair.split()
        for offset in range(0, _VOLUME, _MIB):
            volume.pwrite(random.Random(offset).randbytes(_MIB), offset)
        volume.flush()
        file = os.open(volume.path, os.O_RDWR)
        mirror = os.open(system.volume("106").path, os.O_RDWR)
        choose = random.Random(8)
        offsets = [choose.randrange(_VOLUME // _PAGE) * _PAGE for _ in range(count)]

        def tracked() -> int:
            start = time.perf_counter_ns()
            for offset in offsets:
                volume.pwrite(data, offset)
                volume.flush()
            return time.perf_counter_ns() - start

        def plain(*files: int) -> int:
            start = time.perf_counter_ns()
            for offset in offsets:
                for one in files:
                    os.pwrite(one, data, offset)
                os.fdatasync(files[0])
            return time.perf_counter_ns() - start

        def measure() -> None:
            beside.interleave(1, tracked, lambda: plain(file))
            if status is PairStatus.DUPLEX:
                beside.peer("two pwrites", beside.pairs[-1][0], plain(file, mirror))

        rounds = sizes.rounds if sizes.is_smoke else _ROUNDS
        benchmark.pedantic(measure, rounds=rounds)
        os.close(file)
        os.close(mirror)
    beside.report(at_most=1.15, writes=count)


def _crash(directory: Path, size: int) -> None:
    """End uncleanly with a full hot set, a region in each of as many places."""
    with StorageSystem.create(directory, "100a") as system:
        volume = system.create_volume("105", size)
        system.create_volume("106", size)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()
        hot = min(1237, size // _REGION)
        step = size // hot // _REGION * _REGION
        for number in range(hot):
            volume.pwrite(b"x" * _BYTES, number * step)
        system.abort()


def bench_open_after_a_crash(tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes) -> None:
    """15 TiB, sparse, the hot set full, in less than 1 s; beside a clean open of it."""
    size = _VOLUME if sizes.is_smoke else _LARGE
    opened: list[int] = []
    pending: list[int] = []
    runs = 2 if sizes.is_smoke else 5

    def timed(directory: Path) -> tuple[int, int]:
        start = time.perf_counter_ns()
        system = StorageSystem.open(directory)
        took = time.perf_counter_ns() - start
        count = system.pairs()[0].status().pending_count
        system.close()
        return took, count

    def once() -> None:
        directory = tmp_path / f"system{len(opened)}"
        _crash(directory, size)
        took, count = timed(directory)
        opened.append(took)
        pending.append(count)
        beside.pairs.append((took, timed(directory)[0]))

    benchmark.pedantic(once, rounds=runs)
    beside.report(
        volume_bytes=size,
        open_ms_max=max(opened) / 1e6,
        pending_chunks_max=max(pending),
    )


class _Hurt:
    """100a and 100b with a pair of large, sparse volumes, and a crash of 100a with its log full.

    Attributes:
        differs_bytes: what was written to 105a after the path was lost.
    """

    def __init__(self, root: Path, size: int) -> None:
        self._root = root
        self._hot = min(1237, size // _REGION)
        self._step = size // self._hot // _REGION * _REGION
        self.differs_bytes = 64 * _BYTES
        for name, volume in (("100a", "105a"), ("100b", "105b")):
            with StorageSystem.create(root / name, name) as system:
                system.create_volume(volume, size)

    @property
    def hot_bytes(self) -> int:
        return self._hot * _REGION

    def __enter__(self) -> Self:
        self._far = StorageSystem.open(self._root / "100b")
        near = StorageSystem.open(self._root / "100a")
        path = connect(near, self._far)
        near.create_remote_pair("105a", "100b", "105b").wait()
        for number in range(self._hot):
            near.volume("105a").pwrite(b"x" * _BYTES, number * self._step)
        path.cut()
        for number in range(64):
            near.volume("105a").pwrite(b"y" * _BYTES, number % self._hot * self._step + _BYTES)
        near.abort()
        self.near = StorageSystem.open(self._root / "100a")
        return self

    def resync(self) -> tuple[int, int, int]:
        """Let the pair come back by itself; return the time, and what crossed in frames."""
        pending = self.near.pairs()[0].status().pending_bytes
        start = time.perf_counter_ns()
        path = connect(self.near, self._far)
        self.near.pairs()[0].wait()
        return time.perf_counter_ns() - start, pending, path.frame_bytes

    def read(self, size: int) -> int:
        """Read what was compared at both ends; return the time."""
        start = time.perf_counter_ns()
        buffer = bytearray(_MIB)
        for system, name in ((self.near, "105a"), (self._far, "105b")):
            file = os.open(system.volume(name).path, os.O_RDONLY)
            for number in range(self._hot):
                for offset in range(0, min(_REGION, size), _MIB):
                    os.preadv(file, [buffer], number * self._step + offset)
            os.close(file)
        return time.perf_counter_ns() - start

    def __exit__(self, *_: object) -> None:
        self.near.close()
        self._far.close()


def bench_resync_after_a_crash(
    tmp_path: Path, benchmark: Any, beside: Beside, sizes: Sizes
) -> None:
    """15 TiB, sparse, the hot set full: the pair comes back, beside reading its hot regions.

    Resynced are the hot regions and what was pending; what differs crosses, and digests do.
    """
    size = _VOLUME if sizes.is_smoke else _LARGE
    resynced: list[int] = []
    crossed: list[int] = []
    digests: list[int] = []

    def once() -> None:
        with _Hurt(tmp_path / f"systems{len(resynced)}", size) as hurt:
            took, pending, frames = hurt.resync()
            if pending > hurt.hot_bytes + hurt.differs_bytes:
                raise ArithmeticError(f"{pending} bytes are pending")
            # A hole of the source isn't compared: a record of 32 bytes says so, at most one a MiB.
            if frames > hurt.differs_bytes + 32 * (pending // _MIB + hurt.differs_bytes // _BYTES):
                raise ArithmeticError(f"{frames} bytes crossed")
            resynced.append(pending)
            crossed.append(frames)
            digests.append(16 * (pending // _MIB))
            beside.pairs.append((took, hurt.read(size)))

    benchmark.pedantic(once, rounds=1 if sizes.is_smoke else 3)
    beside.report(
        volume_bytes=size,
        resynced_bytes_max=max(resynced),
        crossed_bytes_max=max(crossed),
        digest_bytes_max=max(digests),
    )
