from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from pyrep.errors import (
    DeviceError,
    FormatError,
    InUseError,
    InvalidArgumentError,
    NoSpaceError,
    NotFoundError,
    PyrepError,
    ReadOnlyError,
)
from pyrep.meta import database as database_module
from pyrep.meta.database import Database
from pyrep.meta.schema import APPLICATION_ID, MIGRATIONS

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "system.sqlite"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    with Database.open(path) as opened:
        yield opened


def count(db: Database, name: str) -> int | None:
    found = db.read("SELECT value FROM counter WHERE name = ?", (name,))
    return found[0][0] if found else None


def put(db: Database, name: str, value: int = 1) -> None:
    db.write("INSERT INTO counter VALUES (?, ?)", (name, value))


def crash_image(db: Database, to: Path) -> Path:
    """Return what a killed process would have left: the files as they are now."""
    to.mkdir()
    for each in db.path.parent.glob(f"{db.path.name}*"):
        shutil.copy(each, to / each.name)
    return to / db.path.name


@contextmanager
def unprivileged() -> Iterator[None]:
    """Open files as nobody would in this thread, if it is root's: root may write anywhere."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    libc.setfsuid(NOBODY)
    try:
        yield
    finally:
        libc.setfsuid(0)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """Return a directory that nobody can reach too; pytest's own are private."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    made.chmod(0o755)
    shutil.rmtree(made)


def test_what_is_committed_is_there_after_closing_and_opening(path: Path) -> None:
    with Database.open(path) as db:
        put(db, "a", 5)
    with Database.open(path) as db:
        assert count(db, "a") == 5


def test_what_is_committed_survives_a_crash_and_nothing_else_does(
    db: Database, tmp_path: Path
) -> None:
    put(db, "committed")
    with db.transaction():
        put(db, "not yet")
        image = crash_image(db, tmp_path / "image")
    with Database.open(image) as recovered:
        assert count(recovered, "committed") == 1
        assert count(recovered, "not yet") is None


def test_a_commit_is_synced_before_it_returns(db: Database) -> None:
    assert db.read("PRAGMA journal_mode")[0][0] == "wal"
    assert db.read("PRAGMA synchronous")[0][0] == 2  # FULL


def test_the_file_is_private(db: Database) -> None:
    assert stat.S_IMODE(db.path.stat().st_mode) == 0o600


def test_a_transaction_that_raises_leaves_nothing(db: Database) -> None:
    with suppress(KeyError), db.transaction():
        put(db, "a")
        raise KeyError
    assert count(db, "a") is None


def test_an_inner_transaction_joins_the_outer_one(db: Database, tmp_path: Path) -> None:
    with db.transaction():
        with db.transaction():
            put(db, "inner")
        image = crash_image(db, tmp_path / "image")
    assert count(db, "inner") == 1
    with Database.open(image) as recovered:
        assert count(recovered, "inner") is None


def test_an_inner_transaction_that_raises_is_undone_alone(db: Database) -> None:
    with db.transaction():
        put(db, "before")
        with suppress(KeyError), db.transaction(), db.transaction():
            put(db, "inner")
            raise KeyError
        put(db, "after")
    assert [count(db, name) for name in ("before", "inner", "after")] == [1, None, 1]


def test_an_outer_transaction_that_raises_takes_the_inner_one_along(db: Database) -> None:
    with suppress(KeyError), db.transaction():
        with db.transaction():
            put(db, "inner")
        raise KeyError
    assert count(db, "inner") is None


@pytest.mark.parametrize("commits", [True, False])
def test_another_thread_sees_only_what_is_committed(db: Database, commits: bool) -> None:
    seen: list[int | None] = []
    written = threading.Event()

    def read() -> None:
        written.wait()
        seen.append(count(db, "a"))

    reader = threading.Thread(target=read)
    reader.start()
    with suppress(KeyError), db.transaction():
        put(db, "a")
        written.set()
        if not commits:
            raise KeyError
    reader.join()
    assert seen == [1 if commits else None]


