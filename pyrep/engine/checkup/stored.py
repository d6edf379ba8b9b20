"""A system's tables, read as they lie on the disk: there nothing is migrated or recovered."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from pyrep.engine.backing import refused
from pyrep.errors import FormatError
from pyrep.meta import (
    Catalogue,
    CopyTable,
    Database,
    DigestRecord,
    DigestTable,
    EpochRecord,
    EpochTable,
    SystemRecord,
    SystemTable,
    VolumeRecord,
    VolumeTable,
    WorkflowJournal,
)
from pyrep.model import Generation, Row, VolumeId, WorkflowId, WorkflowRecord

__all__ = ["Stored", "TablesCopy", "copied_tables", "copy_readable", "read_stored"]

_PIECE_BYTES = 1 << 20
_SECTOR_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Every record of a system's tables."""

    system: SystemRecord
    volumes: tuple[VolumeRecord, ...]
    rows: tuple[Row, ...]
    epochs: tuple[EpochRecord, ...]
    generations: tuple[Generation, ...]
    digests: tuple[DigestRecord, ...]
    workflows: tuple[WorkflowRecord, ...]
    leases: dict[VolumeId, WorkflowId]
    policies: tuple[VolumeId, ...]

    def volume(self, volume_id: str) -> VolumeRecord | None:
        """Return a volume's record, if there is one."""
        return next((one for one in self.volumes if one.volume_id == volume_id), None)

    def rows_of(self, volume_id: str) -> list[Row]:
        """Return a volume's rows."""
        return [one for one in self.rows if one.volume_id == volume_id]


def copy_readable(source: Path, target: Path) -> int:
    """Copy what can be read of a file; return how many bytes can't be: they are zeros there.

    Raises:
        OSError: it can't be opened, or the copy can't be written.
    """
    unreadable = 0
    with source.open("rb", buffering=0) as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        for offset in range(0, size, _PIECE_BYTES):
            length = min(_PIECE_BYTES, size - offset)
            try:
                new.write(os.pread(old.fileno(), length, offset))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                unreadable += _copy_sectors(old.fileno(), new, offset, length)
    return unreadable


def _copy_sectors(old: int, new: BinaryIO, offset: int, length: int) -> int:
    unreadable = 0
    for at in range(offset, offset + length, _SECTOR_BYTES):
        count = min(_SECTOR_BYTES, offset + length - at)
        try:
            new.write(os.pread(old, count, at))
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            new.write(bytes(count))
            unreadable += count
    return unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class TablesCopy:
    """A copy of a database.

    Attributes:
        path: where it is.
        unreadable_bytes: how many bytes of the original, or of its log, can't be read. Such a copy
            may look whole and be older: of a log it has what stands before the first of them.
    """

    path: Path
    unreadable_bytes: int


@contextmanager
def copied_tables(path: Path) -> Iterator[TablesCopy]:
    """Give a copy of a database with its log: looking at it may fold the log in, or migrate it.

    Raises:
        DeviceError: it can't be opened, or there is no room for temporary files.
    """
    with contextlib.ExitStack() as until:
        try:
            name = until.enter_context(TemporaryDirectory(prefix="pyrep-check-"))
            copy = Path(name) / path.name
            unreadable = copy_readable(path, copy)
            log = path.with_name(f"{path.name}-wal")
            if log.exists():
                unreadable += copy_readable(log, copy.with_name(f"{copy.name}-wal"))
        except OSError as error:
            raise refused(f"copy {path} to look at it", error) from error
        yield TablesCopy(path=copy, unreadable_bytes=unreadable)


def read_stored(db: Database) -> Stored:
    """Return every record.

    Raises:
        FormatError: SQLite finds the file damaged, or a record can't be read.
    """
    for (finding,) in db.read("PRAGMA integrity_check(1)"):
        if finding != "ok":
            raise FormatError(
                f"{db.name} is damaged: {finding}",
                hint="repair_system(directory) keeps what can be read",
            )
    for row in db.read("PRAGMA foreign_key_check"):
        raise FormatError(
            f"{db.name} is damaged: a record of {row[0]} belongs to none of {row[2]}",
            hint="repair_system(directory) keeps what can be read",
        )
    leases = db.read("SELECT tree_root, workflow_id FROM lease ORDER BY tree_root")
    policies = db.read("SELECT volume_id FROM policy WHERE volume_id != '' ORDER BY volume_id")
    return Stored(
        system=SystemTable(db).get(),
        volumes=VolumeTable(db).all(),
        rows=CopyTable(db).rows(),
        epochs=EpochTable(db).all(),
        generations=Catalogue(db).all(),
        digests=DigestTable(db).all(),
        workflows=WorkflowJournal(db).all(),
        leases={VolumeId(row[0]): WorkflowId(row[1]) for row in leases},
        policies=tuple(VolumeId(row[0]) for row in policies),
    )
