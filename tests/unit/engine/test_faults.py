from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import Options
from pyrep.errors import DeviceError, FencedError, NoSpaceError, PyrepError, RefusedError
from pyrep.meta import CopyTable
from pyrep.model import Direction, GenerationState, PairStatus, Row, SplitCause, VolumeId
from pyrep.testing import PowerLoss, VolatileIo, VolatileStorage, wait_until
from rig import CHUNK, LONG_S, SIZE, Rig, content, equal, fill, row_of


class Faulty(Rig):
    """A rig whose storage fails on demand and loses power."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.storage = {"100a": VolatileStorage(), "100b": VolatileStorage()}
        for system_id, storage in self.storage.items():
            storage.loss = PowerLoss(keep_one_in=1)
            self.options[system_id] = Options(
                storage=storage, log_storage=storage.metadata, bitmap_storage=storage.metadata
            )

    def device(self, system_id: str, volume_id: str) -> VolatileIo:
        """Return the double of a volume."""
        return self.storage[system_id].doubles[VolumeId(volume_id)]


@pytest.fixture
def faulty(tmp_path: Path) -> object:
    rig = Faulty(tmp_path)
    rig.build()
    yield rig
    for storage in rig.storage.values():
        for double in storage.doubles.values():
            if not double.closed:
                double.fail_after(0, 0)
                double.fail_reads(0)
    rig.close()


def test_a_mirror_whose_storage_fails_splits_and_the_write_succeeds(faulty: Faulty) -> None:
    faulty.remote()
    local = faulty.local()
    faulty.device("100b", "106b").fail_after(0, errno.EIO)
    faulty.pvol.pwrite(b"x", 3 * CHUNK)
    state = local.status()
    assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
    assert 3 in local.pending()
    assert not state.target_consistent
    with pytest.raises(FencedError):
        faulty.svol.pread(1, 0)
    with pytest.raises(RefusedError, match="only forward resumes"):
        local.resync(direction=Direction.REVERSE)
    faulty.device("100b", "106b").fail_after(0, 0)
    job = local.resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(faulty.spvol, faulty.svol)


def test_a_broken_mirror_is_noticed_without_anybody_asking(faulty: Faulty) -> None:
    faulty.remote()
    local = faulty.local()
    faulty.device("100b", "106b").fail_after(0, errno.EIO)
    faulty.pvol.pwrite(b"x", 0)
    wait_until(lambda: faulty.b.table()[1].cause is SplitCause.DEVICE_ERROR)
    assert local.row.status is PairStatus.SPLIT


def test_a_source_that_fails_leaves_a_consistent_mirror_behind(faulty: Faulty) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    fill(faulty.spvol, 3)
    before = content(faulty.svol)
    faulty.device("100b", "105b").fail_after(0, errno.EIO)
    with pytest.raises(DeviceError, match="105b"):
        faulty.spvol.pwrite(b"x", 3 * CHUNK)
    state = pair.status()
    assert state.cause is SplitCause.DEVICE_ERROR
    assert state.target_consistent
    assert 3 in pair.pending()
    assert faulty.svol.pread(SIZE, 0) == before
    faulty.device("100b", "105b").fail_after(0, 0)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert content(faulty.spvol) == before


@pytest.mark.parametrize("ends", ["barrier", "path lost"])
def test_a_secondary_volume_whose_flush_fails_splits_its_local_pairs_too(
    faulty: Faulty, ends: str
) -> None:
    """The kernel reports a failed flush once: nobody knows what the volume holds from then on."""
    pair = faulty.remote()
    local = faulty.local()
    faulty.pvol.flush()
    wait_until(lambda: not pair.status().unsettled)
    faulty.b.state.mirror(local.pair_id).link.settle()
    device = faulty.device("100b", "105b")
    if ends == "barrier":
        device.fail_after(1, errno.EIO)  # the write is done
        faulty.pvol.pwrite(b"x", 3 * CHUNK)
    else:
        faulty.pvol.pwrite(b"x", 3 * CHUNK)
        device.fail_after(0, errno.EIO)
        faulty.path.cut()
    wait_until(lambda: row_of(faulty.b, pair).cause is SplitCause.DEVICE_ERROR)
    wait_until(lambda: local.status().cause is SplitCause.DEVICE_ERROR)
    device.fail_after(0, 0)
    state = local.status()
    assert (state.status, state.target_consistent) == (PairStatus.SPLIT, True)
    assert state.pending_count == SIZE // CHUNK
    assert equal(faulty.spvol, faulty.svol)


def test_a_remote_target_that_fails_splits_both_sides_and_is_not_trusted(faulty: Faulty) -> None:
    pair = faulty.remote()
    faulty.device("100b", "105b").fail_after(0, errno.EIO)
    faulty.pvol.pwrite(b"x", 3 * CHUNK)
    for system in (faulty.a, faulty.b):
        wait_until(lambda system=system: row_of(system, pair).cause is SplitCause.DEVICE_ERROR)  # type: ignore[misc]
        assert not row_of(system, pair).target_consistent
    assert faulty.path.is_up
    assert 3 in pair.pending()
    with pytest.raises(RefusedError, match="won't be DUPLEX"):
        pair.wait(timeout_s=LONG_S)
    with pytest.raises(RefusedError, match="inconsistent"):
        pair.resync(direction=Direction.REVERSE)
    faulty.device("100b", "105b").fail_after(0, 0)
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    faulty.both(pair, PairStatus.DUPLEX)
    assert equal(faulty.pvol, faulty.spvol)


def test_a_remote_source_that_fails_splits_both_sides_and_the_secondary_is_whole(
    faulty: Faulty,
) -> None:
    pair = faulty.remote()
    faulty.device("100a", "105a").fail_after(0, errno.EIO)
    with pytest.raises(DeviceError, match="105a"):
        faulty.pvol.pwrite(b"x", 3 * CHUNK)
    for system in (faulty.a, faulty.b):
        wait_until(lambda system=system: row_of(system, pair).cause is SplitCause.DEVICE_ERROR)  # type: ignore[misc]
        assert row_of(system, pair).target_consistent
    # After a flush that failed everything is pending: its resync compares before it sends.
    assert row_of(faulty.a, pair).overmarked
    faulty.device("100a", "105a").fail_after(0, 0)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert equal(faulty.pvol, faulty.spvol)


def test_a_failure_in_one_pair_leaves_the_others_of_its_group_alone(faulty: Faulty) -> None:
    first = faulty.a.create_remote_pair("105a", "100b", "105b", group="g")
    other = faulty.a.create_remote_pair("106a", "100b", "106b", group="g")
    for pair in (first, other):
        pair.wait(timeout_s=LONG_S)
    faulty.device("100b", "105b").fail_after(0, errno.EIO)
    faulty.pvol.pwrite(b"x", 0)
    wait_until(lambda: row_of(faulty.a, first).cause is SplitCause.DEVICE_ERROR)
    faulty.a.volume("106a").pwrite(b"y", 0)
    assert faulty.path.is_up
    assert other.status().status is PairStatus.DUPLEX
    assert equal(faulty.a.volume("106a"), faulty.b.volume("106b"))


@contextlib.contextmanager
def tables_failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no row be written, in either system, from when that was tried once until the end."""
    tried = threading.Event()

    def replace(_table: CopyTable, row: Row) -> None:
        tried.set()
        raise DeviceError(f"cannot write the row of pair {row.pair_id}")

    with monkeypatch.context() as patch:
        patch.setattr(CopyTable, "replace", replace)
        yield
        assert tried.wait(LONG_S)