def test_threads_that_count_together_lose_no_step(db: Database) -> None:
    put(db, "steps", 0)

    def step() -> None:
        for _ in range(25):
            with db.transaction():
                now = count(db, "steps")
                assert now is not None
                db.write("UPDATE counter SET value = ? WHERE name = 'steps'", (now + 1,))

    threads = [threading.Thread(target=step) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert count(db, "steps") == 100


def test_reads_in_one_block_see_one_state(db: Database) -> None:
    put(db, "a", 1)
    begun = threading.Event()

    def change() -> None:
        begun.set()
        db.write("UPDATE counter SET value = 2 WHERE name = 'a'")

    writer = threading.Thread(target=change)
    with db.reading():
        first = count(db, "a")
        writer.start()
        begun.wait()
        assert count(db, "a") == first
    writer.join()
    assert count(db, "a") == 2


def test_closing_twice_is_fine_and_use_after_it_is_an_error(db: Database) -> None:
    db.close()
    db.close()
    with pytest.raises(PyrepError, match="is closed"):
        db.read("SELECT 1")


def test_what_contradicts_the_stored_is_an_error_and_changes_nothing(db: Database) -> None:
    put(db, "a", 1)
    with pytest.raises(InvalidArgumentError, match="rules this out"):
        put(db, "a", 2)
    assert count(db, "a") == 1


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="is no directory"):
        Database.open(tmp_path / "absent" / "system.sqlite")


def test_a_file_in_the_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotFoundError, match="is no directory"):
        Database.open(tmp_path / "file" / "system.sqlite")


def test_a_directory_in_the_place_of_the_file_is_an_error(path: Path) -> None:
    path.mkdir()
    with pytest.raises(DeviceError, match="cannot use"):
        Database.open(path)
    assert list(path.iterdir()) == []


def test_a_new_database_in_a_read_only_directory_is_refused(public_dir: Path) -> None:
    public_dir.chmod(0o555)
    with unprivileged(), pytest.raises(ReadOnlyError) as caught:
        Database.open(public_dir / "system.sqlite")
    assert str(public_dir) in str(caught.value.hint)
    assert list(public_dir.iterdir()) == []


def test_a_database_in_a_read_only_directory_is_refused_and_stays(public_dir: Path) -> None:
    path = public_dir / "system.sqlite"
    Database.open(path).close()
    path.chmod(0o666)
    public_dir.chmod(0o555)
    before = path.read_bytes()
    with unprivileged(), pytest.raises(ReadOnlyError):
        Database.open(path)
    assert path.read_bytes() == before


def test_a_database_file_that_may_not_be_written_is_refused(public_dir: Path) -> None:
    path = public_dir / "system.sqlite"
    Database.open(path).close()
    path.chmod(0o444)
    public_dir.chmod(0o777)
    with unprivileged(), pytest.raises(ReadOnlyError), Database.open(path) as db:
        put(db, "a")


def test_a_write_to_a_read_only_database_is_a_read_only_error(db: Database) -> None:
    db.read("PRAGMA query_only = ON")
    with pytest.raises(ReadOnlyError):
        put(db, "a")


def fill_up(db: Database) -> None:
    pages = db.read("PRAGMA page_count")[0][0]
    db.read(f"PRAGMA max_page_count = {pages}")


def test_a_full_disk_is_an_error_that_leaves_the_database_as_it_was(db: Database) -> None:
    put(db, "before")
    fill_up(db)

    def write_much() -> None:
        with db.transaction():
            for number in range(1000):
                put(db, f"{number}" * 100)

    with pytest.raises(NoSpaceError, match="full") as caught:
        write_much()
    assert "make room" in str(caught.value.hint)
    assert [row[0] for row in db.read("SELECT name FROM counter")] == ["before"]
    db.read("PRAGMA max_page_count = 1000000")
    put(db, "after")
    assert count(db, "after") == 1


