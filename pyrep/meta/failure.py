"""What an error of SQLite, or of the directory below it, means to the user."""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from pyrep.errors import (
    DeviceError,
    FormatError,
    InUseError,
    InvalidArgumentError,
    NoSpaceError,
    PyrepError,
    ReadOnlyError,
)

__all__ = ["corrupt", "failure_of_directory", "failure_of_sqlite"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}

_PROBE_BYTES = 64 * 1024
"""More than SQLite's shared-memory index needs at first, so that a full disk shows itself."""


def failure_of_directory(error: OSError, path: Path) -> DeviceError:
    """Return what the failed creation or write of `path` means."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return NoSpaceError(
            f"cannot write {path}: {reason}",
            hint=f"make room in the file system of {path.parent}",
            errno_code=error.errno,
        )
    if error.errno in _READ_ONLY:
        return ReadOnlyError(
            f"cannot write {path}: {reason}",
            hint=f"make {path} and {path.parent} writable for this user",
            errno_code=error.errno,
        )
    return DeviceError(
        f"cannot write {path}: {reason}",
        errno_code=error.errno,
        hint="is it the disk? the kernel's log (dmesg) tells",
    )


def failure_of_sqlite(error: sqlite3.Error, path: Path) -> PyrepError:
    """Return what `error`, raised by work on the database `path`, means.

    SQLite folds "can't open" and some I/O errors of a full or read-only directory into one code
    each and keeps no errno; for these the directory is tried.
    """
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    match primary:
        case sqlite3.SQLITE_FULL:
            return NoSpaceError(
                f"cannot write {path}: {error}",
                hint=f"make room in the file system of {path.parent}",
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return ReadOnlyError(
                f"cannot write {path}: {error}",
                hint=f"make {path} and {path.parent} writable for this user",
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return corrupt(path, str(error))
        case None if str(error).startswith("Could not decode"):
            # Python's own: a text column isn't UTF-8, which nothing of ours has written.
            return corrupt(path, str(error))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED | sqlite3.SQLITE_PROTOCOL:
            return InUseError(
                f"cannot use {path}: {error}", hint="close the other program that has it open"
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR:
            return _try_to_write(path) or DeviceError(
                f"cannot use {path}: {error}",
                hint="is it the disk? pyrep system check DIRECTORY tells what can't be read, and "
                "pyrep system repair keeps what can",
            )
        case sqlite3.SQLITE_CONSTRAINT:
            return InvalidArgumentError(f"what is stored in {path} rules this out: {error}")
        case _:
            return DeviceError(
                f"cannot use {path}: {error}",
                hint="repair_system(directory) keeps what can be read; pyrep system check tells "
                "what that is",
            )


def corrupt(path: Path, what: str) -> FormatError:
    """Return the error for a database that is damaged or isn't one."""
    return FormatError(
        f"{path} is damaged or no pyrep database: {what}",
        hint="put a copy of it back; the volumes' own files aren't touched by this",
    )


def _try_to_write(path: Path) -> DeviceError | None:
    """Return what keeps `path`, or files beside it, from being written; or None."""
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        # Asked for, not tried: closing any descriptor of an SQLite file drops the process's locks.
        denied = OSError(errno.EACCES, os.strerror(errno.EACCES))
        return failure_of_directory(denied, path)
    try:
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return failure_of_directory(error, path)
    return None
