"""What rows had pending when the system ended: their files, and what the activity logs add."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pyrep._core import Alog, Bitmap, BitmapFile
from pyrep.engine.activity import close_log
from pyrep.engine.options import BadBitmap
from pyrep.engine.state import SystemState
from pyrep.errors import BitmapFileError
from pyrep.meta import EpochRecord
from pyrep.model import Row, VolumeId, chunk_count

__all__ = ["Found", "Logs", "RowKey", "find_epochs", "find_rows", "lost_marks"]

_log = logging.getLogger(__name__)

RowKey = tuple[str, VolumeId]

_PUT_BACK = (
    'put the right file back; or look with "pyrep system check", and let "pyrep system repair" '
    "split the pair with all of it pending; or open with the option bad_bitmap = "
    '"all_pending" (below [engine] in the configuration), which copies all of the pair'
)


@dataclass(slots=True)
class Found:
    """A row's file, and the bits that were found in it and in the volume's log.

    `all_pending`: they aren't known; `unclean`: the row wasn't closed; `grown`: more than its file
    has.
    """

    file: BitmapFile
    bits: Bitmap
    all_pending: bool
    unclean: bool
    grown: bool = False


class Logs:
    """The activity logs as the last run left them, read when a row asks."""

    def __init__(self, state: SystemState) -> None:
        self._state = state
        self._read: dict[VolumeId, Alog | None] = {}

    def of(self, volume_id: VolumeId) -> Alog | None:
        """Return a volume's log; None: there is none that can be used."""
        if volume_id not in self._read:
            record = self._state.live[volume_id].record
            self._read[volume_id] = self._state.logs.try_read(record)
        return self._read[volume_id]

    def refuse_newer(self) -> None:
        """Read the logs of all volumes with rows, those too that no row asks. Nothing has changed.

        Raises:
            FormatError: one was written by a newer pyrep; it would be made anew.
        """
        for volume_id in {row.volume_id for row in self._state.table.rows()}:
            if self._exists(volume_id):
                self.of(volume_id)

    def _exists(self, volume_id: VolumeId) -> bool:
        return self._state.logs.path_of(self._state.live[volume_id].record.key).exists()

    def taken(self, volume_id: VolumeId) -> Alog | None:
        """Return a volume's log, if it can be used, and leave it to the caller."""
        found = self.of(volume_id) if self._exists(volume_id) else None
        self._read[volume_id] = None
        return found

    def close(self) -> None:
        """Free what nobody took."""
        for one in self._read.values():
            if one is not None:
                close_log(one)
        self._read.clear()


def find_rows(state: SystemState, changed: set[VolumeId], logs: Logs) -> dict[RowKey, Found]:
    """Read every row's file, and what its volume's log adds. Nothing durable has changed.

    Args:
        changed: volumes whose content may be another than at the last clean close.

    Raises:
        BitmapFileError: a file can't be used, and the options say to refuse that.
    """
    loaded: dict[RowKey, Found] = {}
    try:
        for row in state.table.rows():
            loaded[row.pair_id, row.volume_id] = _find_row(state, row, changed, logs)
    except BaseException:
        for one in loaded.values():
            one.file.close()
        raise
    return loaded


def _find_row(state: SystemState, row: Row, changed: set[VolumeId], logs: Logs) -> Found:
    live = state.live[row.volume_id]
    size = live.record.size_bytes
    bits = Bitmap(chunk_count(size, row.chunk_bytes))
    here = {row.volume_id} if row.is_remote else {row.volume_id, row.mirror_volume_id}
    all_pending = bool(changed & here)
    unclean = False
    file = None
    try:
        file = state.store.open(row, live.record.key, size)
        if file.marked_open:
            all_pending = unclean = True
        elif file.marked_logged:
            unclean = True
            all_pending |= not _replay(file, row, logs.of(row.volume_id), bits)
        else:
            file.load(bits)
    except BitmapFileError as error:
        if file is not None:
            file.close()
        # The power went while a header was written, in two halves: what it was isn't known.
        torn = error.is_torn and not state.record.clean
        if state.options.bad_bitmap is BadBitmap.REFUSE and not torn:
            raise BitmapFileError(
                f"{error}; pair {row.pair_id}, volume {row.volume_id}",
                hint=_PUT_BACK,
            ) from error
        state.store.remove(row.row_key)
        file = state.store.create(row, live.record.key, size)
        all_pending, unclean = True, not state.record.clean
    return Found(file, bits, all_pending, unclean)


