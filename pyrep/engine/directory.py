"""A system's directory: what a new one holds, and the state that an existing one opens with."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

from pyrep.engine.alogstore import LogStore
from pyrep.engine.backing import refused, sync_directory
from pyrep.engine.opening import lock_directory
from pyrep.engine.options import Options
from pyrep.engine.state import SystemState
from pyrep.engine.store import BitmapStore
from pyrep.errors import (
    DeviceError,
    ExistsError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
)
from pyrep.meta import (
    Catalogue,
    CopyTable,
    Database,
    DigestTable,
    EpochTable,
    PeerTable,
    PolicyTable,
    SystemRecord,
    SystemTable,
    VolumeTable,
    WorkflowJournal,
    peek_system_id,
)
from pyrep.model import SystemId, new_key

__all__ = [
    "DATABASE",
    "FORMAT",
    "REPAIRING",
    "check_directory",
    "check_repaired",
    "fill_directory",
    "open_database",
    "state_of",
    "system_id_in",
]

FORMAT = 1
DATABASE = "pyrep.db"
REPAIRING = "repairing.json"
"""There while a repair is under way."""

_NEW = f"{DATABASE}.new"
_FIRST = ("volumes", "bitmaps")
_LOCK = "lock"


def fill_directory(path: Path, system_id: SystemId) -> None:
    """Make the directory of a new system. What `StorageSystem.create` raises; nothing is left.

    What a creation that was interrupted has left there is made anew.
    """
    try:
        _make_directory(path)
        _check_unfinished(path, system_id)
    except (NotADirectoryError, FileExistsError) as error:
        raise InvalidArgumentError(
            f"cannot create system {system_id} in {path}: it is no directory",
            hint="name a new directory",
        ) from error
    except OSError as error:
        raise refused(f"create system {system_id} in {path}", error) from error
    lock = lock_directory(path)
    try:
        _check_unfinished(path, system_id)  # again: somebody may have been making one
        _empty(path, keep=_LOCK)
        _fill(path, system_id)
    except ExistsError:
        raise
    except BaseException:
        _empty(path)
        raise
    finally:
        os.close(lock)


def _make_directory(path: Path) -> None:
    """Make it, with those above it if need be; durable."""
    missing = [one for one in (path, *path.absolute().parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_directory(one.absolute().parent)


def _check_unfinished(path: Path, system_id: SystemId) -> None:
    """Raise ExistsError if there is more than an interrupted creation leaves."""
    for one in path.iterdir():
        is_known = one.name in {*_FIRST, _LOCK} or one.name.startswith(_NEW)
        if not is_known or (one.is_dir() and any(one.iterdir())):
            raise ExistsError(
                f"cannot create system {system_id} in {path}: the directory isn't empty",
                hint="name a new directory, or open the system that is there",
            )


def _fill(path: Path, system_id: SystemId) -> None:
    """Make what a system's directory holds; the database last: without it there is no system."""
    try:
        for name in _FIRST:
            (path / name).mkdir()
        sync_directory(path)
    except OSError as error:
        raise refused(f"create system {system_id} in {path}", error) from error
    # Its name comes when it is whole, its log folded in by the close: a system or none.
    with Database.open(path / _NEW) as db:
        SystemTable(db).set(
            SystemRecord(
                system_id=system_id,
                key=new_key(),
                clean=True,
                created_at=datetime.now(UTC),
                format=FORMAT,
            )
        )
    try:
        if (path / f"{_NEW}-wal").exists():
            raise DeviceError(
                f"cannot create system {system_id} in {path}: its tables stay open",
                hint="create it again, when no other program has files there open",
            )
        (path / _NEW).rename(path / DATABASE)
        sync_directory(path)
    except OSError as error:
        raise refused(f"create system {system_id} in {path}", error) from error


def _empty(path: Path, *, keep: str = "") -> None:
    """Undo `_fill`, whole or in part; what is kept excepted."""
    with contextlib.suppress(OSError):
        for one in path.iterdir():
            if one.is_dir():
                one.rmdir()
            elif one.name != keep:
                one.unlink()


def check_directory(path: Path) -> None:
    """Raise NotFoundError unless a system is there."""
    if not (path / DATABASE).is_file():
        raise NotFoundError(
            f"{path} holds no storage system", hint="make one with StorageSystem.create"
        )


def system_id_in(path: Path) -> SystemId | None:
    """Return the id of the system in a directory, open or not; None: it can't be told."""
    return peek_system_id(path / DATABASE)


def check_repaired(path: Path) -> None:
    """Raise RefusedError while a repair hasn't ended: tables and bitmaps may contradict them."""
    if (path / REPAIRING).exists():
        raise RefusedError(
            f"cannot open {path}: a repair of it was stopped",
            hint="let it end: repair_system(directory)",
        )


def open_database(path: Path) -> Database:
    """Open the system's tables."""
    return Database.open(path / DATABASE)


def state_of(path: Path, db: Database, options: Options) -> SystemState:
    """Return the state of a system that is being opened. FormatError: a newer pyrep made it."""
    system = SystemTable(db)
    record = system.get()
    if record.format > FORMAT:
        raise FormatError(
            f"cannot open {path}: its format {record.format} is newer than {FORMAT}",
            hint="update pyrep",
        )
    return SystemState(
        directory=path,
        options=options,
        db=db,
        system=system,
        record=record,
        boot_id=new_key(),
        volumes=VolumeTable(db),
        table=CopyTable(db),
        epochs=EpochTable(db),
        catalogue=Catalogue(db),
        journal=WorkflowJournal(db),
        peer_table=PeerTable(db),
        digests=DigestTable(db),
        policies=PolicyTable(db),
        store=BitmapStore(path / "bitmaps", record.key, options.bitmap_storage),
        logs=LogStore(path / "alog", record.key, options),
    )
