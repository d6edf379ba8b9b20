"""What rows, intervals and generations have on the disk when their system ends unasked."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from pyrep._core import Bitmap, BitmapFile, LinkCore
from pyrep.engine import Options, StorageSystem, connect
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.pairrepair import PairRepairs
from pyrep.errors import DeviceError
from pyrep.model import Direction, GenerationState, PairStatus, VolumeId
from pyrep.testing import check_durable_first, wait_quiet, wait_until
from rig import LONG_S

MIB = 1 << 20
CHUNKS = MIB // 8192
OPTIONS = Options(region_bytes=MIB, hot_regions=16)


@pytest.fixture
def system(tmp_path: Path) -> StorageSystem:
    made = StorageSystem.create(tmp_path / "s", "100b", options=OPTIONS)
    for name in ("105b", "106b", "107b"):
        made.create_volume(name, 64 * MIB)
    made.volume("105b").pwrite(b"a" * (64 * MIB), 0)
    return made


def test_what_a_copy_back_has_copied_isnt_pending_again_after_a_crash(
    system: StorageSystem, tmp_path: Path
) -> None:
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    for n in range(60):
        system.volume("105b").pwrite(b"x" * MIB, n * MIB)
    assert len(pair.pending()) == 60 * CHUNKS
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    for n in range(16):
        system.volume("105b").pwrite(b"y", n * MIB)
    system.abort()
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        assert len(again.pair(pair.pair_id).pending()) <= 2 * 16 * CHUNKS


@pytest.mark.parametrize("closed", range(6))
def test_a_close_that_ends_amid_its_rows_leaves_none_with_bits_in_memory_alone(
    system: StorageSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: int
) -> None:
    """What one row has pending, the marks that it shares with others are found to hold. INV-2."""
    pairs = [system.create_local_pair("105b", name) for name in ("106b", "107b")]
    for one in pairs:
        one.wait(timeout_s=LONG_S)
    system.split_pairs([one.pair_id for one in pairs])
    for name, pair in zip(("106b", "107b"), pairs, strict=True):
        system.state.volume(VolumeId(name)).io.pwrite(b"rotten", (40 + int(name[2])) * MIB)
        pair.repair(pair.verify())
    left = closed

    def mark_closed(file: BitmapFile, data_id: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise DeviceError("the process ends")
        done(file, data_id)

    done = BitmapFile.mark_closed
    with monkeypatch.context() as ends:
        ends.setattr(BitmapFile, "mark_closed", mark_closed)
        with contextlib.suppress(DeviceError):
            system.close()
    save = BitmapFile.save

    def save_marked(file: BitmapFile, bits: Bitmap) -> None:
        assert file.marked_logged or file.marked_open, "the next crash may tear a page"
        save(file, bits)

    with monkeypatch.context() as seen:
        seen.setattr(BitmapFile, "save", save_marked)
        again = StorageSystem.open(tmp_path / "s", options=OPTIONS)
    with again:
        wait_quiet(again)
        check_durable_first(again)


@pytest.mark.parametrize("when", ["_set_aside", "_make_pending"])
@pytest.mark.parametrize("who", ["activity", "settling", "log"])
def test_a_repair_that_ends_anywhere_costs_what_differs_and_what_is_hot(
    system: StorageSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str, when: str
) -> None:
    """Whoever writes pages meanwhile, they have what is about to be pending. INV-2."""
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    for n in range(20):  # what rots is in no hot region
        system.volume("105b").pwrite(b"h", (40 + n) * MIB)
    system.volume("105b").flush()
    system._watch.settling.look()
    with (tmp_path / "s/volumes/106b.img").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"ROT")
    found = pair.verify()
    assert not found.is_equal
    mirror = system.state.mirror(pair.pair_id)

    def stop(*_told: object) -> None:
        if who == "activity":
            system._activity.tend()
        elif who == "settling":
            system._watch.settling.look()
        else:
            for n in range(30):
                system.volume("105b").pwrite(b"h", n * MIB + MIB // 2)
            log = system.state.volume(mirror.row.volume_id).log
            assert log is not None
            assert log.checkpoint()
        raise InterruptedError

    monkeypatch.setattr(PairRepairs, when, stop)
    with pytest.raises(InterruptedError):
        pair.repair(found)
    system.abort()
    with monkeypatch.context() as paused:
        paused.setattr(CopyJob, "start", lambda _: None)
        with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
            pending = again.pair(pair.pair_id).pending()
            assert 5 * CHUNKS in pending
            assert len(pending) <= 16 * CHUNKS + 51
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        pair = again.pair(pair.pair_id)
        pair.wait(timeout_s=LONG_S)
        assert pair.status().status is PairStatus.DUPLEX
        assert pair.verify().is_equal


def test_a_repair_whose_bits_cannot_be_written_down_goes_on_with_everything_pending(
    system: StorageSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    system.state.volume(VolumeId("106b")).io.pwrite(b"rotten", 5 * MIB)
    found = pair.verify()

    def refuse(_link: LinkCore) -> None:
        raise DeviceError("no room")

    def stop(*_told: object) -> None:
        assert system.state.mirror(pair.pair_id).file.marked_open
        raise InterruptedError

    with monkeypatch.context() as full:
        full.setattr(LinkCore, "save", refuse)
        full.setattr(PairRepairs, "_make_pending", stop)
        with pytest.raises(InterruptedError):
            pair.repair(found)
        system.abort()
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        pair = again.pair(pair.pair_id)
        pair.wait(timeout_s=LONG_S)
        assert pair.verify().is_equal


def test_an_initial_copy_that_a_crash_interrupts_does_not_begin_anew(
    system: StorageSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CopyJob, "start", lambda _: None)
    pair = system.create_local_pair("105b", "106b")
    pvol, _ = system.state.sides(pair.pair_id)
    assert len(pair.pending()) == 64 * CHUNKS
    pvol.link.pending.clear(0, 60 * CHUNKS)  # as a copy does
    pvol.save()
    system.abort()
    again = StorageSystem.open(tmp_path / "s", options=OPTIONS)
    assert len(again.pair(pair.pair_id).pending()) == 4 * CHUNKS
    again.abort()


def test_a_secondary_that_ends_in_an_initial_copy_has_nothing_copied_anew(
    system: StorageSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CopyJob, "start", lambda _: None)
    with StorageSystem.create(tmp_path / "a", "100a", options=OPTIONS) as primary:
        primary.create_volume("105a", 64 * MIB)
        primary.volume("105a").pwrite(b"a" * MIB, 0)
        connect(primary, system)
        pair = primary.create_remote_pair("105a", "100b", "105b")
        assert len(pair.pending()) == 64 * CHUNKS
        system.abort()
        again = StorageSystem.open(tmp_path / "s", options=OPTIONS)
        assert len(again.pair(pair.pair_id).pending()) == 0
        again.abort()


def test_marks_of_intervals_that_nobody_asks_for_any_more_leave_no_file(
    system: StorageSystem, tmp_path: Path
) -> None:
    pairs = [system.create_local_pair("105b", name) for name in ("106b", "107b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    counts = []
    for n in range(12):
        pair = pairs[n % 2]
        pair.split()
        system.volume("105b").pwrite(b"x", n * MIB)
        wait_quiet(system)
        if n > 2:
            counts.append(len(list((tmp_path / "s/bitmaps").iterdir())))
        job = pairs[(n + 1) % 2].resync()
        if job is not None:
            job.wait(LONG_S)
    assert max(counts) == counts[0]
    assert len(system.state.live[system.volume("105b").volume_id].intervals) <= 2
    system.close()


def test_what_was_written_behind_the_last_split_before_a_crash_is_among_the_changes(
    system: StorageSystem, tmp_path: Path
) -> None:
    pairs = [system.create_local_pair("105b", name) for name in ("106b", "107b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    first = pairs[0].split()
    assert first is not None
    system.volume("105b").pwrite(b"X" * 8192, 3 * MIB)
    for n in range(20):  # 3 is in no hot region any more
        system.volume("105b").pwrite(b"y", (30 + n) * MIB)
    system.abort()
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        other = again.pair(pairs[1].pair_id)
        other.wait(timeout_s=LONG_S)
        second = other.split()
        assert second is not None
        changed = again.kept(second.generation_id).changes_since(first.generation_id)
        assert 3 * CHUNKS in changed


def test_a_generation_that_was_being_taken_has_failed(
    system: StorageSystem, tmp_path: Path
) -> None:
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    made = pair.split()
    assert made is not None
    system.state.catalogue.replace(replace(made, state=GenerationState.TAKING))
    system.abort()
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        (found,) = again.list_generations()
        assert found.state is GenerationState.FAILED


def test_files_of_rows_and_volumes_that_there_are_not_are_removed_at_open(
    system: StorageSystem, tmp_path: Path
) -> None:
    """As a crash amid a deletion leaves them."""
    system.create_local_pair("105b", "106b").wait(timeout_s=LONG_S)
    system.close()
    there = {path for name in ("alog", "bitmaps") for path in (tmp_path / "s" / name).iterdir()}
    (tmp_path / "s/alog" / f"{bytes(16).hex()}.log").write_bytes(b"left")
    (tmp_path / "s/bitmaps" / f"{bytes(16).hex()}.bitmap").write_bytes(b"left")
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        wait_until(
            lambda: (
                {path for name in ("alog", "bitmaps") for path in (tmp_path / "s" / name).iterdir()}
                == there
            )
        )
        assert again.pair("100b.1").status().status is PairStatus.DUPLEX
