"""The copy management table 300 (Fig. 3): one row per side and pair that this system holds."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable
from functools import lru_cache

from pyrep.errors import ExistsError, NotFoundError
from pyrep.meta.column import decoding, from_signed, known_hint, to_signed
from pyrep.meta.database import Database
from pyrep.model.ids import PairId, VolumeId
from pyrep.model.lineage import Lineage
from pyrep.model.pair import (
    AckPoint,
    Congestion,
    CopyType,
    Direction,
    FenceLevel,
    PairStatus,
    Primary,
    Protect,
    Row,
    SplitCause,
)

__all__ = ["CopyTable"]

_PUT = """
    INSERT INTO copy_row (
        pair_id, volume_id, copy_type, pair_system_id, mirror_volume_id, is_primary, status, cause,
        direction, target_consistent, group_id, ack, chunk_bytes, row_key, data_id, epoch_start,
        pending_union, congestion, fence_level, protect, overmarked, repaired, current_id,
        common_id, written, id_history, id_age
    ) VALUES (
        :pair_id, :volume_id, :copy_type, :pair_system_id, :mirror_volume_id, :is_primary, :status,
        :cause, :direction, :target_consistent, :group_id, :ack, :chunk_bytes, :row_key, :data_id,
        :epoch_start, :pending_union, :congestion, :fence_level, :protect, :overmarked, :repaired,
        :current_id, :common_id, :written, :id_history, :id_age
    )
    ON CONFLICT (pair_id, volume_id) DO UPDATE SET
        copy_type = excluded.copy_type, pair_system_id = excluded.pair_system_id,
        mirror_volume_id = excluded.mirror_volume_id, is_primary = excluded.is_primary,
        status = excluded.status, cause = excluded.cause, direction = excluded.direction,
        target_consistent = excluded.target_consistent, group_id = excluded.group_id,
        ack = excluded.ack, chunk_bytes = excluded.chunk_bytes, row_key = excluded.row_key,
        data_id = excluded.data_id, epoch_start = excluded.epoch_start,
        pending_union = excluded.pending_union, congestion = excluded.congestion,
        fence_level = excluded.fence_level, protect = excluded.protect,
        overmarked = excluded.overmarked, repaired = excluded.repaired,
        current_id = excluded.current_id, common_id = excluded.common_id,
        written = excluded.written, id_history = excluded.id_history, id_age = excluded.id_age
