"""A repair that is stopped, anywhere: nothing opens the system, and the next repair ends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pyrep.engine import Severity, StorageSystem, check_system, repair_system
from pyrep.errors import FormatError, InvalidArgumentError, RefusedError
from pyrep.meta import Database
from pyrep.model import PairStatus, SplitCause
from pyrep.testing import wait_quiet
from rig import CHUNK, LONG_S, SIZE, Site
from unit.engine.test_checkup import _bitmap, _path, _sql, _tear

Run = Callable[..., Any]


class Stopped(BaseException):
    """The process ended here."""


@contextmanager
def _stopping(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[None]:
    """Stop before the durable effect of this number: a commit, a sync, a rename, a removal."""
    left = at

    def counted(call: Run, counts: Callable[..., bool]) -> Run:
        def run(*args: Any, **options: Any) -> Any:
            nonlocal left
            if counts(*args):
                left -= 1
                if left < 0:
                    raise Stopped
            return call(*args, **options)

        return run

    with monkeypatch.context() as patch:
        always = lambda *_: True  # noqa: E731
        for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "unlink")):
            patch.setattr(owner, name, counted(getattr(owner, name), always))
        commits = counted(Database._run, lambda _, sql, *__: sql == "COMMIT")
        patch.setattr(Database, "_run", commits)
        yield


def _not_pyreps(site: Site) -> None:
    _sql(site, "PRAGMA application_id = 7")


def _contradicting_rows(site: Site) -> None:
    _sql(site, "UPDATE copy_row SET direction = 'reverse' WHERE volume_id IN ('106b', '107b')")


def _torn_bitmaps(site: Site) -> None:
    for pair_id in ("100b.1", "100b.2"):
        _tear(_bitmap(site, pair_id, "105b"))


def _changed_volume(site: Site) -> None:
    with (_path(site) / "volumes" / "105b.img").open("r+b") as file:
        file.write(b"somebody")


def _missing_marks(site: Site) -> None:
    with Database.open(_path(site) / "pyrep.db") as db:
        key = db.read("SELECT row_key FROM epoch")[0][0]
    (_path(site) / "bitmaps" / f"{key.hex()}.bitmap").unlink()


def _move_all_but_volumes(path: Path, aside: Path) -> None:
    """Volumes are known by their inodes, too: they stay. The system's other files move away."""
    aside.mkdir()
    for one in path.iterdir():
        if one.name != "volumes":
            one.rename(aside / one.name)


def _waiting(system: StorageSystem) -> list[tuple[PairStatus, SplitCause | None, int]]:
    wait_quiet(system)
    system._watch.look()
    wait_quiet(system)
    states = [(one.status(), len(one.pending())) for one in system.pairs()]
    return [(state.status, state.cause, pending) for state, pending in states]


@pytest.mark.parametrize(
    ("harm", "pairs"),
    [
        (_not_pyreps, 2),
        (_contradicting_rows, 2),
        (_torn_bitmaps, 2),
        (_changed_volume, 2),
        (_missing_marks, 1),
    ],
)
def test_a_repair_stopped_before_any_of_its_effects_is_ended_by_the_next_one(
    closed: Site, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Site], None], pairs: int
) -> None:
    harm(closed)
    path = _path(closed)
    before = closed.root / "before"
    _move_all_but_volumes(path, before)
    waits = (PairStatus.SPLIT, SplitCause.REQUESTED, SIZE // CHUNK)
    begun = 0
    for at in range(200):
        shutil.copytree(before, path, dirs_exist_ok=True)
        try:
            with _stopping(monkeypatch, at):
                repair_system(path)
        except Stopped:
            pass
        else:
            break
        wrong = {one.thing for one in check_system(path).wrong}
        if "repair" in wrong:
            begun += 1
            with pytest.raises(RefusedError, match="a repair of it was stopped"):
                closed.open("100b")
        if wrong:
            assert repair_system(path).after.severity is Severity.OK
        with closed.open("100b") as system:
            assert _waiting(system).count(waits) == pairs, at
        closed.systems.clear()
        _move_all_but_volumes(path, closed.root / f"after-{at}")
    assert begun > 3


def test_tables_are_made_anew_from_the_kept_ones_with_their_last_commits(
    closed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = closed.open("100b")
    system.create_volume("108b", SIZE)
    system.create_local_pair("105b", "108b").wait(timeout_s=LONG_S)
    path = _path(closed)
    copy = closed.root / "copy"
    shutil.copytree(path, copy)  # as a power loss leaves it: the last commits are in the log
    system.close()
    shutil.rmtree(path)
    copy.rename(path)
    assert (path / "pyrep.db-wal").stat().st_size > 0
    ids = _ids_in(path / "pyrep.db", closed.root / "main-alone")
    assert "100b.3" not in ids
    monkeypatch.setattr("pyrep.engine.checkup.check.read_stored", _damaged)
    with _stopping_rename(monkeypatch), pytest.raises(Stopped):
        repair_system(path)
    monkeypatch.undo()
    assert not (path / "pyrep.db-wal").exists()
    assert repair_system(path).after.severity is Severity.OK
    with closed.open("100b") as again:
        assert {one.pair_id for one in again.pairs()} == {"100b.1", "100b.2", "100b.3"}
        assert len(set(_waiting(again))) == 1


def test_a_mark_that_cant_be_read_is_named_and_nothing_is_changed(closed: Site) -> None:
    path = _path(closed)
    (path / "repairing.json").write_text('{"kept": 1')
    (wrong,) = check_system(path).wrong
    assert "repairing.json is damaged" in wrong.what
    assert "before-repair" in wrong.hint
    with pytest.raises(FormatError, match="damaged"):
        repair_system(path)
    with pytest.raises(RefusedError):
        closed.open("100b")


def test_a_stopped_repair_without_the_tables_it_kept_is_refused(
    closed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _not_pyreps(closed)
    path = _path(closed)
    with _stopping_rename(monkeypatch), pytest.raises(Stopped):
        repair_system(path)
    shutil.rmtree(path / "before-repair-1")
    with pytest.raises(FormatError, match="before-repair-1 is missing"):
        repair_system(path)


def test_a_stopped_repair_that_is_told_another_id_is_still_to_be_ended(
    closed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    _not_pyreps(closed)
    path = _path(closed)
    with monkeypatch.context() as patch:
        patch.setattr("pyrep.engine.checkup.repair._Repair.split_all", _stop)
        with pytest.raises(Stopped):
            repair_system(path)  # the new tables are in place, and no pair is split yet
    with pytest.raises(InvalidArgumentError, match="is 100b"):
        repair_system(path, system_id="100x")
    with pytest.raises(RefusedError, match="a repair of it was stopped"):
        closed.open("100b")
    assert repair_system(path).after.severity is Severity.OK
    with closed.open("100b") as system:
        assert set(_waiting(system)) == {(PairStatus.SPLIT, SplitCause.REQUESTED, SIZE // CHUNK)}


def _stop(_: object) -> None:
    raise Stopped


def _damaged(_: Database) -> None:
    raise FormatError("damaged")


@contextmanager
def _stopping_rename(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop before new tables take the place of the old ones."""
    rename = Path.rename

    def stop(path: Path, target: Path) -> Path:
        if path.name == "pyrep.db.new":
            raise Stopped
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", stop)
        yield


def _ids_in(path: Path, copy: Path) -> set[str]:
    """Return the pairs that a database has without its log."""
    shutil.copyfile(path, copy)
    with Database.open(copy) as db:
        return {row[0] for row in db.read("SELECT pair_id FROM copy_row")}
