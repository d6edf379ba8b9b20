"""Settling: local mirrors are made durable every few seconds, and rows saved, by themselves."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep.engine import Options, Pair, settling
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.mirror import Mirror
from pyrep.engine.settling import Settling
from pyrep.errors import DeviceError, PyrepError
from pyrep.model import AckPoint, CopyRate, PairStatus, SplitCause, VolumeId
from pyrep.testing import VolatileIo, VolatileStorage, check_no_early_clear, wait_until
from rig import CHUNK, LONG_S, Rig, Site

REGION = 4 << 20
SIZE = 40 * REGION


class Local(Site):
    """100b with 105b and its mirror 106b, settled by hand, by a clock that is set by hand."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.storage = VolatileStorage()
        self.options["100b"] = Options(storage=self.storage, hot_regions=16)
        self.now_s = 0.0
        self.system = self.make("100b", "105b", "106b", size=SIZE)
        self.pair = self.system.create_local_pair("105b", "106b")
        self.pair.wait(timeout_s=LONG_S)
        self.system._watch.close()
        self.settling.clock = lambda: self.now_s
        self.look(0)

    @property
    def settling(self) -> Settling:
        return self.system._watch.settling

    def look(self, after_s: float) -> None:
        """Let it look, so many seconds later."""
        self.now_s += after_s
        self.settling.look()

    def write(self, *chunks: int) -> None:
        for one in chunks:
            self.system.volume("105b").pwrite(b"x" * CHUNK, one * CHUNK)

    def device(self, volume_id: str) -> VolatileIo:
        return self.storage.doubles[VolumeId(volume_id)]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    made = Local(tmp_path)
    yield made
    if not made.device("106b").closed:
        made.device("106b").fail_after(0, 0)
    made.close()


def test_what_a_mirror_was_sent_is_durable_there_after_a_while_by_itself(local: Local) -> None:
    local.write(1, 2, 3)
    local.look(1)
    assert local.pair.status().unsettled_bytes == 3 * CHUNK
    assert local.device("106b").unflushed_count
    local.look(4)
    assert local.pair.status().unsettled_bytes == 0
    assert not local.device("106b").unflushed_count
    check_no_early_clear(local.system)


def test_the_source_isnt_flushed_for_it(local: Local) -> None:
    before = local.device("105b").flush_count
    local.write(1)
    local.look(5)
    assert local.device("105b").flush_count == before


def test_while_nothing_is_written_nothing_is_flushed_or_saved(local: Local) -> None:
    local.write(1)
    local.look(100)
    before = local.device("106b").flush_count
    path = local.system.state.store.path_of(local.pair.row.row_key)
    saved = path.stat().st_mtime_ns
    for _ in range(10):
        local.look(100)
    assert local.device("106b").flush_count == before
    assert path.stat().st_mtime_ns == saved


