"""A system's directory: what a new one holds, and the state that an existing one opens with."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from pyrep.engine.alogstore import LogStore
from pyrep.engine.backing import refused, sync_directory
from pyrep.engine.options import Options
from pyrep.engine.state import SystemState
from pyrep.engine.store import BitmapStore
from pyrep.errors import (
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


def fill_directory(path: Path, system_id: SystemId) -> None:
    """Make the directory of a new system. What `StorageSystem.create` raises; nothing is left."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ExistsError(
                f"cannot create system {system_id} in {path}: the directory isn't empty",
                hint="name a new directory, or open the system that is there",
            )
    except (NotADirectoryError, FileExistsError) as error:
        raise InvalidArgumentError(
            f"cannot create system {system_id} in {path}: it is no directory",
            hint="name a new directory",
        ) from error
    except OSError as error:
        raise refused(f"create system {system_id} in {path}", error) from error
    try:
        _fill(path, system_id)
    except BaseException:
        _empty(path)
        raise


def _fill(path: Path, system_id: SystemId) -> None:
    """Make what a system's directory holds; the database last: without it there is no system."""
    try:
        for name in ("volumes", "bitmaps"):
            (path / name).mkdir()
        sync_directory(path)
    except OSError as error:
        raise refused(f"create system {system_id} in {path}", error) from error
    with Database.open(path / DATABASE) as db:
        SystemTable(db).set(
            SystemRecord(
                system_id=system_id,
                key=new_key(),
                clean=True,
                created_at=datetime.now(UTC),
                format=FORMAT,
            )
        )


def _empty(path: Path) -> None:
    """Undo `_fill`; the directory was empty."""
    with contextlib.suppress(OSError):
        for one in path.iterdir():
            if one.is_dir():
                one.rmdir()
            else:
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
