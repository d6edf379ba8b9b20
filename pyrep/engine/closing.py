"""The clean close of a system: what it keeps, and in which order that becomes durable.

The volumes first, then pages, then the table with the new data identifiers, then the headers
without the marks, then "clean". A stop anywhere leaves what the next open recovers.
"""

from __future__ import annotations

from dataclasses import replace

from pyrep.engine.backing import identity_of
from pyrep.engine.state import SystemState
from pyrep.engine.store import new_data_id
from pyrep.meta import EpochRecord
from pyrep.model import new_key

__all__ = ["close_rows"]


def close_rows(state: SystemState) -> None:
    """Write everything that a clean close keeps. Nobody writes, and nothing is copied.

    Raises:
        DeviceError: a page or the table couldn't be written; the open marks stay.
    """
    data_id = new_data_id()
    for live in state.live.values():
        # First: a bitmap that says less than all is of use only beside what it is about.
        live.core.flush(ack_timeout_s=0)
    for mirror in state.mirrors.values():
        mirror.file.save(mirror.pending())
    records = _save_epochs(state, data_id)
    with state.db.transaction():
        for mirror in state.mirrors.values():
            start = mirror.link.info().epoch_start
            mirror.row = replace(mirror.row, data_id=data_id, epoch_start=start)
            state.table.replace(mirror.row)
        for volume_id in state.live:
            mine = [one for one in records if one.volume_id == volume_id]
            state.epochs.replace_all(volume_id, mine)
    for mirror in state.mirrors.values():
        mirror.file.mark_closed(data_id)
    _note_clean(state)


def _save_epochs(state: SystemState, data_id: int) -> list[EpochRecord]:
    records = []
    for volume_id, live in state.live.items():
        sharing = state.local_svol_mirrors(volume_id)
        for sequence, marks in live.core.epochs() if sharing else []:
            record = EpochRecord(
                volume_id=volume_id,
                sequence=sequence,
                row_key=new_key(),
                chunk_bytes=sharing[0].row.chunk_bytes,
                data_id=data_id,
            )
            state.store.save_epoch(record, live.record.key, live.record.size_bytes, marks)
            records.append(record)
    return records


def _note_clean(state: SystemState) -> None:
    with state.db.transaction():
        for live in state.live.values():
            live.record = replace(live.record, identity=identity_of(live.file))
            state.volumes.replace(live.record)
        state.record = replace(state.record, clean=True)
        state.system.set(state.record)
