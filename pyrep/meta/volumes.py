"""The volumes of a system, and what their backing files looked like at the last clean close."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import asdict, dataclass

from pyrep.errors import ExistsError, NotFoundError
from pyrep.meta.column import decoding, from_json, known_hint, to_json
from pyrep.meta.database import Database
from pyrep.model.ids import VolumeId, check_key

__all__ = ["BackingIdentity", "VolumeRecord", "VolumeTable"]

_PUT = """
    INSERT INTO volume (volume_id, key, path, size_bytes, owned, identity)
    VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (volume_id) DO UPDATE SET
        key = excluded.key, path = excluded.path, size_bytes = excluded.size_bytes,
        owned = excluded.owned, identity = excluded.identity
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackingIdentity:
    """What recognises a backing file or block device: taken when it was closed cleanly.

    Attributes:
        device: number of the device that a file is on; of a block device, its own.
        inode: a file's number there; 0 for a block device.
        size_bytes: its size.
        mtime_ns: time of the last change of a file's content; 0 for a block device.
        ctime_ns: time of the last change of a file's content or its attributes; 0 likewise.
        serial: what names a block device wherever it appears; empty: nothing does.
        boot: of a block device, which run of the kernel, and which disk in it, `written` is of.
        written: sectors written to a block device and discarded since then.
    """

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    serial: str = ""
    boot: str = ""
    written: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeRecord:
    """One volume.

    Attributes:
        volume_id: its id.
        key: 16 random bytes that bind bitmap files to it.
        path: its backing file, absolute or relative to the system's directory.
        size_bytes: its size.
        owned: whether pyrep made the file, and so removes it with the volume.
        identity: the file at the last clean close; None before the first one.
    """

    volume_id: VolumeId
    key: bytes
    path: str
    size_bytes: int
    owned: bool
    identity: BackingIdentity | None = None

    def __post_init__(self) -> None:
        check_key("volume", self.key)


class VolumeTable:
    """The volumes of one system; each change is durable on return or with its transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, record: VolumeRecord) -> None:
        """Add a volume.

        Raises:
            ExistsError: there is a volume of this id.
        """
        with self._db.transaction():
            if self._find(record.volume_id):
                raise ExistsError(
                    f"volume {record.volume_id} exists already",
                    hint="name another id, or delete that volume first",
                )
            self._put(record)

    def replace(self, record: VolumeRecord) -> None:
        """Change the volume of this id.

        Raises:
            NotFoundError: there is none.
        """
        with self._db.transaction():
            self.get(record.volume_id)
            self._put(record)

    def remove(self, volume_id: VolumeId) -> None:
        """Remove the volume's record; its file and its pairs' rows are others' work.

        Raises:
            NotFoundError: there is none of this id.
        """
        with self._db.transaction():
            self.get(volume_id)
            self._db.write("DELETE FROM volume WHERE volume_id = ?", (volume_id,))

    def get(self, volume_id: VolumeId) -> VolumeRecord:
        """Return the volume of this id.

        Raises:
            NotFoundError: there is none; the hint names those there are.
        """
        found = self._find(volume_id)
        if not found:
            ids = [one.volume_id for one in self.all()]
            raise NotFoundError(f"no volume {volume_id}", hint=known_hint("volume", ids))
        return _decode(found[0])

    def all(self) -> tuple[VolumeRecord, ...]:
        """Return all volumes, by id."""
        rows = self._db.read("SELECT * FROM volume ORDER BY volume_id")
        return tuple(_decode(row) for row in rows)

    def _find(self, volume_id: VolumeId) -> list[sqlite3.Row]:
        return self._db.read("SELECT * FROM volume WHERE volume_id = ?", (volume_id,))

    def _put(self, record: VolumeRecord) -> None:
        identity = record.identity
        self._db.write(
            _PUT,
            (
                record.volume_id,
                record.key,
                os.fsencode(record.path),
                record.size_bytes,
                record.owned,
                None if identity is None else to_json(asdict(identity)),
            ),
        )


def _decode(row: sqlite3.Row) -> VolumeRecord:
    with decoding(f"volume {row['volume_id']}"):
        stored = row["identity"]
        return VolumeRecord(
            volume_id=row["volume_id"],
            key=row["key"],
            path=os.fsdecode(row["path"]),
            size_bytes=row["size_bytes"],
            owned=bool(row["owned"]),
            identity=None if stored is None else BackingIdentity(**from_json(stored)),
        )
