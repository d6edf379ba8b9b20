"""Tables of which the disk can't read some bytes: told, and what can be read of them is kept."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from pyrep.engine import Severity, check_system, repair_system
from pyrep.engine.checkup.finding import Remedy
from pyrep.model import PairStatus, SplitCause
from pyrep.testing import wait_quiet
from rig import CHUNK, SIZE, Site
from unit.engine.test_checkup import _path
from unit.engine.test_repair_stopped import _move_all_but_volumes

PAGE = 4096


def _break(monkeypatch: pytest.MonkeyPatch, path: Path, offset: int) -> None:
    """Let a page of a file be a bad sector, as long as it is that file."""
    real, bad = os.pread, path.stat().st_ino

    def pread(handle: int, length: int, at: int) -> bytes:
        if os.fstat(handle).st_ino == bad and at < offset + PAGE and at + length > offset:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(handle, length, at)

    monkeypatch.setattr(os, "pread", pread)


def _told(path: Path) -> None:
    wrong = [one for one in check_system(path).wrong if one.thing == "tables"]
    assert wrong[0].severity is Severity.FAILED
    assert wrong[0].remedy is Remedy.REBUILD_TABLES
    assert f"{PAGE} bytes of {path / 'pyrep.db'}, or of its log, can't be read" in wrong[0].what


def test_whatever_page_of_the_tables_is_bad_the_rest_is_kept_and_what_is_lost_is_named(
    closed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _path(closed)
    before = closed.root / "before"
    _move_all_but_volumes(path, before)
    pages = (before / "pyrep.db").stat().st_size // PAGE
    whole = 0
    for page in range(pages):
        shutil.copytree(before, path, dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            _break(patch, path / "pyrep.db", page * PAGE)
            _told(path)
            report = repair_system(path, system_id="100b")
        assert report.after.severity is not Severity.FAILED, (page, report.after.wrong)
        said = "\n".join(report.done)
        with closed.open("100b") as system:
            assert {one.volume_id for one in system.volumes()} == {"105b", "106b", "107b"}, page
            wait_quiet(system)
            for pair in system.pairs():
                state = pair.status()
                assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.REQUESTED)
                assert len(pair.pending()) == SIZE // CHUNK
            held = [one for one in system.list_generations() if one.is_complete]
            if len(system.pairs()) < 2 and page:
                assert "perhaps lost: some rows of pairs" in said, page
            if not held and page:
                assert "perhaps lost: some " in said, page
            whole += len(system.pairs()) == 2 and len(held) == 1
        closed.systems.clear()
        _move_all_but_volumes(path, closed.root / f"after-{page}")
    assert whole > pages / 2


def test_a_log_of_the_tables_that_has_a_bad_sector_makes_them_older_and_no_pair_is_trusted(
    closed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = closed.open("100b")
    system.pair("100b.2").split()
    log = _path(closed) / "pyrep.db-wal"
    crashed = closed.root / "crashed"
    shutil.copytree(_path(closed), crashed, ignore=shutil.ignore_patterns("volumes"))
    system.close()
    for one in crashed.iterdir():
        target = _path(closed) / one.name
        shutil.copytree(one, target, dirs_exist_ok=True) if one.is_dir() else shutil.copy(
            one, target
        )
    with monkeypatch.context() as patch:
        _break(patch, log, log.stat().st_size // 2 // PAGE * PAGE)
        _told(_path(closed))
        repair_system(_path(closed))
    with closed.open("100b") as again:
        wait_quiet(again)
        for pair in again.pairs():
            assert pair.status().status is PairStatus.SPLIT
            assert len(pair.pending()) == SIZE // CHUNK
