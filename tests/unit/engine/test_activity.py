"""What a crash costs: what was pending and the hot regions, for every status and side."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

import pytest

from pyrep._core import Alog, Bitmap, BitmapFile, Io, LinkCore, VolatileIo
from pyrep.engine import Options, Pair, StorageSystem, settling
from pyrep.engine.alogstore import LogStore
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.store import BitmapStore
from pyrep.meta import SystemTable
from pyrep.model import PairId, PairStatus, RetentionPolicy, SplitCause, VolumeId
from pyrep.testing import check_durable_first, wait_until
from rig import LONG_S, stop_at

CHUNK = 8192
REGION_BYTES = Options().region_bytes
PER_REGION = REGION_BYTES // CHUNK
REGIONS = 40
SIZE = REGIONS * REGION_BYTES
HOT = 16


class Broken:
    """Activity logs that can be made to fail."""

    def __init__(self) -> None:
        self.logs: list[VolatileIo] = []

    def wrap(self, _path: Path, io: Io) -> Io:
        self.logs.append(VolatileIo(io))
        return self.logs[-1]

    def fail(self, code: int) -> None:
        for log in self.logs:
            if not log.closed:
                log.fail_after(0, code)


def _open(root: Path, **options: object) -> StorageSystem:
    made = Options(hot_regions=HOT, **options)  # type: ignore[arg-type]
    if (root / "s").exists():
        return StorageSystem.open(root / "s", options=made)
    system = StorageSystem.create(root / "s", "100b", options=made)
    for name in ("105b", "106b", "107b"):
        system.create_volume(name, SIZE)
    return system


def _split(system: StorageSystem, svol: str = "106b") -> str:
    pair = system.create_local_pair("105b", svol)
    pair.wait(timeout_s=LONG_S)
    generation = pair.split()
    assert generation is not None
    return generation.generation_id


def _write(system: StorageSystem, *regions: int, byte: bytes = b"x") -> set[int]:
    for region in regions:
        system.volume("105b").pwrite(byte * CHUNK, region * REGION_BYTES)
    return {region * PER_REGION for region in regions}


def _regions(chunks: set[int]) -> set[int]:
    return {chunk // PER_REGION for chunk in chunks}


def test_after_a_crash_a_split_pair_has_pending_what_was_and_the_hot_regions(
    tmp_path: Path,
) -> None:
    system = _open(tmp_path)
    _split(system)
    written = _write(system, *range(30))
    system.abort()
    with _open(tmp_path) as system:
        pending = set(system.pair("100b.1").pending())
        row = system.pair("100b.1").row
        assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.REQUESTED)
        assert pending >= written
        assert len(pending) <= 30 + HOT * PER_REGION
        assert _regions(pending) == set(range(30))
        # What left and came back isn't hot: one chunk each.
        assert {one for one in pending if one // PER_REGION < 30 - HOT} == {
            region * PER_REGION for region in range(30 - HOT)
        }


def test_what_was_pending_is_so_after_a_second_crash_that_finds_no_hot_region(
    tmp_path: Path,
) -> None:
    system = _open(tmp_path)
    _split(system)
    written = _write(system, *range(30))
    system.abort()
    system = _open(tmp_path)
    found = set(system.pair("100b.1").pending())
    assert found >= written
    system.abort()
    with _open(tmp_path) as system:
        assert set(system.pair("100b.1").pending()) == found


def test_what_left_long_ago_is_pending_after_a_crash(tmp_path: Path) -> None:
    """The log has forgotten it behind a checkpoint: the pages know."""
    system = _open(tmp_path)
    _split(system)
    written = _write(system, *range(HOT, REGIONS))
    log = system.state.live[system.volume("105b").volume_id].log
    assert log is not None
    _write(system, *range(HOT))
    assert log.checkpoint()
    _write(system, HOT)  # the next transaction says so
    system.abort()
    with _open(tmp_path) as system:
        assert set(system.pair("100b.1").pending()) >= written


def test_after_a_crash_a_duplex_pair_copies_no_more_than_its_hot_regions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody flushes the mirror, nor splits it; what left the log unsettled is in pages by then."""
    monkeypatch.setattr(settling, "_LOOK_S", 0.01)
    now_s = [0.0]
    system = _open(tmp_path)
    system._watch.settling.clock = lambda: now_s[0]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    for region in range(REGIONS):
        _write(system, region)
    assert pair.status().unsettled_bytes > 0
    system.state.live[VolumeId("105b")].log.checkpoint()  # type: ignore[union-attr]

    def is_settled() -> bool:
        now_s[0] += 100
        return not pair.status().unsettled and not _kept_in_pages(system, pair, REGIONS - HOT)

    wait_until(is_settled)
    _write(system, 3)  # a miss: it tells the log what it may forget
    system.abort()
    monkeypatch.setattr(CopyJob, "start", lambda _: None)
    with _open(tmp_path) as system:
        found = system.state.mirror(pair.pair_id).link.pending
        assert found.count() <= HOT * PER_REGION
        assert found.test(3 * PER_REGION)