def test_after_a_swallowed_failure_half_a_transaction_is_not_committed(db: Database) -> None:
    fill_up(db)

    def write_both_halves() -> None:
        with db.transaction():
            put(db, "first half")
            with suppress(NoSpaceError):
                put(db, "x" * 1_000_000)
            db.read("PRAGMA max_page_count = 1000000")
            db.read("ROLLBACK")  # as SQLite does by itself after some errors
            put(db, "second half")

    with pytest.raises(PyrepError, match="rolled back"):
        write_both_halves()
    assert db.read("SELECT * FROM counter") == []


def test_a_database_that_another_process_writes_to_is_in_use(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Database.open(path).close()
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with Database.open(path) as db, pytest.raises(InUseError) as caught:
            put(db, "a")
    assert caught.value.hint


def test_a_file_of_noise_is_refused_and_stays(path: Path) -> None:
    path.write_bytes(os.urandom(8192))
    before = path.read_bytes()
    with pytest.raises(FormatError, match="no pyrep database") as caught:
        Database.open(path)
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_damaged_page_is_found_on_opening(path: Path) -> None:
    Database.open(path).close()
    damaged = bytearray(path.read_bytes())
    damaged[4096:8192] = bytes(4096)
    path.write_bytes(damaged)
    with pytest.raises(FormatError, match="is damaged"):
        Database.open(path)


def test_tables_that_are_not_those_of_the_format_are_damage(path: Path) -> None:
    with Database.open(path) as db:
        db.write("ALTER TABLE volume RENAME COLUMN size_bytes TO size_cytes")
    with pytest.raises(FormatError, match="aren't those of its format"):
        Database.open(path)


def test_text_that_is_not_utf_8_is_damage(db: Database) -> None:
    db.write("INSERT INTO counter VALUES (CAST(x'ff' AS TEXT), 1)")
    with pytest.raises(FormatError, match="is damaged"):
        db.read("SELECT name FROM counter")


def test_a_damaged_schema_is_found_on_opening(path: Path) -> None:
    Database.open(path).close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE volume", b"CREATE \xf0ABLE volume"))
    with pytest.raises(FormatError, match="is damaged"):
        Database.open(path)


def test_another_programs_database_is_refused_and_stays(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(FormatError, match="another program's"):
        Database.open(path)
    assert path.read_bytes() == before


def test_a_newer_format_is_refused_and_stays(path: Path) -> None:
    newer = [*MIGRATIONS, ["CREATE TABLE later (x)"]]
    Database.open(path, migrations=newer).close()
    before = path.read_bytes()
    with pytest.raises(FormatError, match=f"has format {len(newer)}") as caught:
        Database.open(path)
    assert "newer" in str(caught.value.hint)
    assert path.read_bytes() == before


OLD = [["CREATE TABLE thing (name TEXT)"]]
NEW = [*OLD, ["ALTER TABLE thing ADD COLUMN size INTEGER", "UPDATE thing SET size = 7"]]


def test_an_older_database_is_brought_up_to_date_with_its_content(path: Path) -> None:
    with Database.open(path, migrations=OLD) as db:
        db.write("INSERT INTO thing VALUES ('a')")
    for _ in range(2):
        with Database.open(path, migrations=NEW) as db:
            assert [tuple(row) for row in db.read("SELECT * FROM thing")] == [("a", 7)]
            assert db.read("PRAGMA user_version")[0][0] == 2
            assert db.read("PRAGMA application_id")[0][0] == APPLICATION_ID


def test_a_migration_that_fails_half_way_leaves_the_older_database(path: Path) -> None:
    with Database.open(path, migrations=OLD) as db:
        db.write("INSERT INTO thing VALUES ('a')")
    with pytest.raises(PyrepError):
        Database.open(path, migrations=[*NEW[:1], [*NEW[1], "CREATE TABLE thing (x)"]])
    with Database.open(path, migrations=OLD) as db:
        assert [tuple(row) for row in db.read("SELECT * FROM thing")] == [("a",)]


def test_a_new_database_that_cannot_be_made_leaves_no_file(path: Path) -> None:
    with pytest.raises(PyrepError):
        Database.open(path, migrations=[["no SQL"]])
    assert list(path.parent.iterdir()) == []
