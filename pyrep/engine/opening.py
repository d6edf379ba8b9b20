"""Opening and closing a system: what is checked, what an unclean end means, what becomes durable.

Order at open: everything is read and checked before anything changes; then statuses that an unclean
end changes, and the system's own "not clean"; then the pages of rows that weren't closed, with what
the activity logs said of them; then the logs begin anew, then the other rows get the log mark; then
links, fences and copies. Order at close: the volumes, then pages, then the table with the new data
identifiers, then the headers without the marks, then "clean". A stop anywhere leaves what the next
open recovers in the same way. docs/recovery.md tells what that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pyrep._core import Alog, Bitmap, BitmapFile, LinkCore, VolumeCore
from pyrep.engine.activity import close_log, keep_row, try_begin
from pyrep.engine.backing import identity_of, open_backing, recognise, refused
from pyrep.engine.generations import GENERATION_PIN_VIEW
from pyrep.engine.mirror import Mirror
from pyrep.engine.options import BadBitmap, ChangedBacking
from pyrep.engine.roles import guard_of
from pyrep.engine.state import LiveVolume, SystemState, identified
from pyrep.engine.store import new_data_id, remove_files
from pyrep.errors import BackingChangedError, BitmapFileError, InUseError, NotFoundError
from pyrep.meta import EpochRecord, VolumeRecord
from pyrep.model import (
    Direction,
    GenerationState,
    PairStatus,
    Row,
    SplitCause,
    VolumeId,
    WorkflowState,
    chunk_count,
    new_key,
)

__all__ = ["close_rows", "lock_directory", "open_rows", "open_volume"]

_log = logging.getLogger(__name__)

_Key = tuple[str, VolumeId]


def lock_directory(directory: Path) -> int:
    """Take the system's lock; return its descriptor.

    Raises:
        InUseError: another process, or this one, has the system open.
    """
    path = directory / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise refused(f"open {path}", error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise InUseError(
            f"cannot open system {directory}: it is open already",
            hint="close it there first; only one process may have a system open",
        ) from error
    return handle


def open_volume(state: SystemState, record: VolumeRecord) -> LiveVolume:
    """Open and lock one volume in a tree of its own. Nothing durable changes."""
    path = state.directory / record.path
    try:
        file = open_backing(path, record.size_bytes)
    except NotFoundError as error:
        raise BackingChangedError(
            f"cannot open volume {record.volume_id}: {path} is missing",
            hint="put the file back",
        ) from error
    with contextlib.ExitStack() as undo:
        undo.callback(file.close)
        io = state.options.storage(record.volume_id, file)
        if io is not file:
            undo.callback(io.close)
        core = VolumeCore(io, state.trees.plant(), name=record.volume_id, wake=state.wake)
        undo.pop_all()
    state.trees.add(core)
    core.note_first = lambda: state.note_written(record.volume_id)
    return LiveVolume(record, file, io, core)


@dataclass(slots=True)
class _Loaded:
    """A row's file, and the bits that were found in it and in the volume's log.

    `all_pending`: they aren't known; `unclean`: the row wasn't closed.
    """

    file: BitmapFile
    bits: Bitmap
    all_pending: bool
    unclean: bool


def open_rows(state: SystemState) -> None:
    """Open everything that the tables name.

    Raises:
        BackingChangedError, BitmapFileError, InUseError: nothing durable has changed.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(_close_all, state)
        changed = _open_volumes(state)
        logs = _Logs(state)
        undo.callback(logs.close)
        loaded = _load_files(state, changed, logs)
        for one in loaded.values():
            undo.callback(one.file.close)
        lost = _lost_marks(state, loaded, changed)
        epochs = _load_epochs(state, loaded, lost)
        state.catalogue.clear_pins(GENERATION_PIN_VIEW)
        _note_end(state, loaded, changed)
        _save_found(loaded)
        for row in state.table.rows():
            _open_mirror(state, row, loaded[row.pair_id, row.volume_id])
        _begin_logs(state, loaded, logs)
        _unite_copies(state, loaded)
        _set_modes(state, epochs, loaded)
        for volume_id in lost:
            _fill_newest(state, volume_id)
        kept = {row.row_key for row in state.table.rows()}
        # Closed intervals stay: they say what two generations differ in after an unclean end, too.
        strays = state.store.strays(kept | {one.row_key for one in state.epochs.all()})
        state.refence(list(state.live))
        undo.pop_all()
    # Of a large volume one is scattered over 256 MiB: deleting it takes longer than opening.
    if strays:
        state.background("remove marks", lambda: remove_files(strays))


