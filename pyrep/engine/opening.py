"""Opening and closing a system: what is checked, what an unclean end means, what becomes durable.

Order at open: everything is checked before anything changes; then statuses that an unclean end
changes, and the system's own "not clean"; then the open mark of every bitmap file; then links,
fences and copies. Order at close: the volumes, then pages, then the table with the new data
identifiers, then the headers without the mark, then "clean". A stop anywhere leaves marks set: all
bits pending.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pyrep._core import Bitmap, BitmapFile, LinkCore, VolumeCore
from pyrep.engine.backing import identity_of, open_backing, recognise, refused
from pyrep.engine.generations import GENERATION_PIN_VIEW
from pyrep.engine.mirror import Mirror
from pyrep.engine.options import BadBitmap, ChangedBacking
from pyrep.engine.roles import guard_of
from pyrep.engine.state import LiveVolume, SystemState
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
    return LiveVolume(record, file, io, core)


@dataclass(slots=True)
class _Loaded:
    """A row's file, and the bits that were found in it; `unclean`: it was written to since."""

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
        loaded = _load_files(state, changed)
        for one in loaded.values():
            undo.callback(one.file.close)
        lost = _lost_marks(state, loaded, changed)
        epochs = _load_epochs(state, loaded, lost)
        state.catalogue.clear_pins(GENERATION_PIN_VIEW)
        _note_end(state, loaded, changed)
        for one in loaded.values():
            one.file.mark_open()
        for row in state.table.rows():
            _open_mirror(state, row, loaded[row.pair_id, row.volume_id])
        _set_modes(state, epochs)
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


def _load_files(state: SystemState, changed: set[VolumeId]) -> dict[_Key, _Loaded]:
    loaded: dict[_Key, _Loaded] = {}
    try:
        for row in state.table.rows():
            loaded[row.pair_id, row.volume_id] = _load_file(state, row, changed)
    except BaseException:
        for one in loaded.values():
            one.file.close()
        raise
    return loaded


def _load_file(state: SystemState, row: Row, changed: set[VolumeId]) -> _Loaded:
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
        if row.volume_id in changed or loaded[row.pair_id, row.volume_id].unclean
    }


def _load_epochs(
    state: SystemState, loaded: dict[_Key, _Loaded], lost: set[VolumeId]
) -> list[tuple[EpochRecord, Bitmap]]:
    """Load the shared marks; a volume whose marks can't be used has all of its rows pending.

    An interval whose marks aren't known has all bits: the newest of a volume in `lost`, which took
    marks since it was saved, and one whose file can't be read.
    """
    epochs = []
    records = state.epochs.all()
    newest = {record.volume_id: record.sequence for record in records}  # ascending
    for record in records:
        live = state.live[record.volume_id]
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
    unclean = {row.pair_id for row in rows if loaded[row.pair_id, row.volume_id].all_pending}
    with state.db.transaction():
        for row in rows:
            new = _after_end(row, unclean=row.pair_id in unclean)
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
    if row.status is PairStatus.COPY and unclean and row.is_remote and not row.is_source:
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
    mirror = Mirror(row, link, loaded.file)
    if loaded.all_pending:
        mirror.mark_all()
    state.mirrors[mirror.key] = mirror
    if not row.is_remote and not row.is_primary:
        source = state.live[row.mirror_volume_id]
        state.trees.join(source.core, live.core)


def _set_modes(state: SystemState, epochs: list[tuple[EpochRecord, Bitmap]]) -> None:
    """Give every link its work. Rows with shared marks first: other changes drop unowned marks."""
    for record, bits in epochs:
        core = state.live[record.volume_id].core
        core.push_epoch(record.chunk_bytes, record.sequence)
        dict(core.epochs())[record.sequence].update(bits)
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
            if row.is_primary:
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
        for sequence, marks in live.core.epochs():
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
