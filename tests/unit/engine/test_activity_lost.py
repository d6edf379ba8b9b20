"""Activity logs that can't be made, rows that can't be saved: what is told, and tried again."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from pyrep._core import LinkCore
from pyrep.engine import StorageSystem
from pyrep.engine.alogstore import LogStore
from pyrep.engine.mirror import Mirror
from pyrep.errors import BitmapFileError, DeviceError, NoSpaceError
from pyrep.model import PairId
from rig import LONG_S
from unit.engine.logged import log_file, make_system

MIB = 1 << 20
CHUNK = 8192


def _full(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let no log be made until what is returned is called."""

    def make(*_: object) -> None:
        raise NoSpaceError("cannot make activity log: No space left on device")

    monkeypatch.setattr(LogStore, "make", make)
    return monkeypatch.undo


def _paired(system: StorageSystem) -> PairId:
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    return pair.pair_id


def _costs_a_region_in_a_crash(system: StorageSystem, pair_id: PairId) -> None:
    """Write once, crash, and look what is pending: with a log, what was hot."""
    system.volume("105b").pwrite(b"x", 40 * MIB)
    system.abort()
    with StorageSystem.open(system.directory) as again:
        assert len(again.pair(pair_id).pending()) == 4 * MIB // CHUNK


def test_a_log_that_could_not_be_made_is_told_and_made_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(tmp_path)
    system._watch.close()
    heal = _full(monkeypatch)
    pair_id = _paired(system)
    told = system.volume("105b").activity()
    assert told is not None
    assert (told.state, told.hot_most) == ("missing", system.state.options.hot_regions)
    assert "No space left" in told.error
    now_s = [0.0]
    system._activity.backoff.clock = lambda: now_s[0]
    for second in range(3):
        now_s[0] = float(second)
        system._watch.look()
    heal()
    system._watch.look()  # it rests
    assert not log_file(system).exists()
    now_s[0] = 100.0
    system._watch.look()
    told = system.volume("105b").activity()
    assert told is not None
    assert told.state == "working"
    assert system.state.mirror(pair_id).file.marked_logged
    _costs_a_region_in_a_crash(system, pair_id)


def test_a_log_that_is_made_for_another_pair_keeps_the_rows_that_had_none_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(tmp_path)
    system._watch.close()
    heal = _full(monkeypatch)
    pair_id = _paired(system)
    heal()
    other = system.create_local_pair("105b", "107b")
    other.wait(timeout_s=LONG_S)
    other.split()
    system._watch.look()
    assert system.state.mirror(pair_id).file.marked_logged
    _costs_a_region_in_a_crash(system, pair_id)


def test_a_log_that_cannot_be_made_at_open_is_made_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(tmp_path)
    pair_id = _paired(system)
    log = log_file(system)
    system.close()
    log.unlink()
    heal = _full(monkeypatch)
    system = StorageSystem.open(tmp_path / "s")
    system._watch.close()
    assert system.state.mirror(pair_id).file.marked_open
    heal()
    system._activity.backoff.forget(system.volume("105b").volume_id)
    system._watch.look()
    assert system.state.mirror(pair_id).file.marked_logged
    system.close()


def test_where_no_directory_of_logs_can_be_a_pair_goes_on_without_one(tmp_path: Path) -> None:
    system = make_system(tmp_path)
    (tmp_path / "s" / "alog").write_bytes(b"not a directory")
    pair_id = _paired(system)
    told = system.volume("105b").activity()
    assert told is not None
    assert told.state == "missing"
    (tmp_path / "s" / "alog").unlink()
    system.volume("105b").pwrite(b"x", 0)
    assert len(system.pair(pair_id).pending()) == 1
    system.close()


def test_a_creation_whose_row_the_log_does_not_take_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(tmp_path)

    def keep(*_: object) -> None:
        raise DeviceError("cannot keep a row", errno_code=errno.ENOMEM)

    with monkeypatch.context() as patched:
        patched.setattr(LinkCore, "keep", keep)
        with pytest.raises(DeviceError, match="keep"):
            system.create_local_pair("105b", "106b")
    assert not system.pairs()
    assert not list((tmp_path / "s" / "bitmaps").iterdir())
    system.create_local_pair("105b", "106b").wait(timeout_s=LONG_S)
    system.close()


def test_a_row_that_cannot_be_saved_rests_and_the_others_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(tmp_path)
    first = _paired(system)
    second = system.create_local_pair("105b", "107b")
    second.wait(timeout_s=LONG_S)
    system._watch.close()
    now_s = [0.0]
    system._activity.backoff.clock = lambda: now_s[0]
    bad = system.state.mirror(first)
    good = system.state.mirror(second.pair_id)
    assert list(system.state.mirrors.values()).index(bad) < list(
        system.state.mirrors.values()
    ).index(good)
    tried = []
    save = Mirror.save

    def saving(self: Mirror) -> None:
        if self is bad:
            tried.append(now_s[0])
            raise BitmapFileError("cannot use the bitmap file")
        save(self)

    monkeypatch.setattr(Mirror, "save", saving)
    bad.file.mark_open()
    good.file.mark_open()
    for second_s in range(8):
        now_s[0] = float(second_s)
        system._watch.look()
    assert good.file.marked_logged
    assert tried == [0.0, 1.0, 3.0, 7.0]
    monkeypatch.undo()
    now_s[0] = 100.0
    system._watch.look()
    assert bad.file.marked_logged
    system.close()