def _kept_in_pages(system: StorageSystem, pair: Pair, end: int) -> bool:
    """Return whether the file of the PVOL's row has bits in any region below `end`."""
    row = system.pair(pair.pair_id).row
    with tempfile.TemporaryDirectory() as name:
        store = BitmapStore(Path(name), system.state.record.key)
        shutil.copyfile(system.state.store.path_of(row.row_key), store.path_of(row.row_key))
        live = system.state.live[row.volume_id]
        with store.open(row, live.record.key, SIZE) as file:
            bits = Bitmap(SIZE // CHUNK)
            file.load(bits)
            return file.marked_open or any(bits.test(one * PER_REGION) for one in range(end))


def test_a_clean_close_leaves_nothing_to_recover(tmp_path: Path) -> None:
    system = _open(tmp_path)
    _split(system)
    written = _write(system, 1, 5)
    system.close()
    with _open(tmp_path) as system:
        assert set(system.pair("100b.1").pending()) == written
        log = system.state.live[system.volume("105b").volume_id].log
        assert log is not None
        assert log.info().hot == 0


def test_what_two_generations_differ_in_is_known_after_a_crash_as_before(tmp_path: Path) -> None:
    system = _open(tmp_path)
    first = _split(system, "106b")
    between = _write(system, 2, 7)
    second = _split(system, "107b")
    _write(system, 9)
    assert set(system.kept(second).changes_since(first)) == between
    system.abort()
    system = _open(tmp_path)
    assert set(system.kept(second).changes_since(first)) == between
    _write(system, 11)
    system.abort()
    with _open(tmp_path) as system:
        assert set(system.kept(second).changes_since(first)) == between
        assert set(system.pair("100b.1").pending()) >= between | {9 * PER_REGION, 11 * PER_REGION}
        assert 30 * PER_REGION not in set(system.pair("100b.2").pending())


def test_marks_that_a_crash_lets_siblings_share_are_in_the_pages_of_each(tmp_path: Path) -> None:
    """The running interval is what the newest sibling had pending, of its own, too."""
    system = _open(tmp_path)
    _split(system, "106b")
    _write(system, 2)
    _split(system, "107b")
    newest = system.state.mirror(PairId("100b.2"))
    newest.link.pending.set(9 * PER_REGION)
    newest.save()
    system.abort()
    with _open(tmp_path) as system:
        assert 9 * PER_REGION in system.pair("100b.1").pending()
        check_durable_first(system)


@pytest.mark.parametrize("harm", ["gone", "damaged", "cut", "another volume's"])
def test_a_log_that_cannot_be_used_makes_everything_pending(tmp_path: Path, harm: str) -> None:
    system = _open(tmp_path)
    _split(system)
    _write(system, 1)
    record = system.state.live[system.volume("105b").volume_id].record
    other = system.state.live[system.volume("106b").volume_id].record
    path = system.state.logs.path_of(record.key)
    beside = system.state.logs.path_of(other.key)
    system.abort()
    match harm:
        case "gone":
            path.unlink()
        case "damaged":
            path.write_bytes(bytes(path.stat().st_size))
        case "cut":
            path.write_bytes(path.read_bytes()[:-4096])
        case _:
            path.write_bytes(beside.read_bytes())
    with _open(tmp_path) as system:
        pair = system.pair("100b.1")
        assert len(pair.pending()) == SIZE // CHUNK
        assert pair.row.status is PairStatus.SPLIT
        assert system.state.mirror(pair.pair_id).file.marked_logged


def test_a_torn_page_marks_what_it_covered(tmp_path: Path) -> None:
    system = _open(tmp_path)
    _split(system)
    _write(system, 1)
    mirror = system.state.mirror(system.pair("100b.1").pair_id)
    mirror.save()
    path = system.state.store.path_of(mirror.row.row_key)
    system.abort()
    with path.open("r+b") as file:
        file.seek(4096 + 512)
        file.write(b"torn")
    with _open(tmp_path) as system:
        assert len(system.pair("100b.1").pending()) == SIZE // CHUNK


def test_a_copy_that_a_crash_interrupts_has_all_of_a_row_whose_log_had_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hosts wrote to the SVOL is nowhere but under its row's open mark."""
    broken = Broken()
    system = _open(tmp_path, log_storage=broken.wrap)
    _split(system)
    system.set_policy("105b", retention=RetentionPolicy(keep_last=1))
    _split(system, "107b")
    assert system.apply_retention().given_up
    system._watch.close()
    broken.fail(errno.EIO)
    system.volume("106b").pwrite(b"hosts wrote this" * 512, 7 * REGION_BYTES)
    broken.fail(0)
    pvol, svol = system.state.sides(PairId("100b.1"))
    assert (pvol.file.marked_open, svol.file.marked_open) == (False, True)
    monkeypatch.setattr(CopyJob, "start", lambda _: None)
    system.pair("100b.1").resync()
    monkeypatch.undo()
    system.abort()
    with _open(tmp_path) as system:
        assert system.pair("100b.1").wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
        assert system.volume("106b").pread(16, 7 * REGION_BYTES) == bytes(16)


@pytest.mark.parametrize("stop", range(1, 15))
def test_a_recovery_that_is_stopped_anywhere_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    system = _open(tmp_path)
    _split(system)
    written = _write(system, *range(25))
    system.abort()
    stop_at(
        monkeypatch,
        stop,
        (SystemTable, "set"),
        (BitmapFile, "save"),
        (BitmapFile, "mark_logged"),
        (LogStore, "read"),
        (Alog, "begin"),
        (LinkCore, "__init__"),
        (LinkCore, "keep"),
        (LinkCore, "mark"),
    )
    with pytest.raises(InterruptedError):
        _open(tmp_path)
    monkeypatch.undo()
    with _open(tmp_path) as system:
        pending = set(system.pair("100b.1").pending())
        assert pending >= written
        assert _regions(pending) == set(range(25))


def test_another_shape_of_the_log_is_taken_over_after_recovery(tmp_path: Path) -> None:
    system = _open(tmp_path)
    _split(system)
    written = _write(system, *range(20))
    system.abort()
    other = Options(hot_regions=500, region_bytes=1 << 20)
    with StorageSystem.open(tmp_path / "s", options=other) as system:
        pending = set(system.pair("100b.1").pending())
        assert pending >= written
        assert _regions(pending) == set(range(20))
        log = system.volume("105b").activity()
        assert log is not None
        assert (log.hot_most, log.region_bytes) == (500, 1 << 20)


def test_a_volume_tells_what_its_log_does(tmp_path: Path) -> None:
    broken = Broken()
    with _open(tmp_path, log_storage=broken.wrap) as system:
        volume = system.volume("105b")
        assert volume.activity() is None
        _split(system)
        _write(system, 0, 1, 1, 2)
        told = volume.activity()
        assert told is not None
        assert (told.state, told.error, told.region_bytes) == ("working", "", REGION_BYTES)
        assert (told.hot_count, told.hot_most, told.hot_bytes) == (3, HOT, 3 * REGION_BYTES)
        assert told.admission_count == 3
        assert told.transaction_count == 4  # and one when it began
        assert 0 < told.ring_used_bytes < told.ring_bytes
        system._watch.close()
        broken.fail(errno.EIO)
        _write(system, 5)
        told = volume.activity()
        assert told is not None
        assert (told.state, told.error) == ("bypassed", "Input/output error")
        broken.fail(0)


def test_a_log_that_fails_leaves_the_open_mark_and_begins_again_when_it_can(
    tmp_path: Path,
) -> None:
    broken = Broken()
    system = _open(tmp_path, log_storage=broken.wrap)
    _split(system)
    mirror = system.state.mirror(system.pair("100b.1").pair_id)
    system._watch.close()
    broken.fail(errno.EIO)
    _write(system, 5)
    assert mirror.file.marked_open
    _write(system, 6)
    broken.fail(0)
    system._watch.look()
    system._watch.look()
    assert mirror.file.marked_logged
    system.close()


def test_a_log_that_goes_on_failing_is_tried_less_and_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    system = _open(tmp_path, log_storage=broken.wrap)
    _split(system)
    system._watch.close()
    now_s = [0.0]
    activity = system._activity
    activity.backoff.clock = lambda: now_s[0]
    broken.fail(errno.EIO)
    _write(system, 5)

    tried = []
    for second in range(40):
        now_s[0] = float(second)
        caplog.clear()
        system._watch.look()
        if any("alog.again" in one.getMessage() for one in caplog.records):
            tried.append(second)
    assert tried == [0, 1, 3, 7, 15, 31]
    broken.fail(0)
    now_s[0] = 100.0
    system._watch.look()
    system._watch.look()
    assert system.state.mirror(system.pair("100b.1").pair_id).file.marked_logged
    assert activity.backoff.may(system.volume("105b").volume_id)
    system.close()


def test_a_volume_that_is_deleted_takes_its_log_along(tmp_path: Path) -> None:
    with _open(tmp_path) as system:
        _split(system)
        path = system.state.logs.path_of(
            system.state.live[system.volume("106b").volume_id].record.key
        )
        assert path.exists()
        system.pair("100b.1").dissolve()
        system.delete_volume("106b")
        assert not path.exists()


def test_a_copy_begins_with_a_flush_of_its_source(tmp_path: Path) -> None:
    """What was written before the pair is in no hot region, and the mirror becomes durable."""
    made: dict[str, VolatileIo] = {}

    def storage(volume_id: VolumeId, io: Io) -> Io:
        made[volume_id] = VolatileIo(io)
        return made[volume_id]

    system = _open(tmp_path, storage=storage)
    _write(system, 1)
    system.create_local_pair("105b", "106b").wait(timeout_s=LONG_S)
    assert not made["105b"].unflushed_count
    system.close()
