from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pyrep._core import BitmapFile, LinkCore
from pyrep.engine import BadBitmap, ChangedBacking, Options, StorageSystem
from pyrep.engine.store import BitmapStore
from pyrep.errors import (
    BackingChangedError,
    BitmapFileError,
    FormatError,
    InUseError,
    NotFoundError,
    PyrepError,
)
from pyrep.meta import CopyTable, Database, EpochTable, SystemTable, VolumeTable
from pyrep.model import GenerationState, PairStatus, SplitCause
from rig import CHUNK, LONG_S, SIZE, Rig, Site, content, equal, fill, row_of, stop_at


def _tree(root: Path) -> dict[str, bytes]:
    """Return all files with their bytes; SQLite's log may be folded in by a look."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "pyrep.db" not in path.name
    }


def _refused(site: Site, kind: type[PyrepError], names: str) -> None:
    before = _tree(site.root / "100b")
    with pytest.raises(kind) as caught:
        site.open("100b")
    assert type(caught.value) is kind
    assert names in str(caught.value)
    assert caught.value.hint
    assert _tree(site.root / "100b") == before


def _bitmaps(site: Site) -> list[Path]:
    return sorted((site.root / "100b" / "bitmaps").iterdir())


def _bitmap_of(site: Site, pair_id: str, volume_id: str) -> Path:
    """Return a row's file; the system is opened and closed for that."""
    system = site.open("100b")
    key = next(
        row.row_key
        for row in system.table()
        if (row.pair_id, row.volume_id) == (pair_id, volume_id)
    )
    system.close()
    return site.root / "100b" / "bitmaps" / f"{key.hex()}.bitmap"


def _open_all_pending(site: Site) -> StorageSystem:
    site.options["100b"] = Options(bad_bitmap=BadBitmap.ALL_PENDING)
    return site.open("100b")


def _truncate(path: Path) -> None:
    os.truncate(path, 4096)


def _flip_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def _flip_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096 + 7] ^= 1
    path.write_bytes(data)


def _remove(path: Path) -> None:
    path.unlink()


def _other_kind(path: Path) -> None:
    path.write_bytes(b"not a bitmap" * 1000)


@pytest.mark.parametrize("harm", [_truncate, _flip_header, _remove, _other_kind])
def test_a_bitmap_file_that_cannot_be_used_is_refused_or_counts_as_all_pending(
    closed: Site, harm: object
) -> None:
    path = _bitmap_of(closed, "100b.1", "105b")
    assert callable(harm)
    harm(path)
    _refused(closed, BitmapFileError, path.name)
    system = _open_all_pending(closed)
    pair = system.pair("100b.1")
    assert len(pair.pending()) == SIZE // CHUNK
    assert pair.status().cause is SplitCause.REQUESTED
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(system.volume("105b"), system.volume("106b"))


def test_a_torn_page_of_pending_bits_is_refused(closed: Site) -> None:
    for path in _bitmaps(closed):
        if path.stat().st_blocks * 512 > 4096:  # a page with bits, not a hole
            _flip_page(path)
    _refused(closed, BitmapFileError, "corrupt")
    system = _open_all_pending(closed)
    assert len(system.pair("100b.1").pending()) == SIZE // CHUNK


def test_the_bitmap_files_of_two_rows_are_not_taken_for_each_other(closed: Site) -> None:
    one = _bitmap_of(closed, "100b.1", "105b")
    other = _bitmap_of(closed, "100b.1", "106b")
    data = other.read_bytes()
    other.write_bytes(one.read_bytes())
    one.write_bytes(data)
    _refused(closed, BitmapFileError, "another system, volume or pair")


def test_a_bitmap_file_of_an_older_close_is_not_taken_for_the_newer_one(closed: Site) -> None:
    path = _bitmap_of(closed, "100b.1", "105b")
    older = path.read_bytes()
    system = closed.open("100b")
    fill(system.volume("105b"), 7)
    system.close()
    path.write_bytes(older)
    _refused(closed, BitmapFileError, "another generation")


def test_a_bitmap_file_of_another_system_is_refused(closed: Site, tmp_path: Path) -> None:
    other = Site(tmp_path / "other")
    system = other.make("100b", "105b", "106b", "107b")
    system.create_local_pair("105b", "106b").wait(timeout_s=LONG_S)
    system.close()
    path = _bitmap_of(closed, "100b.1", "105b")
    shutil.copy(_bitmap_of(other, "100b.1", "105b"), path)
    _refused(closed, BitmapFileError, "another system, volume or pair")


def test_marks_that_siblings_share_are_refused_when_their_file_is_gone(closed: Site) -> None:
    system = closed.open("100b")
    rows = {f"{row.row_key.hex()}.bitmap" for row in system.table()}
    system.close()
    marks = [path for path in _bitmaps(closed) if path.name not in rows]
    assert marks
    for path in marks:
        path.unlink()
    _refused(closed, BitmapFileError, "marks of volume 105b")
    system = _open_all_pending(closed)
    assert len(system.pair("100b.1").pending()) == SIZE // CHUNK


def test_a_missing_backing_file_is_named(closed: Site) -> None:
    (closed.root / "100b" / "volumes" / "106b.img").rename(closed.root / "elsewhere")
    _refused(closed, BackingChangedError, "106b")
    (closed.root / "elsewhere").rename(closed.root / "100b" / "volumes" / "106b.img")
    # Being moved has changed its times: the caller knows that it is the same.
    closed.options["100b"] = Options(changed_backing=ChangedBacking.ASSUME_UNCHANGED)
    assert list(closed.open("100b").pair("100b.1").pending()) == [3]


