"""Digest records: which file holds the digests of a generation's volume, and how far they are."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep.meta.column import decoding
from pyrep.meta.database import Database
from pyrep.model.ids import GenerationId, VolumeId, check_key

__all__ = ["DigestRecord", "DigestTable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestRecord:
    """The digests of one volume of a generation.

    Attributes:
        generation_id: the generation.
        source: its member, by the source volume's id at home.
        file_key: 16 random bytes that name the digest file and stand in its header.
        done_spans: spans digested so far, from the first on; less than all while it isn't finished.
    """

    generation_id: GenerationId
    source: VolumeId
    file_key: bytes
    done_spans: int

    def __post_init__(self) -> None:
        check_key("digest file", self.file_key)


class DigestTable:
    """The digest records of one system; they go with their generation's row."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, record: DigestRecord) -> None:
        """Add or replace a record of a generation; durable on return or with its transaction."""
        self._db.write(
            """
            INSERT INTO digest (generation_id, source, file_key, done_spans) VALUES (?, ?, ?, ?)
            ON CONFLICT (generation_id, source) DO UPDATE SET
                file_key = excluded.file_key, done_spans = excluded.done_spans
            """,
            (record.generation_id, record.source, record.file_key, record.done_spans),
        )

    def find(self, generation_id: GenerationId, source: VolumeId) -> DigestRecord | None:
        """Return a volume's record, if there is one."""
        for one in self.all():
            if (one.generation_id, one.source) == (generation_id, source):
                return one
        return None

    def remove(self, generation_id: GenerationId) -> None:
        """Forget a generation's records; nothing happens if there are none."""
        self._db.write("DELETE FROM digest WHERE generation_id = ?", (generation_id,))

    def all(self) -> tuple[DigestRecord, ...]:
        """Return all records, by generation and source."""
        records = []
        for row in self._db.read("SELECT * FROM digest ORDER BY generation_id, source"):
            with decoding(f"the digests of generation {row['generation_id']}"):
                records.append(
                    DigestRecord(
                        generation_id=row["generation_id"],
                        source=row["source"],
                        file_key=row["file_key"],
                        done_spans=row["done_spans"],
                    )
                )
        return tuple(records)