def _replay(file: BitmapFile, row: Row, log: Alog | None, bits: Bitmap) -> bool:
    """Put a row's bits together from its pages and the log; False: the log says nothing."""
    if log is None:
        return False
    try:
        file.load(bits)
    except BitmapFileError as error:  # what a torn page covered is set
        if error.is_unreadable:
            raise
        _log.warning("pair.torn pair=%s volume=%s: %s", row.pair_id, row.volume_id, error)
    log.replay(row.row_key, row.chunk_bytes, bits)
    _log.info(
        "pair.replayed pair=%s volume=%s pending=%d hot_regions=%d",
        row.pair_id,
        row.volume_id,
        bits.count(),
        log.past_hot,
    )
    return True


def lost_marks(
    state: SystemState, loaded: dict[RowKey, Found], changed: set[VolumeId]
) -> set[VolumeId]:
    """Return the source volumes that may have been written to since their marks were saved.

    All of their rows are pending anyway. A single row whose bitmap file is bad isn't meant: its
    siblings' marks are whole.
    """
    local = [row for row in state.table.rows() if row.is_primary and not row.is_remote]
    return {
        row.volume_id
        for row in local
        if row.volume_id in changed or _is_lost(loaded[row.pair_id, row.volume_id])
    }


def _is_lost(one: Found) -> bool:
    return one.unclean and one.all_pending


def _running_marks(
    state: SystemState, loaded: dict[RowKey, Found], record: EpochRecord
) -> Bitmap | None:
    """Return the marks of the interval that was running when the system ended unclean.

    They had no file. What a row has pending holds them, and little else, if it begins there. After
    a repair no row may be unclean any more, and there is no file all the same.
    None: it was closed cleanly.
    """
    rows = [one for one in state.table.rows_of(record.volume_id) if one.epoch_start]
    unclean = any(loaded[one.pair_id, one.volume_id].unclean for one in rows)
    if state.record.clean and not unclean:
        return None
    rows = [one for one in rows if one.epoch_start <= record.sequence]
    bits = Bitmap(chunk_count(state.live[record.volume_id].record.size_bytes, record.chunk_bytes))
    if rows:
        nearest = max(rows, key=lambda one: one.epoch_start)
        bits.update(loaded[nearest.pair_id, nearest.volume_id].bits)
    else:
        bits.fill()
    return bits


def find_epochs(
    state: SystemState, loaded: dict[RowKey, Found], lost: set[VolumeId]
) -> list[tuple[EpochRecord, Bitmap]]:
    """Load the shared marks; a volume whose marks can't be used has all of its rows pending.

    An interval whose marks aren't known has all bits: the newest of a volume in `lost`, which took
    marks since it was saved, and one whose file can't be read.
    """
    epochs = []
    # Those of a pair whose dissolution a crash has interrupted are nobody's.
    owned = {row.volume_id for row in state.table.rows() if row.epoch_start}
    records = [one for one in state.epochs.all() if one.volume_id in owned]
    newest = {record.volume_id: record.sequence for record in records}  # ascending
    for record in records:
        live = state.live[record.volume_id]
        is_newest = record.sequence == newest[record.volume_id]
        running = _running_marks(state, loaded, record) if is_newest else None
        if running is not None:
            if record.volume_id in lost:
                running.fill()
            # Perhaps more than these rows had. They have it from now on: so do their pages, INV-2.
            for one in state.table.rows_of(record.volume_id):
                if one.epoch_start and one.epoch_start <= record.sequence:
                    found = loaded[one.pair_id, one.volume_id]
                    found.bits.update(running)
                    found.grown = True  # its own file may be closed already: the end was amid it
            epochs.append((record, running))
            continue
        bits = Bitmap(chunk_count(live.record.size_bytes, record.chunk_bytes))
        try:
            state.store.load_epoch(record, live.record.key, live.record.size_bytes, bits)
        except BitmapFileError as error:
            rows = state.table.rows_of(record.volume_id)
            sharing = [one for one in rows if one.epoch_start]
            unclean = all(loaded[one.pair_id, one.volume_id].all_pending for one in sharing)
            if not unclean and state.options.bad_bitmap is BadBitmap.REFUSE:
                raise BitmapFileError(
                    f"{error}; marks of volume {record.volume_id}",
                    hint=_PUT_BACK,
                ) from error
            for one in sharing:
                loaded[one.pair_id, one.volume_id].all_pending = True
            bits.fill()
        if record.volume_id in lost and record.sequence == newest[record.volume_id]:
            bits.fill()
        epochs.append((record, bits))
    return epochs
