"""Mark epochs: which bitmap files hold the marks of a source volume between its splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError
from pyrep.meta.column import decoding, from_signed, to_signed
from pyrep.meta.database import Database
from pyrep.model.ids import VolumeId, check_key

__all__ = ["EpochRecord", "EpochTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """One epoch of a volume's marks: those made between two splits of its local pairs.

    Attributes:
        volume_id: the source volume.
        sequence: the epoch's number; a later epoch has a higher one.
        row_key: 16 random bytes that name its bitmap file.
        chunk_bytes: bytes of one bit.
        data_id: identifier in the bitmap file's header at the last clean close; 0 = fresh.
    """

    volume_id: VolumeId
    sequence: int
    row_key: bytes
    chunk_bytes: int
    data_id: int = 0

    def __post_init__(self) -> None:
        check_key("epoch", self.row_key)


class EpochTable:
    """The epochs of all volumes of one system."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def replace_all(self, volume_id: VolumeId, records: Iterable[EpochRecord]) -> None:
        """Make `records` the epochs of one volume; durable on return or with its transaction.

        Raises:
            InvalidArgumentError: a record is of another volume; nothing is changed.
        """
        with self._db.transaction():
            self._db.write("DELETE FROM epoch WHERE volume_id = ?", (volume_id,))
            for one in records:
                if one.volume_id != volume_id:
                    raise InvalidArgumentError(
                        f"an epoch of volume {one.volume_id} given for volume {volume_id}"
                    )
                self._db.write(
                    "INSERT INTO epoch VALUES (?, ?, ?, ?, ?)",
                    (volume_id, one.sequence, one.row_key, one.chunk_bytes, to_signed(one.data_id)),
                )

    def all(self) -> tuple[EpochRecord, ...]:
        """Return the epochs of all volumes, by volume, oldest first."""
        records = []
        for row in self._db.read("SELECT * FROM epoch ORDER BY volume_id, sequence"):
            with decoding(f"epoch {row['sequence']} of volume {row['volume_id']}"):
                records.append(
                    EpochRecord(
                        volume_id=row["volume_id"],
                        sequence=row["sequence"],
                        row_key=row["row_key"],
                        chunk_bytes=row["chunk_bytes"],
                        data_id=from_signed(row["data_id"]),
                    )
                )
        return tuple(records)