"""


class CopyTable:
    """The rows of one system, by pair and volume: both rows of a local pair are here.

    Each change is durable on return, or with the transaction it is made in: what must change
    together (both rows of a local pair, INV-2) is written in one.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def insert(self, row: Row) -> None:
        """Add a row.

        Raises:
            ExistsError: the volume has a row of this pair.
        """
        with self._db.transaction():
            if self._find(row.pair_id, row.volume_id):
                raise ExistsError(f"volume {row.volume_id} has a row of pair {row.pair_id} already")
            self._put(row)

    def replace(self, row: Row) -> None:
        """Change the volume's row of this pair.

        Raises:
            NotFoundError: there is none.
        """
        with self._db.transaction():
            self.get(row.pair_id, row.volume_id)
            self._put(row)

    def set_ages(self, rows: Iterable[Row]) -> None:
        """Write the ages of these rows' data identifiers, and nothing else of them, in one."""
        with self._db.transaction():
            for row in rows:
                self._db.write(
                    "UPDATE copy_row SET id_age = ? WHERE pair_id = ? AND volume_id = ?",
                    (row.lineage.age, row.pair_id, row.volume_id),
                )

    def remove(self, pair_id: PairId, volume_id: VolumeId) -> None:
        """Remove the volume's row of this pair: the volume is SIMPLEX for it again.

        Raises:
            NotFoundError: there is none.
        """
        with self._db.transaction():
            self.get(pair_id, volume_id)
            self._db.write(
                "DELETE FROM copy_row WHERE pair_id = ? AND volume_id = ?", (pair_id, volume_id)
            )

    def get(self, pair_id: PairId, volume_id: VolumeId | None = None) -> Row:
        """Return the volume's row of this pair; without a volume, this system's side of the pair.

        Of a local pair both sides are this system's: without a volume it is the PVOL's row.

        Raises:
            NotFoundError: there is none; the hint names the pairs there are.
        """
        if volume_id is None:
            rows = self.pair_rows(pair_id)
        else:
            rows = tuple(_decode(row) for row in self._find(pair_id, volume_id))
        if not rows:
            side = "" if volume_id is None else f" at volume {volume_id}"
            ids = {row.pair_id for row in self.rows()}
            raise NotFoundError(f"no pair {pair_id}{side}", hint=known_hint("pair", ids))
        return rows[0]

    def rows(self) -> tuple[Row, ...]:
        """Return all rows, by pair; the PVOL's row of a local pair first."""
        found = self._db.read("SELECT * FROM copy_row ORDER BY pair_id, is_primary DESC")
        return tuple(_decode(row) for row in found)

    def rows_of(self, volume_id: VolumeId) -> tuple[Row, ...]:
        """Return the rows of one volume, by pair; none if it is SIMPLEX."""
        found = self._db.read(
            "SELECT * FROM copy_row WHERE volume_id = ? ORDER BY pair_id", (volume_id,)
        )
        return tuple(_decode(row) for row in found)

    def pair_rows(self, pair_id: PairId) -> tuple[Row, ...]:
        """Return this system's rows of one pair: two of a local pair (PVOL's first), else one."""
        found = self._db.read(
            "SELECT * FROM copy_row WHERE pair_id = ? ORDER BY is_primary DESC", (pair_id,)
        )
        return tuple(_decode(row) for row in found)

    def next_pair_number(self) -> int:
        """Return the next number for a pair id, from 1; never the same twice, also after a crash.

        A number isn't used again when its pair is dissolved: the other system may still know it.
        """
        with self._db.transaction():
            self._db.write("INSERT OR IGNORE INTO counter VALUES ('pair', 0)")
            self._db.write("UPDATE counter SET value = value + 1 WHERE name = 'pair'")
            return int(self._db.read("SELECT value FROM counter WHERE name = 'pair'")[0][0])

    def _find(self, pair_id: PairId, volume_id: VolumeId) -> list[sqlite3.Row]:
        return self._db.read(
            "SELECT * FROM copy_row WHERE pair_id = ? AND volume_id = ?", (pair_id, volume_id)
        )

    def _put(self, row: Row) -> None:
        self._db.write(
            _PUT,
            {
                "pair_id": row.pair_id,
                "volume_id": row.volume_id,
                "copy_type": row.copy_type.value,
                "pair_system_id": row.pair_system_id,
                "mirror_volume_id": row.mirror_volume_id,
                "is_primary": row.primary.value,
                "status": row.status.value,
                "cause": row.cause and row.cause.value,
                "direction": row.direction.value,
                "target_consistent": row.target_consistent,
                "group_id": row.group_id,
                "ack": row.ack and row.ack.value,
                "chunk_bytes": row.chunk_bytes,
                "row_key": row.row_key,
                "data_id": to_signed(row.data_id),
                "epoch_start": row.epoch_start,
                "pending_union": row.pending_union,
                "congestion": row.congestion.value,
                "fence_level": row.fence_level.value,
                "protect": row.protect.value,
                "overmarked": row.overmarked,
                "repaired": row.repaired,
                "current_id": to_signed(row.lineage.current),
                "common_id": to_signed(row.lineage.common),
                "written": row.lineage.written,
                "id_history": struct.pack(f"<{len(row.lineage.history)}Q", *row.lineage.history),
                "id_age": row.lineage.age,
            },
        )


@lru_cache(maxsize=1024)  # a table is read far more often than it changes; rows are frozen
def _decode(row: sqlite3.Row) -> Row:
    with decoding(f"pair {row['pair_id']} at volume {row['volume_id']}"):
        return Row(
            pair_id=row["pair_id"],
            copy_type=CopyType(row["copy_type"]),
            volume_id=row["volume_id"],
            pair_system_id=row["pair_system_id"],
            mirror_volume_id=row["mirror_volume_id"],
            primary=Primary(row["is_primary"]),
            status=PairStatus(row["status"]),
            cause=None if row["cause"] is None else SplitCause(row["cause"]),
            direction=Direction(row["direction"]),
            target_consistent=bool(row["target_consistent"]),
            group_id=row["group_id"],
            ack=None if row["ack"] is None else AckPoint(row["ack"]),
            chunk_bytes=row["chunk_bytes"],
            row_key=row["row_key"],
            data_id=from_signed(row["data_id"]),
            epoch_start=row["epoch_start"],
            pending_union=bool(row["pending_union"]),
            congestion=Congestion(row["congestion"]),
            fence_level=FenceLevel(row["fence_level"]),
            protect=Protect(row["protect"]),
            overmarked=bool(row["overmarked"]),
            repaired=bool(row["repaired"]),
            lineage=_decode_lineage(row),
        )


def _decode_lineage(row: sqlite3.Row) -> Lineage:
    packed = row["id_history"]
    if len(packed) % 8:
        raise ValueError(f"a history of {len(packed)} bytes")
    return Lineage(
        current=from_signed(row["current_id"]),
        common=from_signed(row["common_id"]),
        written=bool(row["written"]),
        history=struct.unpack(f"<{len(packed) // 8}Q", packed),
        age=row["id_age"],
    )
