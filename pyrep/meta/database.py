"""The database: one SQLite file, one connection, one writer, durable at each commit.

SQLite in WAL mode with synchronous=FULL: a commit is on the disk when it returns (INV-2), and a
crash at any moment leaves the last commit. Rollback-journal mode was refused: with FULL it loses
commits when the directory entry isn't synced.

Threads: any thread may use a `Database`. One lock covers a whole transaction, so that other threads
see only what is committed; they wait meanwhile. It is the innermost lock: inside `transaction()`
take no other one and wait for nothing.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyrep.errors import FormatError, InvalidArgumentError, NotFoundError, PyrepError
from pyrep.meta.failure import corrupt, failure_of_directory, failure_of_sqlite
from pyrep.meta.schema import APPLICATION_ID, MIGRATIONS, Migration

__all__ = ["Database"]

BUSY_TIMEOUT_S = 5.0
"""How long to wait for another process that has the file; pyrep itself has one connection."""

SCHEMA_QUERY = "SELECT name, sql FROM sqlite_schema ORDER BY name"

HEADER_BYTES = 512
"""Bytes of the smallest page of SQLite: no database that holds anything is shorter."""

Parameters = Sequence[Any] | Mapping[str, Any]


class Database:
    """An open database; a context manager that closes it.

    Use `open`. The tables (`VolumeTable`, `CopyTable`, ...) are built over it and keep no state of
    their own: what they return is read from the file each time.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, name: Path) -> None:
        self.path = path
        self.name = name
        self._connection: sqlite3.Connection | None = connection
        self._lock = threading.RLock()
        self._depth = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: Path | None = None,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> Self:
        """Open the database at `path`, making it if it isn't there and bringing it up to date.

        Args:
            path: the file; its directory must exist.
            name: what errors call it: of a copy, the file that it is a copy of.
            migrations: the known versions, oldest first.

        Raises:
            NotFoundError: its directory doesn't exist.
            ReadOnlyError: the file or its directory can't be written.
            NoSpaceError: the disk is full.
            FormatError: it is damaged, isn't a pyrep database or comes from a newer pyrep; it is
                as it was.
            InUseError: another process is writing to it.
            DeviceError: any other failure of the storage.
        """
        is_new = _create_file(path)
        database = None
        try:
            database = cls(path, _connect(path), name or path)
            database._prepare(migrations)
        except BaseException:
            if database is not None:
                database.close()
            if is_new:
                _remove_files(path)
            raise
        return database

    def close(self) -> None:
        """Close it; idempotent. A transaction still open in this thread is rolled back."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all changes in the block one: durable when it ends, none of them if it raises.

        A block inside another joins it: what it did is undone if it raises, and is durable when the
        outermost block ends.

        Raises:
            NoSpaceError, ReadOnlyError, DeviceError, InUseError, FormatError: nothing was changed.
        """
        with self._lock:
            outermost = self._depth == 0
            self._run("BEGIN IMMEDIATE" if outermost else "SAVEPOINT inner")
            self._depth += 1
            try:
                yield
                self._run("COMMIT" if outermost else "RELEASE inner")
            except BaseException:
                self._undo(outermost=outermost)
                raise
            finally:
                self._depth -= 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Make all reads in the block see one state: no other thread commits meanwhile."""
        with self._lock:
            yield

    def read(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """Return the rows of one SELECT, in what is committed (or this thread's transaction)."""
        with self._lock:
            return self._run(sql, parameters)

    def write(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """Run one statement that changes something; durable on return, or with its transaction."""
        with self.transaction():
            return self._run(sql, parameters)

    def _run(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        connection = self._connection
        if connection is None:
            raise PyrepError(f"{self.name} is closed", hint="open the system again")
        if self._depth and not connection.in_transaction:
            # A full disk or an I/O error makes SQLite roll back by itself. Going on after such an
            # error was swallowed would commit the second half of a change alone.
            raise PyrepError(
                f"{self.name}: the transaction was rolled back by an earlier error",
                hint="nothing of it was kept: try again when what that error says is mended",
            )
        try:
            return connection.execute(sql, parameters).fetchall()
        except (OverflowError, UnicodeEncodeError) as error:
            raise InvalidArgumentError(f"{self.name} can't have such a value: {error}") from error
        except sqlite3.Error as error:
            raise failure_of_sqlite(error, self.name) from error
        except UnicodeDecodeError as error:
            # Python decodes SQLite's own messages too, and these quote a damaged schema.
            raise corrupt(self.name, str(error)) from error

    def _undo(self, *, outermost: bool) -> None:
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        # The failure that led here is what the caller must see. Were the transaction still open
        # after this, the next BEGIN fails.
        with suppress(sqlite3.Error):
            if outermost:
                connection.execute("ROLLBACK")
            else:
                connection.execute("ROLLBACK TO inner")
                connection.execute("RELEASE inner")

    def _prepare(self, migrations: Sequence[Migration]) -> None:
        """Check what the file is, set how it is used, and bring it up to date."""
        assert self._connection is not None  # noqa: S101 (just opened)
        self._connection.row_factory = sqlite3.Row
        self._run("PRAGMA synchronous = FULL")
        self._run("PRAGMA foreign_keys = ON")
        version = self._check(len(migrations))
        if version == 0:
            # SQLite syncs the directory for its log, not for the database file itself.
            _sync_directory(self.path)
        mode = self._run("PRAGMA journal_mode = WAL")[0][0]
        if mode != "wal":
            raise PyrepError(
                f"cannot keep a write-ahead log beside {self.name} (journal mode {mode})",
                hint="put the system's directory on a local file system",
            )
        for number, migration in enumerate(migrations[version:], start=version + 1):
            with self.transaction():
                for statement in migration:
                    self._run(statement)
                self._run(f"PRAGMA application_id = {APPLICATION_ID}")
                self._run(f"PRAGMA user_version = {number}")
        if [tuple(row) for row in self._run(SCHEMA_QUERY)] != _schema_of(migrations):
            raise corrupt(self.name, "its tables aren't those of its format")

    def _check(self, known_version: int) -> int:
        """Return the file's version; refuse what is damaged, foreign or newer, unchanged."""
        for (finding,) in self._run("PRAGMA quick_check(1)"):
            if finding != "ok":
                raise corrupt(self.name, finding)
        page_bytes = int(self._run("PRAGMA page_size")[0][0])
        if self.path.stat().st_size % page_bytes and not _has_log(self.path):
            # SQLite fills a last page that is cut off with zeros and says nothing. Only a crash in
            # the middle of copying the log into the file may leave one, and the log mends that.
            raise corrupt(self.name, "its last page is cut off")
        version = int(self._run("PRAGMA user_version")[0][0])
        application_id = int(self._run("PRAGMA application_id")[0][0])
        tables = int(self._run("SELECT count(*) FROM sqlite_schema")[0][0])
        if application_id != APPLICATION_ID and (application_id or version or tables):
            raise corrupt(self.name, "another program's database")
        if version > known_version:
            raise FormatError(
                f"{self.name} has format {version}, this pyrep knows {known_version}",
                hint="use the pyrep that wrote it, or a newer one",
            )
        return version


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file; statements begin transactions only where `Database` says so."""
    try:
        return sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
    except sqlite3.Error as error:
        raise failure_of_sqlite(error, path) from error


def _create_file(path: Path) -> bool:
    """Make an empty file if there is none, and say whether it was made; SQLite keeps no errno."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        # An empty file is what a crash leaves in the middle of making one; SQLite would take a
        # shorter one than its header, the rest of a damaged database, for empty too.
        if 0 < path.stat().st_size < HEADER_BYTES:
            raise corrupt(path, "shorter than its header") from None
        return False
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"{path.parent} is no directory", hint="make it first") from error
    except OSError as error:
        raise failure_of_directory(error, path) from error
    os.close(descriptor)
    return True


def _schema_of(migrations: Sequence[Migration]) -> list[tuple[str, str | None]]:
    """Return the tables that the migrations lead to, as a fresh database shows them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        for migration in migrations:
            for statement in migration:
                connection.execute(statement)
        return connection.execute(SCHEMA_QUERY).fetchall()


def _has_log(path: Path) -> bool:
    """Whether a write-ahead log beside the database has anything in it."""
    log = _beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0


def _remove_files(path: Path) -> None:
    """Remove a database that couldn't be made, and what SQLite keeps beside it."""
    for each in (path, _beside(path, "-wal"), _beside(path, "-shm")):
        each.unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync_directory(path: Path) -> None:
    """Make the entry of a new file durable."""
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise failure_of_directory(error, path) from error
