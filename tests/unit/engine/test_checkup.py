"""Check and repair of a system's directory: what is damaged is found, named, and never hidden."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from pyrep.engine import CheckReport, Severity, StorageSystem, check_system, repair_system
from pyrep.engine.checkup.finding import Remedy
from pyrep.errors import (
    BackingChangedError,
    BitmapFileError,
    DeviceError,
    FormatError,
    InUseError,
    InvalidArgumentError,
    NotFoundError,
)
from pyrep.meta import Database
from pyrep.model import GenerationState, PairStatus, SplitCause
from pyrep.testing import wait_quiet
from rig import CHUNK, LONG_S, SIZE, Site, content, equal, fill

ALL = SIZE // CHUNK


def _path(site: Site) -> Path:
    return site.root / "100b"


def _check(site: Site) -> CheckReport:
    """Check, and see that it changed nothing."""
    files = {one: one.read_bytes() for one in _path(site).rglob("*") if one.is_file()}
    report = check_system(_path(site))
    assert {one: one.read_bytes() for one in _path(site).rglob("*") if one.is_file()} == files
    return report


def _found(site: Site, thing: str, what: str) -> CheckReport:
    """Expect a finding that a repair mends."""
    report = _check(site)
    mine = [one for one in report.wrong if thing in one.thing and what in one.what]
    assert mine, [str(one) for one in report.findings]
    assert mine[0].repair, mine
    return report


def _repaired(site: Site) -> StorageSystem:
    """Repair, see that nothing wrong is left, and open."""
    report = repair_system(_path(site))
    assert report.done
    assert report.kept is not None
    assert (report.kept / "pyrep.db").exists()
    assert report.after.severity is Severity.OK, [str(one) for one in report.after.wrong]
    return site.open("100b")


def _bitmap(site: Site, pair_id: str, volume_id: str) -> Path:
    with Database.open(_path(site) / "pyrep.db") as db:
        found = db.read(
            "SELECT row_key FROM copy_row WHERE pair_id = ? AND volume_id = ?", (pair_id, volume_id)
        )
    return _path(site) / "bitmaps" / f"{found[0][0].hex()}.bitmap"


def _sql(site: Site, *statements: str) -> None:
    with closing(sqlite3.connect(_path(site) / "pyrep.db", isolation_level=None)) as connection:
        for one in statements:
            connection.execute(one)


def _tear(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)


def _waits_for_a_command(system: StorageSystem, pair_id: str) -> None:
    """SPLIT, requested, everything pending; nothing copies by itself; a resync makes it equal."""
    pair = system.pair(pair_id)
    wait_quiet(system)
    system._watch.look()
    wait_quiet(system)
    state = pair.status()
    assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.REQUESTED)
    assert len(pair.pending()) == ALL
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(system.volume(pair.row.volume_id), system.volume(pair.row.mirror_volume_id))


def test_a_whole_system_is_ok_thing_by_thing_and_a_repair_does_nothing(closed: Site) -> None:
    report = _check(closed)
    assert report.severity is Severity.OK
    assert report.exit_code == 0
    assert report.system_id == "100b"
    things = [one.thing for one in report.findings]
    assert {"tables", "volume 105b", "volume 106b", "pair 100b.1 at volume 105b"} <= set(things)
    assert any(one.startswith("marks 1 of volume 105b") for one in things)
    repair = repair_system(_path(closed))
    assert (repair.done, repair.kept) == ((), None)


def test_a_system_after_a_crash_is_ok_and_says_that_opening_recovers_it(closed: Site) -> None:
    closed.open("100b").abort()
    report = _check(closed)
    assert report.severity is Severity.OK
    assert "opening recovers it" in str(report.findings)


def test_a_system_that_is_open_or_isnt_there_is_refused(closed: Site, tmp_path: Path) -> None:
    for one in (check_system, repair_system):
        with pytest.raises(NotFoundError, match="no storage system"):
            one(tmp_path / "elsewhere")
        system = closed.open("100b")
        with pytest.raises(InUseError):
            one(_path(closed))
        system.close()


@pytest.mark.parametrize("harm", [_tear, os.unlink, lambda path: os.truncate(path, 4096)])
@pytest.mark.parametrize("pair_id", ["100b.1", "100b.2"])
def test_a_bad_bitmap_splits_its_pair_with_everything_pending(
    closed: Site, harm: Callable[[Path], None], pair_id: str
) -> None:
    harm(_bitmap(closed, pair_id, "105b"))
    assert _found(closed, f"pair {pair_id}", "bitmap file").exit_code == 61
    with pytest.raises(BitmapFileError):
        closed.open("100b")
    system = _repaired(closed)
    _waits_for_a_command(system, pair_id)


def test_a_repaired_split_pair_keeps_its_generation_and_a_duplex_one_isnt_called_consistent(
    closed: Site,
) -> None:
    for pair_id in ("100b.1", "100b.2"):
        _tear(_bitmap(closed, pair_id, "105b"))
    system = _repaired(closed)
    (generation,) = system.list_generations()
    assert generation.is_complete
    assert system.pair("100b.1").status().target_consistent
    assert not system.pair("100b.2").status().target_consistent


def test_bad_marks_are_all_set(closed: Site) -> None:
    with Database.open(_path(closed) / "pyrep.db") as db:
        key = db.read("SELECT row_key FROM epoch")[0][0]
    (_path(closed) / "bitmaps" / f"{key.hex()}.bitmap").unlink()
    _found(closed, "marks 1 of volume 105b", "missing")
    _waits_for_a_command(_repaired(closed), "100b.1")


@pytest.mark.parametrize("volume_id", ["105b", "106b", "107b"])
def test_a_volume_that_was_changed_is_taken_as_it_is_and_nothing_relies_on_it(
    closed: Site, volume_id: str
) -> None:
    with (_path(closed) / "volumes" / f"{volume_id}.img").open("r+b") as file:
        file.write(b"somebody")
    _found(closed, f"volume {volume_id}", "changed since the last clean close")
    with pytest.raises(BackingChangedError):
        closed.open("100b")
    system = _repaired(closed)
    (generation,) = system.list_generations()
    assert generation.is_complete is (volume_id != "106b")
    pairs = {"105b": ["100b.1", "100b.2"], "106b": ["100b.1"], "107b": ["100b.2"]}
    for pair_id in pairs[volume_id]:
        _waits_for_a_command(system, pair_id)


def test_a_volume_that_is_gone_is_named_and_no_repair_hides_it(closed: Site) -> None:
    (_path(closed) / "volumes" / "107b.img").unlink()
    (wrong,) = _check(closed).wrong
    assert wrong.severity is Severity.FAILED
    assert "missing" in wrong.what
    assert "put the file back" in str(wrong)
    report = repair_system(_path(closed))
    assert report.done == ()
    assert report.after.severity is Severity.FAILED


def test_what_an_operator_has_put_beside_the_kept_tables_disturbs_no_repair(closed: Site) -> None:
    (_path(closed) / "before-repair-1.tgz").write_bytes(b"packed")
    _tear(_bitmap(closed, "100b.1", "105b"))
    _repaired(closed)
    assert (_path(closed) / "before-repair-1" / "pyrep.db").exists()


def test_a_check_without_room_for_temporary_files_says_so(
    closed: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(closed.root / "nowhere"))
    (wrong,) = check_system(_path(closed)).wrong
    assert wrong.severity is Severity.FAILED
    assert "to look at it" in wrong.what
    assert wrong.remedy is Remedy.NONE  # the tables may be well


def test_a_volume_that_is_lost_holds_nobody_up_once_there_is_an_empty_one_as_the_hint_says(
    closed: Site,
) -> None:
    (_path(closed) / "volumes" / "107b.img").unlink()
    (wrong,) = _check(closed).wrong
    with pytest.raises(BackingChangedError) as told:
        closed.open("100b")
    assert (told.value.hint or "") in str(wrong)
    command = re.search(r"\((truncate [^)]*)\)", told.value.hint or "")
    assert command
    subprocess.run(shlex.split(command[1]), check=True)
    system = _repaired(closed)
    _waits_for_a_command(system, "100b.2")
    assert system.list_generations()[0].is_complete  # of the other pair


@pytest.mark.parametrize(
    ("harm", "thing", "what"),
    [
        ("UPDATE copy_row SET direction = 'reverse' WHERE volume_id = '106b'", "100b.1", "rows"),
        ("DELETE FROM copy_row WHERE volume_id = '107b'", "pair 100b.2", "no row of the other"),
        ("INSERT INTO lease VALUES ('300x', 'nobody')", "lease of volume 300x", "no such volume"),
        ("INSERT INTO policy VALUES ('300x', NULL, NULL)", "policy", "no such volume"),
        ("UPDATE generation_member SET svol = '300x'", "generation", "no volume 300x"),
        ("UPDATE generation_member SET svol = '107b'", "generation", "is DUPLEX, not SPLIT"),
    ],
)  # fmt: skip
def test_records_that_contradict_each_other_are_found_and_mended(
    closed: Site, harm: str, thing: str, what: str
) -> None:
    _sql(closed, harm)
    _found(closed, thing, what)
    system = _repaired(closed)
    fill(system.volume("105b"), 9)
    wait_quiet(system)


def test_a_row_whose_marks_have_lost_their_record_is_found_and_its_pair_split(closed: Site) -> None:
    _sql(closed, "DELETE FROM epoch")
    _found(closed, "pair 100b.1 at volume 105b", "the record of its marks 1 is lost")
    with pytest.raises(DeviceError):
        closed.open("100b")
    _waits_for_a_command(_repaired(closed), "100b.1")


def test_what_a_workflow_that_ended_still_holds_is_freed(closed: Site) -> None:
    _sql(
        closed,
        "INSERT INTO workflow VALUES ('w1', 'backup', 'done', 470, '{}', '{}', 'null', "
        "'2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00')",
        "INSERT INTO lease VALUES ('105b', 'w1')",
        "INSERT INTO generation_pin SELECT generation_id, 'workflow-w1' FROM generation",
    )
    report = _found(closed, "lease of volume 105b", "workflow w1 has it and is done")
    assert report.exit_code == 60
    _found(closed, "generation", "in use by workflow-w1")
    system = _repaired(closed)
    assert system.list_generations()[0].pins == ()
    system.pair("100b.1").dissolve()


def test_digests_that_are_damaged_are_forgotten_and_the_generation_stays(closed: Site) -> None:
    system = closed.open("100b")
    (generation,) = system.list_generations()
    system.kept(generation.generation_id).digest()
    system.close()
    (file,) = (_path(closed) / "digests").glob("*.digests")
    _tear(file)
    report = _found(closed, "digests of generation", "its own digest doesn't match")
    assert report.severity is Severity.WARNING
    system = _repaired(closed)
    assert system.generation(generation.generation_id).is_complete
    system.kept(generation.generation_id).digest()


def test_a_newer_format_is_refused_unchanged_and_never_repaired(closed: Site) -> None:
    for harm in ("UPDATE system SET format = 99", "PRAGMA user_version = 99"):
        _sql(closed, harm)
        (wrong,) = _check(closed).wrong
        assert "99" in wrong.what
        assert str(_path(closed)) in wrong.what
        assert not wrong.repair
        assert repair_system(_path(closed)).done == ()
        with pytest.raises(FormatError, match="99"):
            closed.open("100b")


def _damage_pages(path: Path) -> None:
    """Destroy the row pages of the copy management table."""
    with closing(sqlite3.connect(path)) as connection:
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'generation'"
        ).fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * page_bytes)
        file.write(os.urandom(page_bytes))


def test_tables_with_a_damaged_page_are_made_anew_and_no_pair_is_trusted(closed: Site) -> None:
    before = {one: (_path(closed) / "volumes" / f"{one}.img").read_bytes() for one in ("105b",)}
    _damage_pages(_path(closed) / "pyrep.db")
    _found(closed, "tables", "")
    with pytest.raises(FormatError):
        closed.open("100b")
    system = _repaired(closed)
    assert content(system.volume("105b")) == before["105b"]
    assert system.list_generations() == ()
    for pair_id in ("100b.1", "100b.2"):
        _waits_for_a_command(system, pair_id)


def _remove_all(path: Path) -> None:
    for one in path.parent.glob("pyrep.db*"):
        one.unlink()


def _overwrite(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


@pytest.mark.parametrize("harm", [_remove_all, _overwrite, lambda path: os.truncate(path, 0)])
def test_lost_tables_are_derived_from_the_files_as_far_as_these_say(
    closed: Site, harm: Callable[[Path], None]
) -> None:
    system = closed.open("100b")
    key = system.state.record.key
    was = content(system.volume("106b"))
    system.close()
    harm(_path(closed) / "pyrep.db")
    _found(closed, "tables", "")
    with pytest.raises(InvalidArgumentError, match="nothing says the system's id"):
        repair_system(_path(closed))
    report = repair_system(_path(closed), system_id="100b")
    assert report.after.severity is Severity.OK, report.after.wrong
    assert any("volume 106b: its record is made anew" in one for one in report.done)
    again = closed.open("100b")
    assert again.state.record.key == key
    assert again.pairs() == ()
    assert content(again.volume("106b")) == was
    pair = again.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    assert pair.pair_id not in {"100b.1", "100b.2"}


def test_a_generation_out_of_damaged_tables_says_so(closed: Site) -> None:
    _sql(closed, "PRAGMA application_id = 7")
    system = _repaired(closed)
    (generation,) = system.list_generations()
    assert generation.state is GenerationState.COMPLETE
    assert "salvaged" in dict(generation.annotations)
    with system.generations.view(generation.generation_id, "105b") as view:  # type: ignore[arg-type]
        assert view.pread(1, 0)