def test_much_that_is_unsettled_isnt_left_so_for_long(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_MOST_BYTES", 3 * CHUNK)
    local.write(1, 2)
    local.look(1)
    assert local.pair.status().unsettled
    local.write(3)
    local.look(1)
    assert not local.pair.status().unsettled


def test_hosts_have_the_disk_to_themselves_as_long_as_a_flush_took(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = type(local.system.state.mirror(local.pair.pair_id).link)
    settle = link.settle_epoch

    def slow(self: object) -> None:
        settle(self)  # type: ignore[arg-type]
        local.now_s += 20

    monkeypatch.setattr(link, "settle_epoch", slow)
    local.write(1)
    local.look(5)
    local.write(2)
    local.look(19)
    assert local.pair.status().unsettled
    local.look(1)
    assert not local.pair.status().unsettled


def test_a_mirror_that_cannot_be_flushed_splits_without_anybody_asking(local: Local) -> None:
    local.write(1)
    local.device("106b").fail_after(0, errno.EIO)
    local.look(5)
    local.system._watch.look()
    state = local.pair.status()
    assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
    assert not state.target_consistent
    assert 1 in local.pair.pending()


def test_a_pair_that_was_split_meanwhile_is_left_alone(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(_: object) -> None:
        raise AssertionError("settled")

    local.write(1)
    local.pair.split()
    local.write(2)
    monkeypatch.setattr(
        type(local.system.state.mirror(local.pair.pair_id).link), "settle_epoch", told
    )
    local.look(100)
    assert set(local.pair.pending()) == {2}


def test_a_local_copy_that_a_crash_interrupts_goes_on_where_it_was(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.pair.split()
    for offset in range(0, 8 * REGION, 1 << 20):
        local.system.volume("105b").pwrite(b"x" * (1 << 20), offset)
    local.write(*range(20 * REGION // CHUNK, 36 * REGION // CHUNK, REGION // CHUNK))
    job = local.pair.resync(rate=CopyRate(ceiling_bytes_s=8 << 20))
    assert job is not None
    mirror = local.system.state.mirror(local.pair.pair_id)
    wait_until(lambda: mirror.link.unsettled_count() > 10)
    job.pause()
    assert mirror.pending().test(0)

    def is_settled() -> bool:
        local.look(5)  # what was on its way when the copy was paused may come behind a look
        return not mirror.pending().test(0)

    wait_until(is_settled)
    local.system.state.write(mirror)  # as it is every 10 s
    local.look(1)
    local.system.abort()
    monkeypatch.setattr(CopyJob, "start", lambda _: None)
    found = local.open("100b").state.mirror(local.pair.pair_id).link.pending
    assert not found.test(0)
    assert found.test(8 * REGION // CHUNK - 1)


def _everywhere() -> range:
    """Return a chunk of each region: of 40, 16 can be hot."""
    return range(0, SIZE // CHUNK, REGION // CHUNK)


def _pending_after_a_crash(local: Local, patch: pytest.MonkeyPatch) -> int:
    local.system.abort()
    patch.setattr(CopyJob, "start", lambda _: None)
    return len(local.open("100b").pair(local.pair.pair_id).pending())


HOT_CHUNKS = 16 * REGION // CHUNK


def test_what_a_save_found_unsettled_is_in_its_pages_no_longer_once_it_is_settled(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing is written any more, and no region leaves the log."""
    local.write(0)
    local.look(57)
    local.write(*_everywhere())
    local.look(3)  # a minute since it was opened, but not yet 5 s since the last flush
    assert local.pair.status().unsettled
    local.look(2)
    assert not local.pair.status().unsettled
    local.look(60)
    assert _pending_after_a_crash(local, monkeypatch) <= HOT_CHUNKS


def test_what_had_left_before_a_split_is_not_pending_after_a_crash(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.write(*_everywhere())
    local.pair.split()
    assert not local.pair.pending()
    local.look(60)
    assert _pending_after_a_crash(local, monkeypatch) <= HOT_CHUNKS


class Saves:
    """What saves of the PVOL's row do: each takes the next one of these, and then none."""

    def __init__(self, local: Local, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.before: list[Callable[[], object]] = []
        self.behind: list[Callable[[], object]] = []
        row = local.system.state.mirror(local.pair.pair_id)
        save = Mirror.save

        def saving(mirror: Mirror) -> None:
            if mirror is row:
                self.count += 1
                if self.before:
                    self.before.pop()()
            save(mirror)
            if mirror is row and self.behind:
                self.behind.pop()()

        patch.setattr(Mirror, "save", saving)


@pytest.fixture
def saves(local: Local, monkeypatch: pytest.MonkeyPatch) -> Saves:
    return Saves(local, monkeypatch)


def _no_room() -> None:
    raise DeviceError("no room", errno_code=errno.ENOSPC)


def test_a_row_that_could_not_be_saved_is_saved_a_minute_later(local: Local, saves: Saves) -> None:
    saves.before.append(_no_room)
    local.write(*_everywhere())
    local.look(60)
    assert saves.count == 1
    local.look(59)
    assert saves.count == 1
    local.look(1)
    assert saves.count == 2
    local.look(120)
    assert saves.count == 2


def test_what_leaves_while_a_row_is_saved_has_it_saved_again(local: Local, saves: Saves) -> None:
    local.write(*_everywhere())
    saves.behind.append(lambda: local.write(*_everywhere()))
    local.look(60)
    assert saves.count == 1
    local.look(60)
    assert saves.count == 2


def test_what_is_written_to_hot_regions_alone_has_no_row_saved(
    local: Local, saves: Saves, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though something is unsettled at each look."""
    link = type(local.system.state.mirror(local.pair.pair_id).link)
    settle = link.settle_epoch

    def settle_and_write(self: object) -> None:
        settle(self)  # type: ignore[arg-type]
        local.write(SIZE // CHUNK - 1)

    monkeypatch.setattr(link, "settle_epoch", settle_and_write)
    local.write(*_everywhere())
    for _ in range(120):
        local.look(5)
        assert local.pair.status().unsettled
    assert saves.count == 2


def test_a_save_that_takes_long_is_not_made_again_for_twenty_times_as_long(
    local: Local, saves: Saves
) -> None:
    def take_long() -> None:
        local.now_s += 30

    saves.before.append(take_long)
    for _ in range(60):
        local.write(*_everywhere())
        local.look(10)
    assert saves.count == 1
    local.look(60)
    assert saves.count == 2


def test_a_copy_whose_last_save_failed_has_it_made_good(local: Local, saves: Saves) -> None:
    """Though no region has left the log."""
    local.pair.split()
    local.system.volume("105b").pwrite(b"x" * REGION, 0)
    saves.before.append(_no_room)
    job = local.pair.resync(rate=CopyRate(ceiling_bytes_s=1 << 20))
    assert job is not None
    job.pause()
    local.look(1)
    assert local.pair.status().status is PairStatus.COPY
    job.rate = CopyRate()
    job.resume()
    job.wait(LONG_S)
    assert (saves.count, local.pair.status().status) == (1, PairStatus.DUPLEX)
    local.look(60)
    assert saves.count == 2


@pytest.mark.parametrize("ack", list(AckPoint))
def test_a_remote_pair_settles_without_a_flush_of_its_hosts(rig: Rig, ack: AckPoint) -> None:
    """Its stream has a barrier a second after what was sent."""
    pair: Pair = rig.remote(ack=ack)
    rig.pvol.pwrite(b"x" * CHUNK, 3 * CHUNK)
    wait_until(lambda: not pair.status().unsettled)
    wait_until(lambda: not rig.b.pair(pair.pair_id).status().unsettled)


def test_an_error_of_one_row_doesnt_keep_the_others_unsettled(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    tended: list[object] = []

    def tend(_: object, mirror: object, __: object) -> None:
        tended.append(mirror)
        raise PyrepError("no")

    monkeypatch.setattr(Settling, "_tend", tend)
    local.look(5)
    assert len(tended) == 2
