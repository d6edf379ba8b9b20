"""The intervals of a volume's shared marks: which are saved, and where.

A row that shares marks has those from its split on. Closed intervals don't change any more but by
what the one after them leaves, and are saved once each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyrep.engine.livevolume import LiveVolume
from pyrep.engine.store import BitmapStore, new_data_id
from pyrep.meta import EpochRecord
from pyrep.model import new_key

__all__ = ["forget_intervals", "record_intervals"]


def record_intervals(live: LiveVolume, store: BitmapStore, chunk_bytes: int) -> list[EpochRecord]:
    """Save what is closed and isn't saved yet; return the records of all intervals.

    The last one needs no file: after a crash it is what a row that begins there has pending, or
    more.
    """
    found = live.core.epochs()
    records = []
    for index, (sequence, marks) in enumerate(found):
        following = found[index + 1][0] if index + 1 < len(found) else 0
        known = live.intervals.get(sequence)
        if following and known is not None and known[1] == following:
            records.append(known[0])
            continue
        record = EpochRecord(
            volume_id=live.record.volume_id,
            sequence=sequence,
            row_key=new_key(),
            chunk_bytes=chunk_bytes,
            data_id=new_data_id() if following else 0,
        )
        if following:
            store.save_epoch(record, live.record.key, live.record.size_bytes, marks)
            live.intervals[sequence] = record, following
        records.append(record)
    return records


def forget_intervals(
    live: LiveVolume, store: BitmapStore, records: Sequence[EpochRecord]
) -> list[Path]:
    """Forget the intervals that no row begins in or before any more; return their files."""
    gone = live.intervals.keys() - {one.sequence for one in records}
    return [store.path_of(live.intervals.pop(one)[0].row_key) for one in gone]
