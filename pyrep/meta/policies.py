"""Policies: what a system does with the generations of its volumes, by volume or for all."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta

from pyrep.meta.column import decoding, from_json, to_json
from pyrep.meta.database import Database
from pyrep.model.ids import VolumeId
from pyrep.model.retention import NextSvol, RetentionPolicy

__all__ = ["PolicyRecord", "PolicyTable"]

_SYSTEM = ""
"""The volume id of the policies that hold where a volume has none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRecord:
    """The policies of one volume, or of the system. None: not set here."""

    next_svol: NextSvol | None = None
    retention: RetentionPolicy | None = None


class PolicyTable:
    """The policies of one system."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, volume_id: VolumeId | None) -> PolicyRecord:
        """Return what is set for a volume itself, or (None) for the system."""
        rows = self._db.read("SELECT * FROM policy WHERE volume_id = ?", (volume_id or _SYSTEM,))
        if not rows:
            return PolicyRecord()
        (row,) = rows
        with decoding(f"the policies of {volume_id or 'the system'}"):
            return PolicyRecord(
                next_svol=None if row["next_svol"] is None else NextSvol(row["next_svol"]),
                retention=None if row["retention"] is None else _retention_from(row["retention"]),
            )

    def set(self, volume_id: VolumeId | None, record: PolicyRecord) -> None:
        """Set the policies of a volume or of the system; durable on return."""
        self._db.write(
            """
            INSERT INTO policy (volume_id, next_svol, retention) VALUES (?, ?, ?)
            ON CONFLICT (volume_id) DO UPDATE SET
                next_svol = excluded.next_svol, retention = excluded.retention
            """,
            (
                volume_id or _SYSTEM,
                record.next_svol.value if record.next_svol else None,
                _retention_to(record.retention) if record.retention else None,
            ),
        )

    def remove(self, volume_id: VolumeId) -> None:
        """Forget a volume's policies; nothing happens if it has none."""
        self._db.write("DELETE FROM policy WHERE volume_id = ?", (volume_id,))

    def effective(self, volume_id: VolumeId) -> PolicyRecord:
        """Return what holds for a volume: its own policies, where unset the system's."""
        with self._db.reading():
            own, general = self.get(volume_id), self.get(None)
        return PolicyRecord(
            next_svol=own.next_svol or general.next_svol or NextSvol.AT_BACKUP,
            retention=own.retention or general.retention,
        )


_AGES = ("keep_within", "forget_after")


def _retention_to(policy: RetentionPolicy) -> str:
    values = {one.name: getattr(policy, one.name) for one in fields(policy)}
    for name in _AGES:
        values[name] = None if values[name] is None else values[name].total_seconds()
    return to_json(values)


def _retention_from(text: str) -> RetentionPolicy:
    values = from_json(text)
    for name in _AGES:
        values[name] = None if values[name] is None else timedelta(seconds=values[name])
    return RetentionPolicy(**{**values, "keep_labels": tuple(values["keep_labels"])})
