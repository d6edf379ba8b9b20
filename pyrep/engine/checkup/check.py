"""The check of a system that isn't open: tables, records, files. It changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyrep.engine.checkup.begun import load_begun
from pyrep.engine.checkup.files import check_files
from pyrep.engine.checkup.finding import CheckReport, Finding, Remedy, failed, fine
from pyrep.engine.checkup.rules import check_records
from pyrep.engine.checkup.stored import Stored, copied_tables, read_stored
from pyrep.engine.directory import DATABASE, FORMAT
from pyrep.engine.opening import lock_directory
from pyrep.errors import FormatError, NotFoundError, PyrepError
from pyrep.meta import Database

__all__ = ["check_locked", "check_system", "held"]

_TABLES = "tables"


def check_system(directory: Path | str) -> CheckReport:
    """Check a system in a directory that no process has open; change nothing.

    Looked at are the tables (integrity, schema, version, whether their records agree with each
    other), the volumes' files or devices, every bitmap file, activity logs, and digest files.

    Returns:
        A finding per thing, the good ones too; `exit_code` is a monitor's.

    Raises:
        NotFoundError: no system was ever there.
        InUseError: it is open.
    """
    path = Path(directory).absolute()
    with held(path):
        return check_locked(path)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a directory's lock, as whoever opens the system does.

    Raises:
        NotFoundError: no system was ever there.
        InUseError: it is open.
    """
    if not (path / DATABASE).exists() and not (path / "bitmaps").is_dir():
        raise NotFoundError(f"{path} holds no storage system", hint="name a system's directory")
    lock = lock_directory(path)
    try:
        yield
    finally:
        os.close(lock)


def check_locked(path: Path) -> CheckReport:
    """Do `check_system` where the lock is held already."""
    findings = list(_unfinished(path))
    try:
        stored = _read(path)
    except PyrepError as error:
        findings.append(_unreadable(path, error))
        return CheckReport(system_id="", findings=tuple(findings))
    findings.append(fine(_TABLES, f"{path / DATABASE}, {len(stored.rows)} rows"))
    findings += check_records(stored)
    findings += check_files(path, stored)
    return CheckReport(system_id=stored.system.system_id, findings=tuple(findings))


def _unfinished(path: Path) -> Iterator[Finding]:
    """Yield a finding if a repair was stopped: nothing else that is found means much then."""
    try:
        if load_begun(path) is not None:
            yield failed(
                "repair", "one was stopped: nothing is opened before it ends", Remedy.GO_ON
            )
    except PyrepError as error:
        yield failed("repair", str(error), hint=error.hint or "")


def _read(path: Path) -> Stored:
    if not (path / DATABASE).is_file():
        raise NotFoundError(
            f"{path / DATABASE} is missing",
            hint="name the directory of a system; repair_system(directory, system_id=...) makes "
            "lost tables anew from what is beside them",
        )
    with copied_tables(path / DATABASE) as copy:
        if copy.unreadable_bytes:
            raise FormatError(
                f"{copy.unreadable_bytes} bytes of {path / DATABASE}, or of its log, can't be read "
                f"(Input/output error)",
                hint="repair_system(directory) keeps what can be read",
            )
        with Database.open(copy.path, name=path / DATABASE) as db:
            stored = read_stored(db)
    if stored.system.format > FORMAT:
        raise FormatError(
            f"the format {stored.system.format} of {path} is newer than {FORMAT}",
            hint="use the pyrep that wrote it, or a newer one",
        )
    return stored


def _unreadable(path: Path, error: PyrepError) -> Finding:
    """Return what can't be read and why; something newer isn't damaged, and isn't repaired."""
    what = str(error)
    if _is_newer(error):
        return failed(_TABLES, what, hint=error.hint or "")
    if isinstance(error, (FormatError, NotFoundError)):
        return failed(_TABLES, what, Remedy.REBUILD_TABLES, hint="or put a copy of them back")
    return failed(_TABLES, f"{path / DATABASE}: {what}", hint=error.hint or "")


def _is_newer(error: PyrepError) -> bool:
    return isinstance(error, FormatError) and "newer" in (error.hint or "")