@pytest.mark.parametrize("fails", ["105b", "106b"])
def test_a_broken_mirror_that_the_tables_did_not_take_is_not_duplex_for_ever(
    faulty: Faulty, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    with tables_failing(monkeypatch):
        faulty.device("100b", fails).fail_after(0, errno.EIO)
        with contextlib.suppress(DeviceError):
            faulty.spvol.pwrite(b"x", 3 * CHUNK)
    faulty.device("100b", fails).fail_after(0, 0)
    wait_until(lambda: pair.row.cause is SplitCause.DEVICE_ERROR)
    assert pair.row.target_consistent == (fails == "105b")
    assert 3 in pair.pending()


@pytest.mark.parametrize("fails", ["105a", "105b"])
def test_a_broken_remote_pair_that_the_tables_did_not_take_is_not_duplex_for_ever(
    faulty: Faulty, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = faulty.remote()
    device = faulty.device(f"100{fails[-1]}", fails)
    with tables_failing(monkeypatch):
        device.fail_after(0, errno.EIO)
        with contextlib.suppress(DeviceError):
            faulty.pvol.pwrite(b"x", 3 * CHUNK)
        wait_until(lambda: faulty.a.state.mirror(pair.pair_id).failed)
    device.fail_after(0, 0)
    wait_until(lambda: row_of(faulty.a, pair).cause is SplitCause.DEVICE_ERROR)
    assert row_of(faulty.a, pair).target_consistent == (fails == "105a")
    assert 3 in pair.pending()


def test_a_flush_that_fails_at_the_split_fails_the_generation(faulty: Faulty) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    faulty.spvol.pwrite(b"x", 0)
    faulty.device("100b", "106b").fail_after(0, errno.EIO)
    with pytest.raises(DeviceError, match="105b"):
        pair.split()
    state = pair.status()
    assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
    assert not state.target_consistent
    assert [one.state for one in faulty.b.list_generations()] == [GenerationState.FAILED]
    faulty.device("100b", "106b").fail_after(0, 0)
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(faulty.spvol, faulty.svol)


def test_a_source_that_cannot_be_read_ends_the_copy_and_splits_the_pair(faulty: Faulty) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    fill(faulty.spvol, 3)
    faulty.device("100b", "105b").fail_reads(errno.EIO)
    job = pair.resync()
    assert job is not None
    with pytest.raises(DeviceError):
        job.wait(LONG_S)
    wait_until(lambda: pair.status().cause is SplitCause.DEVICE_ERROR)
    assert not pair.status().target_consistent
    faulty.device("100b", "105b").fail_reads(0)
    again = pair.resync()
    assert again is not None
    again.wait(LONG_S)
    assert equal(faulty.spvol, faulty.svol)


@pytest.mark.parametrize("side", ["100a", "100b"])
def test_a_device_error_during_a_remote_copy_splits_the_pair_until_it_is_asked_for(
    faulty: Faulty, side: str
) -> None:
    pair = faulty.remote()
    pair.split()
    fill(faulty.pvol, 3)
    if side == "100a":
        faulty.device("100a", "105a").fail_reads(errno.EIO)
    else:
        faulty.device("100b", "105b").fail_after(0, errno.EIO)
    job = pair.resync()
    assert job is not None
    with pytest.raises(PyrepError):
        job.wait(LONG_S)
    wait_until(lambda: row_of(faulty.a, pair).cause is SplitCause.DEVICE_ERROR)
    faulty.device("100a", "105a").fail_reads(0)
    faulty.device("100b", "105b").fail_after(0, 0)
    again = pair.resync()
    assert again is not None
    again.wait(LONG_S)
    faulty.both(pair, PairStatus.DUPLEX)
    assert equal(faulty.pvol, faulty.spvol)


@pytest.mark.parametrize("side", ["100a", "100b"])
def test_a_device_error_during_a_remote_copy_back_leaves_the_pair_resumable(
    faulty: Faulty, side: str
) -> None:
    pair = faulty.remote()
    pair.split()
    fill(faulty.spvol, 3)
    expected = content(faulty.spvol)
    if side == "100b":
        faulty.device("100b", "105b").fail_reads(errno.EIO)
    else:
        faulty.device("100a", "105a").fail_after(0, errno.EIO)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    with pytest.raises(PyrepError):
        job.wait(LONG_S)
    faulty.device("100b", "105b").fail_reads(0)
    faulty.device("100a", "105a").fail_after(0, 0)
    assert pair.status().status is not PairStatus.DUPLEX
    with pytest.raises(RefusedError):
        pair.resync()
    again = pair.resync(direction=Direction.REVERSE)
    assert again is not None
    again.wait(LONG_S)
    faulty.both(pair, PairStatus.DUPLEX)
    assert content(faulty.pvol) == content(faulty.spvol) == expected


def test_a_flush_that_fails_splits_the_volumes_pairs_with_all_pending_and_their_targets_whole(
    faulty: Faulty,
) -> None:
    pair = faulty.remote()
    local = faulty.a.create_local_pair("105a", "106a")
    local.wait(timeout_s=LONG_S)
    fill(faulty.pvol, 5)
    before = content(faulty.pvol)
    faulty.device("100a", "105a").fail_after(0, errno.EIO)
    with pytest.raises(DeviceError):
        faulty.pvol.flush()
    faulty.device("100a", "105a").fail_after(0, 0)
    for one in (pair, local):
        state = one.status()
        assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
        assert state.target_consistent
        assert len(one.pending()) == faulty.pvol.size_bytes // CHUNK
    assert content(faulty.spvol) == content(faulty.a.volume("106a")) == before
    for one in (pair, local):
        job = one.resync()
        assert job is not None
        job.wait(LONG_S)
    faulty.both(pair, PairStatus.DUPLEX)


def test_a_full_disk_under_a_volume_is_told_and_the_range_is_pending(faulty: Faulty) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    faulty.device("100b", "105b").fail_after(0, errno.ENOSPC)
    with pytest.raises(NoSpaceError, match="105b"):
        faulty.spvol.pwrite(b"x", 9 * CHUNK)
    assert 9 in pair.pending()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("who", [("100a",), ("100b",), ("100a", "100b")])
def test_after_a_power_loss_of_either_side_the_pair_is_equal_again(
    faulty: Faulty, who: tuple[str, ...], seed: int
) -> None:
    pair = faulty.remote()
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                fill(faulty.pvol, number, count=1)
            except PyrepError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    for system_id in who:
        faulty.storage[system_id].loss = PowerLoss(seed=seed, keep_one_in=2, tear=True)
        faulty.systems[system_id].abort()
    stop.set()
    writer.join()
    for system_id in who:
        faulty.open(system_id)
    faulty.reconnect()
    again = faulty.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    faulty.both(again, PairStatus.DUPLEX)
    assert equal(faulty.pvol, faulty.spvol)


@pytest.mark.parametrize("seed", range(4))
def test_a_generation_survives_a_power_loss_right_after_the_split(
    faulty: Faulty, seed: int
) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    fill(faulty.spvol, seed)
    expected = content(faulty.spvol)
    generation = pair.split()
    assert generation is not None
    faulty.storage["100b"].loss = PowerLoss(seed=seed, keep_one_in=0)
    faulty.reopen("100b", crash=True)
    assert faulty.b.generation(generation.generation_id).is_complete
    assert content(faulty.svol) == expected


def test_a_backing_that_fails_at_close_leaves_the_next_open_with_everything_pending(
    faulty: Faulty,
) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    faulty.spvol.pwrite(b"x", 0)
    faulty.device("100b", "105b").fail_after(0, errno.EIO)
    with pytest.raises(DeviceError, match="105b"):
        faulty.b.close()
    faulty.open("100b")
    assert len(faulty.b.pair(pair.pair_id).pending()) == SIZE // CHUNK


@pytest.mark.parametrize("seed", range(6))
def test_what_a_split_pair_has_pending_survives_a_power_loss_of_volumes_logs_and_bitmaps(
    faulty: Faulty, seed: int
) -> None:
    pair = faulty.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    fill(faulty.spvol, seed)
    assert set(faulty.storage["100b"].files) > set(
        (faulty.root / "100b" / "bitmaps").glob("*.bitmap")
    )
    faulty.storage["100b"].loss = PowerLoss(seed=seed, keep_one_in=seed % 3, tear=True)
    faulty.reopen("100b", crash=True)
    assert faulty.storage["100b"].lost_count
    job = faulty.b.pair(pair.pair_id).resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(faulty.spvol, faulty.svol)
