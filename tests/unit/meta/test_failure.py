from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from pyrep.errors import (
    DeviceError,
    FormatError,
    InUseError,
    InvalidArgumentError,
    NoSpaceError,
    PyrepError,
    ReadOnlyError,
)
from pyrep.meta.failure import failure_of_directory, failure_of_sqlite


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("what SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, NoSpaceError),
        (sqlite3.SQLITE_READONLY, ReadOnlyError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, ReadOnlyError),
        (sqlite3.SQLITE_PERM, ReadOnlyError),
        (sqlite3.SQLITE_CORRUPT, FormatError),
        (sqlite3.SQLITE_CORRUPT_INDEX, FormatError),
        (sqlite3.SQLITE_NOTADB, FormatError),
        (sqlite3.SQLITE_BUSY, InUseError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, InUseError),
        (sqlite3.SQLITE_LOCKED, InUseError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, InvalidArgumentError),
        (sqlite3.SQLITE_IOERR_FSYNC, DeviceError),
        (sqlite3.SQLITE_CANTOPEN, DeviceError),
        (sqlite3.SQLITE_NOMEM, DeviceError),
    ],
)
def test_sqlites_codes_and_their_details_become_the_users_errors(
    tmp_path: Path, code: int, expected: type[PyrepError]
) -> None:
    failure = failure_of_sqlite(sqlite_error(code), tmp_path / "db")
    assert type(failure) is expected
    assert "what SQLite says" in str(failure)


def test_an_error_without_a_code_is_still_reported(tmp_path: Path) -> None:
    failure = failure_of_sqlite(sqlite3.ProgrammingError("odd"), tmp_path / "db")
    assert type(failure) is DeviceError


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (errno.ENOSPC, NoSpaceError),
        (errno.EDQUOT, NoSpaceError),
        (errno.EROFS, ReadOnlyError),
        (errno.EACCES, ReadOnlyError),
        (errno.EPERM, ReadOnlyError),
        (errno.EIO, DeviceError),
    ],
)
def test_a_directorys_errno_becomes_the_users_error(
    tmp_path: Path, code: int, expected: type[DeviceError]
) -> None:
    failure = failure_of_directory(OSError(code, os.strerror(code)), tmp_path / "db")
    assert type(failure) is expected
    assert failure.errno_code == code


@pytest.mark.parametrize("code", [sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR_SHMSIZE])
def test_a_full_disk_that_sqlite_does_not_name_is_found_by_trying(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_options: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    failure = failure_of_sqlite(sqlite_error(code), tmp_path / "db")
    assert type(failure) is NoSpaceError


def test_a_file_that_may_not_be_written_is_found_by_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    path.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    failure = failure_of_sqlite(sqlite_error(sqlite3.SQLITE_CANTOPEN), path)
    assert type(failure) is ReadOnlyError
