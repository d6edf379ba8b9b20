"""What a system knows of itself and of the systems it was connected to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.meta.column import decoding, from_text_time, to_text_time
from pyrep.meta.database import Database
from pyrep.model.ids import SystemId, check_key

__all__ = ["PeerRecord", "PeerTable", "SystemRecord", "SystemTable", "peek_system_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRecord:
    """The system itself.

    Attributes:
        system_id: its id.
        key: 16 random bytes that bind bitmap files to it.
        clean: whether it was closed cleanly and hasn't been opened since.
        created_at: when it was made, with its time zone.
        format: version of the system directory's layout.
    """

    system_id: SystemId
    key: bytes
    clean: bool
    created_at: datetime
    format: int

    def __post_init__(self) -> None:
        check_key("system", self.key)
        if self.created_at.tzinfo is None:
            raise InvalidArgumentError(
                f"system {self.system_id}: created_at has no time zone", hint="pass a time in UTC"
            )


def peek_system_id(path: Path) -> SystemId | None:
    """Return whose a database is, without opening it: it stays as it is, whoever has it open.

    None if that can't be told; opening it says why.
    """
    # A reader would leave an empty log beside a database that nobody has open.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
            found = connection.execute("SELECT system_id FROM system").fetchone()
            return None if found is None else SystemId(str(found[0]))
    except sqlite3.Error:
        return None


class SystemTable:
    """The record of the system itself; a change is durable on return or with its transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self) -> SystemRecord:
        """Return the record.

        Raises:
            NotFoundError: none was set: the database is new.
        """
        found = self._db.read("SELECT * FROM system")
        if not found:
            raise NotFoundError(f"{self._db.path} holds no system", hint="create it first")
        row = found[0]
        with decoding(f"system {row['system_id']}"):
            return SystemRecord(
                system_id=row["system_id"],
                key=row["key"],
                clean=bool(row["clean"]),
                created_at=from_text_time(row["created_at"]),
                format=row["format"],
            )

    def set(self, record: SystemRecord) -> None:
        """Set the record, the first time or again."""
        self._db.write(
            "INSERT OR REPLACE INTO system VALUES (1, ?, ?, ?, ?, ?)",
            (
                record.system_id,
                record.key,
                record.clean,
                to_text_time(record.created_at),
                record.format,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRecord:
    """Another system, as last met.

    Attributes:
        peer_system_id: its id.
        boot_id: random bytes that name its last run; if it changed, what wasn't durable there may
            be lost.
        attempt: number of the last connection; a higher one supersedes older ones.
        key: the system's own, by which another one of its id is told apart; empty if it was last
            met by a version that didn't know it.
    """

    peer_system_id: SystemId
    boot_id: bytes
    attempt: int
    key: bytes = b""


class PeerTable:
    """The systems this one was connected to."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, peer_system_id: SystemId) -> PeerRecord | None:
        """Return a peer as last met, or None if it never was."""
        found = self._db.read("SELECT * FROM peer WHERE peer_system_id = ?", (peer_system_id,))
        if not found:
            return None
        row = found[0]
        return PeerRecord(
            peer_system_id=row["peer_system_id"],
            boot_id=row["boot_id"],
            attempt=row["attempt"],
            key=row["key"],
        )

    def put(self, record: PeerRecord) -> None:
        """Store a peer, the first time or again; durable on return or with its transaction."""
        self._db.write(
            "INSERT OR REPLACE INTO peer VALUES (?, ?, ?, ?)",
            (record.peer_system_id, record.boot_id, record.attempt, record.key),
        )