class _Logs:
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

    def taken(self, volume_id: VolumeId) -> Alog | None:
        """Return a volume's log, if it can be used, and leave it to the caller."""
        exists = self._state.logs.path_of(self._state.live[volume_id].record.key).exists()
        found = self.of(volume_id) if exists else None
        self._read[volume_id] = None
        return found

    def close(self) -> None:
        """Free what nobody took."""
        for one in self._read.values():
            if one is not None:
                close_log(one)
        self._read.clear()


def _save_found(loaded: dict[_Key, _Loaded]) -> None:
    """Write down what was found in logs, and what is to be all pending: the logs begin anew."""
    for one in loaded.values():
        if one.all_pending:
            one.file.mark_open()
        elif one.unclean:
            one.file.save(one.bits)


def _begin_logs(state: SystemState, loaded: dict[_Key, _Loaded], logs: _Logs) -> None:
    """Let the logs begin, and set the log mark of rows whose pages are right."""
    volumes = dict.fromkeys(row.volume_id for row in state.table.rows())
    working = {one: try_begin(state, state.live[one], logs.taken(one)) for one in volumes}
    for mirror in state.mirrors.values():
        found = loaded[mirror.key]
        keep_row(state, mirror)
        if not working[mirror.row.volume_id]:
            mirror.file.mark_open()
        elif found.all_pending:
            mirror.save()
        else:
            mirror.file.mark_logged()


def _unite_copies(state: SystemState, loaded: dict[_Key, _Loaded]) -> None:
    """Put the union of an interrupted local copy together again: the crash may have been before."""
    for mirror in state.mirrors.values():
        row = mirror.row
        if row.is_remote or row.status is not PairStatus.COPY or not row.is_source:
            continue
        other = row.pair_id, row.mirror_volume_id
        if loaded[mirror.key].unclean or loaded[other].unclean:
            mirror.link.pending.update(loaded[other].bits)


def _close_all(state: SystemState) -> None:
    for mirror in state.mirrors.values():
        mirror.link.close()
    state.mirrors.clear()
    for live in state.live.values():
        live.close()
    state.live.clear()
    state.trees.close()


def _open_volumes(state: SystemState) -> set[VolumeId]:
    """Open all volumes; return those whose content may be another than at the last clean close."""
    changed = set()
    for record in state.volumes.all():
        live = state.live[record.volume_id] = open_volume(state, record)
        why = recognise(record, live.file, closed_cleanly=state.record.clean)
        if not why:
            continue
        if state.options.changed_backing is ChangedBacking.REFUSE:
            raise BackingChangedError(
                f"cannot open volume {record.volume_id} on {live.file.name}: {why}",
                hint="open with changed_backing=ChangedBacking.ALL_PENDING to copy all of it, or "
                "ASSUME_UNCHANGED if you know that its content is the same",
            )
        if state.options.changed_backing is ChangedBacking.ALL_PENDING:
            changed.add(record.volume_id)
    return changed


def _load_files(state: SystemState, changed: set[VolumeId], logs: _Logs) -> dict[_Key, _Loaded]:
    loaded: dict[_Key, _Loaded] = {}
    try:
        for row in state.table.rows():
            loaded[row.pair_id, row.volume_id] = _load_file(state, row, changed, logs)
    except BaseException:
        for one in loaded.values():
            one.file.close()
        raise
    return loaded