def test_a_replaced_backing_file_is_refused_unless_the_caller_decides(closed: Site) -> None:
    path = closed.root / "100b" / "volumes" / "106b.img"
    shutil.copy(path, closed.root / "copy")
    path.unlink()
    (closed.root / "copy").rename(path)
    _refused(closed, BackingChangedError, "106b")
    closed.options["100b"] = Options(changed_backing=ChangedBacking.ASSUME_UNCHANGED)
    system = closed.open("100b")
    assert list(system.pair("100b.1").pending()) == [3]
    system.close()
    closed.options.clear()
    assert list(closed.open("100b").pair("100b.1").pending()) == [3]


def test_a_backing_file_of_another_size_is_never_taken(closed: Site) -> None:
    os.truncate(closed.root / "100b" / "volumes" / "106b.img", SIZE - 1)
    for choice in ChangedBacking:
        closed.options["100b"] = Options(changed_backing=choice)
        _refused(closed, BackingChangedError, "106b")


def test_a_changed_backing_file_makes_its_pairs_pending_and_fails_its_generation(
    closed: Site,
) -> None:
    with (closed.root / "100b" / "volumes" / "106b.img").open("r+b") as file:
        file.write(b"somebody else was here")
    _refused(closed, BackingChangedError, "changed since")
    closed.options["100b"] = Options(changed_backing=ChangedBacking.ALL_PENDING)
    system = closed.open("100b")
    assert len(system.pair("100b.1").pending()) == SIZE // CHUNK
    assert [one.state for one in system.list_generations()] == [GenerationState.FAILED]
    assert system.pair("100b.2").wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    job = system.pair("100b.1").resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(system.volume("105b"), system.volume("106b"))


def test_one_process_opens_a_system_once(closed: Site) -> None:
    closed.open("100b")
    with pytest.raises(InUseError, match="100b") as caught:
        StorageSystem.open(closed.root / "100b")
    assert caught.value.hint


def test_a_second_process_is_refused(closed: Site) -> None:
    closed.open("100b")
    script = (
        "import sys\n"
        "from pyrep.engine import StorageSystem\n"
        "from pyrep.errors import InUseError\n"
        "try:\n"
        "    StorageSystem.open(sys.argv[1])\n"
        "except InUseError as error:\n"
        "    print(error, '|', error.hint)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(closed.root / "100b")],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "100b" in done.stdout
    assert "one process" in done.stdout


def test_what_is_no_system_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no storage system") as caught:
        StorageSystem.open(tmp_path)
    assert caught.value.hint


def test_a_newer_format_is_refused(closed: Site) -> None:
    system = closed.open("100b")
    state = system.state
    record = type(state.record)(
        system_id=state.record.system_id,
        key=state.record.key,
        clean=True,
        created_at=state.record.created_at,
        format=99,
    )
    system.close()

    with Database.open(closed.root / "100b" / "pyrep.db") as db:
        SystemTable(db).set(record)
    _refused(closed, FormatError, "99")


@pytest.mark.parametrize("stop", range(1, 14))
def test_a_stop_anywhere_in_a_close_loses_no_bit(
    closed: Site, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    system = closed.open("100b")
    fill(system.volume("105b"), 5)
    expected = set(system.pair("100b.1").pending())
    stop_at(
        monkeypatch,
        stop,
        (BitmapFile, "save"),
        (BitmapFile, "mark_closed"),
        (CopyTable, "replace"),
        (EpochTable, "replace_all"),
        (VolumeTable, "replace"),
        (SystemTable, "set"),
    )
    with pytest.raises(InterruptedError):
        system.close()
    monkeypatch.undo()
    system = closed.open("100b")
    assert set(system.pair("100b.1").pending()) >= expected
    assert system.pair("100b.2").wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("107b"))


@pytest.mark.parametrize("stop", range(1, 11))
def test_a_stop_anywhere_in_an_open_loses_no_bit_and_the_next_open_succeeds(
    closed: Site, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    stop_at(
        monkeypatch,
        stop,
        (SystemTable, "set"),
        (BitmapFile, "mark_logged"),
        (LinkCore, "__init__"),
        (BitmapStore, "strays"),
    )
    with pytest.raises(InterruptedError):
        StorageSystem.open(closed.root / "100b")
    monkeypatch.undo()
    system = closed.open("100b")
    assert 3 in system.pair("100b.1").pending()
    assert system.pair("100b.2").wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("107b"))


def test_stray_bitmap_files_go_at_open(closed: Site) -> None:
    stray = closed.root / "100b" / "bitmaps" / f"{'0' * 32}.bitmap"
    stray.write_bytes(b"left by a crash")
    closed.open("100b").close()
    assert not stray.exists()


def test_a_clean_close_of_a_remote_pair_keeps_exactly_what_is_pending(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    rig.pvol.pwrite(b"x", 4 * CHUNK)
    rig.spvol.pwrite(b"y", 6 * CHUNK)
    rig.reopen("100a")
    rig.reopen("100b")
    assert list(rig.a.pair(pair.pair_id).pending()) == [4]
    assert list(rig.b.pair(pair.pair_id).pending()) == [6]
    assert row_of(rig.a, pair).cause is SplitCause.REQUESTED
    assert content(rig.pvol)[4 * CHUNK : 4 * CHUNK + 1] == b"x"


def test_a_header_that_a_power_loss_tore_is_no_reason_to_refuse(closed: Site) -> None:
    """The power went while a mark was written: of the header's sectors some are new.

    It is the new header: only the first sector ever changes.
    """
    path = _bitmap_of(closed, "100b.1", "105b")
    whole = path.read_bytes()
    closed.open("100b").abort()
    path.write_bytes(path.read_bytes()[:512] + whole[512:])
    system = closed.open("100b")
    assert 3 in system.pair("100b.1").pending()
