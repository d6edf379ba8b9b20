"""Opening a system: what is checked, what an unclean end means, what becomes durable.

Everything is read and checked before anything changes (`found`); then statuses that an unclean end
changes, and the system's own "not clean" (`lastend`); then the pages of rows that weren't closed,
with what the activity logs said of them; then the logs begin anew, then the other rows get the log
mark; then links, fences and copies. A stop anywhere leaves what the next open recovers in the same
way. docs/recovery.md tells what that is.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from pyrep._core import Bitmap, LinkCore, VolumeCore
from pyrep.engine.activity import keep_row, try_begin
from pyrep.engine.backing import if_lost, open_backing, recognise, refused
from pyrep.engine.found import Found, Logs, RowKey, find_epochs, find_rows, lost_marks
from pyrep.engine.generations import GENERATION_PIN_VIEW
from pyrep.engine.lastend import note_end
from pyrep.engine.livevolume import LiveVolume
from pyrep.engine.mirror import Mirror
from pyrep.engine.options import ChangedBacking
from pyrep.engine.roles import guard_of
from pyrep.engine.state import SystemState
from pyrep.engine.store import remove_files
from pyrep.errors import BackingChangedError, InUseError, NotFoundError
from pyrep.meta import EpochRecord, VolumeRecord
from pyrep.model import Direction, PairStatus, Row, SplitCause, VolumeId

__all__ = ["copies_to_resume", "lock_directory", "open_rows", "open_volume"]

_PUT_BACK = (
    'put the right file back; or look with "pyrep system check", and let "pyrep system repair" '
    "take it as it is; or open with the option changed_backing (below [engine] in the "
    'configuration): "all_pending" copies all of its pairs, "assume_unchanged" is for who knows '
    "that its content is the same"
)


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
            hint=if_lost(path, record.size_bytes),
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


def open_rows(state: SystemState) -> None:
    """Open everything that the tables name.

    Raises:
        BackingChangedError, BitmapFileError, FormatError, InUseError: nothing durable has changed.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(_close_all, state)
        changed = _open_volumes(state)
        logs = Logs(state)
        undo.callback(logs.close)
        logs.refuse_newer()
        loaded = find_rows(state, changed, logs)
        for one in loaded.values():
            undo.callback(one.file.close)
        lost = lost_marks(state, loaded, changed)
        epochs = find_epochs(state, loaded, lost)
        state.catalogue.clear_pins(GENERATION_PIN_VIEW)
        note_end(state, loaded, changed)
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
        strays += state.logs.strays({one.record.key for one in state.live.values()})
        state.refence(list(state.live))
        undo.pop_all()
    # Of a large volume one is scattered over 256 MiB: deleting it takes longer than opening.
    if strays:
        state.background("remove strays", lambda: remove_files(strays))


def _save_found(loaded: dict[RowKey, Found]) -> None:
    """Write down what was found in logs, and what is to be all pending: the logs begin anew."""
    for one in loaded.values():
        if one.all_pending:
            one.file.mark_open()
        elif one.unclean or one.grown:
            if not one.unclean:  # a closed one mustn't have a page that the next crash tears
                one.file.mark_logged()
            one.file.save(one.bits)


def _begin_logs(state: SystemState, loaded: dict[RowKey, Found], logs: Logs) -> None:
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


def _unite_copies(state: SystemState, loaded: dict[RowKey, Found]) -> None:
    """Put the union of an interrupted local copy together again: the crash may have been before."""
    for mirror in state.mirrors.values():
        row = mirror.row
        if row.is_remote or row.status is not PairStatus.COPY or not row.is_source:
            continue
        other = row.pair_id, row.mirror_volume_id
        if loaded[mirror.key].unclean or loaded[other].unclean:
            # What the row has, not what its file had: of one with the open mark that is nothing.
            mirror.link.pending.update(state.mirrors[other].link.pending)


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
                hint=_PUT_BACK,
            )
        if state.options.changed_backing is ChangedBacking.ALL_PENDING:
            changed.add(record.volume_id)
    return changed


def _open_mirror(state: SystemState, row: Row, loaded: Found) -> None:
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


def _set_modes(
    state: SystemState,
    epochs: list[tuple[EpochRecord, Bitmap]],
    loaded: dict[RowKey, Found],
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


def copies_to_resume(state: SystemState) -> Iterator[Mirror]:
    """Yield the PVOL rows of local pairs that go on by themselves after an open."""
    for mirror in list(state.mirrors.values()):
        row = mirror.row
        if row.is_remote or not row.is_primary:
            continue
        unclean = row.cause is SplitCause.UNCLEAN
        if row.status is PairStatus.COPY or (unclean and row.direction is Direction.FORWARD):
            yield mirror