def _load_file(state: SystemState, row: Row, changed: set[VolumeId], logs: _Logs) -> _Loaded:
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
                hint="put the right file back, or open with bad_bitmap=BadBitmap.ALL_PENDING to "
                "copy all of the pair",
            ) from error
        state.store.remove(row.row_key)
        file = state.store.create(row, live.record.key, size)
        all_pending, unclean = True, not state.record.clean
    return _Loaded(file, bits, all_pending, unclean)


def _replay(file: BitmapFile, row: Row, log: Alog | None, bits: Bitmap) -> bool:
    """Put a row's bits together from its pages and the log; False: the log says nothing."""
    if log is None:
        return False
    try:
        file.load(bits)
    except BitmapFileError as error:  # what a torn page covered is set
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


def _lost_marks(
    state: SystemState, loaded: dict[_Key, _Loaded], changed: set[VolumeId]
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


def _is_lost(one: _Loaded) -> bool:
    return one.unclean and one.all_pending


def _running_marks(
    state: SystemState, loaded: dict[_Key, _Loaded], record: EpochRecord
) -> Bitmap | None:
    """Return the marks of the interval that was running when the system ended unclean.

    They had no file. What a row has pending holds them, and little else, if it begins there.
    None: it was closed cleanly.
    """
    rows = [one for one in state.table.rows_of(record.volume_id) if one.epoch_start]
    if not any(loaded[one.pair_id, one.volume_id].unclean for one in rows):
        return None
    rows = [one for one in rows if one.epoch_start <= record.sequence]
    bits = Bitmap(chunk_count(state.live[record.volume_id].record.size_bytes, record.chunk_bytes))
    if rows:
        nearest = max(rows, key=lambda one: one.epoch_start)
        bits.update(loaded[nearest.pair_id, nearest.volume_id].bits)
    else:
        bits.fill()
    return bits


def _load_epochs(
    state: SystemState, loaded: dict[_Key, _Loaded], lost: set[VolumeId]
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
                    hint="put the right file back, or open with bad_bitmap=BadBitmap.ALL_PENDING",
                ) from error
            for one in sharing:
                loaded[one.pair_id, one.volume_id].all_pending = True
            bits.fill()
        if record.volume_id in lost and record.sequence == newest[record.volume_id]:
            bits.fill()
        epochs.append((record, bits))
    return epochs


def _note_end(state: SystemState, loaded: dict[_Key, _Loaded], changed: set[VolumeId]) -> None:
    """Make durable what the last end did to statuses, and that this run isn't closed yet.

    A generation that was being taken has failed; so has one whose SVOL's file was changed.
    """
    rows = state.table.rows()
    found = {row: loaded[row.pair_id, row.volume_id] for row in rows}
    unclean = {row.pair_id for row, one in found.items() if one.all_pending or one.unclean}
    with state.db.transaction():
        for row in rows:
            new = identified(row, _after_end(row, unclean=row.pair_id in unclean))
            if new != row:
                _log.info("pair.reopened pair=%s from=%s to=%s", row.pair_id, row, new)
                state.table.replace(new)
        for generation in state.catalogue.all():
            if generation.home == state.system_id and (
                generation.state is GenerationState.TAKING
                or (generation.is_complete and changed & {one.svol for one in generation.members})
            ):
                state.catalogue.replace(replace(generation, state=GenerationState.FAILED))
        for workflow in state.journal.all():
            if workflow.state is WorkflowState.RUNNING:
                state.journal.update(
                    workflow.workflow_id,
                    state=WorkflowState.STOPPED,
                    error="the system was closed while it ran",
                )
        state.record = replace(state.record, clean=False)
        state.system.set(state.record)


def _after_end(row: Row, *, unclean: bool) -> Row:
    """Return the row as it is after the last end (architecture section 3).

    DUPLEX becomes SPLIT/unclean, its target inconsistent if its own system ended so; a remote pair
    waits for the path in any case. COPY stays in its direction, SPLIT keeps its cause.
    """
    torn = row.status is PairStatus.COPY and unclean and row.is_remote and not row.is_source
    if torn and row.direction is Direction.FORWARD:
        # A PVOL that is said to be whole was made durable before that was written down: a crash
        # of both systems at the end of a copy back must leave one of them whole.
        return replace(row, target_consistent=False)  # the last records in order may be torn
    if row.status is not PairStatus.DUPLEX:
        return row
    if unclean:
        target_here = not (row.is_remote and row.is_primary)
        return replace(
            row,
            status=PairStatus.SPLIT,
            cause=SplitCause.UNCLEAN,
            target_consistent=row.target_consistent and not target_here,
        )
    if row.is_remote:
        return replace(row, status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST)
    return row


def _open_mirror(state: SystemState, row: Row, loaded: _Loaded) -> None:
    live = state.live[row.volume_id]
    shares = row.is_primary and not row.is_remote
    link = LinkCore(live.core, chunk_bytes=row.chunk_bytes, shares_marks=shares)
    link.pending.update(loaded.bits)
    overmarked = loaded.unclean or loaded.all_pending
    mirror = Mirror(row, link, loaded.file, overmarked=overmarked)
    if loaded.all_pending:
        mirror.mark_all()
    state.mirrors[mirror.key] = mirror
    if not row.is_remote and not row.is_primary:
        source = state.live[row.mirror_volume_id]
        state.trees.join(source.core, live.core)


def _set_modes(
    state: SystemState,
    epochs: list[tuple[EpochRecord, Bitmap]],
    loaded: dict[_Key, _Loaded],
) -> None:
    """Give every link its work. Rows with shared marks first: other changes drop unowned marks."""
    for record, bits in epochs:
        core = state.live[record.volume_id].core
        core.push_epoch(record.chunk_bytes, record.sequence)
        dict(core.epochs())[record.sequence].update(bits)
    for (record, _), (following, _) in itertools.pairwise(epochs):
        if record.volume_id == following.volume_id and record.data_id:
            known = record, following.sequence
            state.live[record.volume_id].intervals[record.sequence] = known
    first = [one for one in state.mirrors.values() if one.row.epoch_start]
    for mirror in first:
        mirror.link.mark_from(mirror.row.epoch_start)
    for mirror in state.mirrors.values():
        if mirror in first:
            continue
        row = mirror.row
        if row.is_remote:
            _set_remote_mode(mirror)
        elif row.status is PairStatus.SPLIT:
            mirror.link.mark()
            if row.is_primary and loaded[mirror.key].all_pending:
                _fill_newest(state, row.volume_id)
        elif row.is_source and row.status is PairStatus.DUPLEX:
            other = state.mirrors[row.pair_id, row.mirror_volume_id]
            mirror.link.forward(other.link)
        elif row.is_source:
            mirror.link.mark()  # until its copy goes on


def _fill_newest(state: SystemState, volume_id: VolumeId) -> None:
    """Mark everything in a volume's newest interval; the next row to mark then begins another.

    What was marked between this row's split and now isn't known: it was split in a run that ended
    unclean. Without this such rows would share an interval as if they had been split together.
    """
    for _, marks in state.live[volume_id].core.epochs()[-1:]:
        marks.fill()


def _set_remote_mode(mirror: Mirror) -> None:
    """Without a path a row marks; but a copy's target stays idle (it takes no host write)."""
    row = mirror.row
    if row.is_source or row.status is PairStatus.SPLIT:
        mirror.link.mark()
    mirror.link.guard(on=guard_of(row) is not False)


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


def copies_to_resume(state: SystemState) -> Iterator[Mirror]:
    """Yield the PVOL rows of local pairs that go on by themselves after an open."""
    for mirror in list(state.mirrors.values()):
        row = mirror.row
        if row.is_remote or not row.is_primary:
            continue
        unclean = row.cause is SplitCause.UNCLEAN
        if row.status is PairStatus.COPY or (unclean and row.direction is Direction.FORWARD):
            yield mirror
