"""What a system's files say beside its tables: volumes, bitmaps, logs, marks, digests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pyrep._core import Bitmap, BitmapFile
from pyrep.engine.activity import close_log
from pyrep.engine.alogstore import LogStore, is_newer
from pyrep.engine.backing import if_lost, open_backing, recognise
from pyrep.engine.checkup.finding import Finding, Remedy, failed, fine, warning
from pyrep.engine.checkup.rules import name_of
from pyrep.engine.checkup.stored import Stored
from pyrep.engine.digests import DigestStore
from pyrep.engine.options import Options
from pyrep.engine.store import BitmapStore
from pyrep.errors import BitmapFileError, NotFoundError, PyrepError
from pyrep.meta import EpochRecord, VolumeRecord
from pyrep.model import Row, chunk_count

__all__ = ["check_files"]

_PUT_BACK = "put the right file or device back"


def check_files(directory: Path, stored: Stored) -> Iterator[Finding]:
    """Yield a finding per volume, row, log, interval of marks and digest file; change nothing."""
    for volume in stored.volumes:
        yield _volume(directory, volume, is_clean=stored.system.clean)
    store = BitmapStore(directory / "bitmaps", stored.system.key)
    for row in stored.rows:
        record = stored.volume(row.volume_id)
        if record is not None:
            yield _bitmap(store, row, record, is_clean=stored.system.clean)
    yield from _logs(directory, stored, store)
    for epoch in stored.epochs:
        record = stored.volume(epoch.volume_id)
        if record is not None:
            yield _marks(store, epoch, record)
    kept = {row.row_key for row in stored.rows} | {one.row_key for one in stored.epochs}
    strays = store.strays(kept)
    if strays:
        yield fine(f"{len(strays)} bitmap files", "nothing needs them; the next open removes them")
    yield from _digests(directory, stored)


def _volume(directory: Path, record: VolumeRecord, *, is_clean: bool) -> Finding:
    thing = f"volume {record.volume_id}"
    path = directory / record.path
    try:
        io = open_backing(path, record.size_bytes)
    except NotFoundError:
        return failed(thing, f"{path} is missing", hint=if_lost(path, record.size_bytes))
    except PyrepError as error:
        return failed(thing, str(error), hint=error.hint or _PUT_BACK)
    try:
        why = recognise(record, io, closed_cleanly=is_clean)
    finally:
        io.close()
    if why:
        remedy = Remedy.TAKE_VOLUME
        return failed(thing, f"{path}: {why}", remedy, record.volume_id, hint=f"or {_PUT_BACK}")
    return fine(thing, f"{path}, {record.size_bytes} bytes")


def _bitmap(store: BitmapStore, row: Row, record: VolumeRecord, *, is_clean: bool) -> Finding:
    thing = name_of(row)
    count = chunk_count(record.size_bytes, row.chunk_bytes)
    bits = Bitmap(count)
    remedy = Remedy.SPLIT_PAIR, row.pair_id
    try:
        with store.open(row, record.key, record.size_bytes) as file:
            if file.marked_logged and _is_unreadable(file, bits):
                return failed(thing, f"bitmap file {file.path} can't be read", *remedy)
            if file.marked_open or file.marked_logged:
                what = "its bitmap file wasn't closed cleanly: opening recovers it"
                return warning(thing, what) if is_clean else fine(thing, what)
            file.load(bits)
    except BitmapFileError as error:
        if error.is_torn and not is_clean:
            return fine(thing, f"{error}, which a power loss does: opening sets everything pending")
        return failed(thing, str(error), *remedy)
    except PyrepError as error:
        return failed(thing, str(error), hint=error.hint or "")
    return fine(thing, f"{row.status}, {bits.count()} of {count} chunks pending")


def _is_unreadable(file: BitmapFile, bits: Bitmap) -> bool:
    """Whether opening couldn't recover it: a torn page it can."""
    try:
        file.load(bits)
    except BitmapFileError as error:
        return error.is_unreadable
    return False


def _logs(directory: Path, stored: Stored, bitmaps: BitmapStore) -> Iterator[Finding]:
    logs = LogStore(directory / "alog", stored.system.key, Options())
    for record in stored.volumes:
        rows = stored.rows_of(record.volume_id)
        if rows:
            needed = any(_is_logged(bitmaps, row, record) for row in rows)
            yield _log(logs, record, needed=needed)


def _is_logged(store: BitmapStore, row: Row, record: VolumeRecord) -> bool:
    try:
        with store.open(row, record.key, record.size_bytes) as file:
            return file.marked_logged
    except PyrepError:
        return False  # told where the row is


def _log(logs: LogStore, record: VolumeRecord, *, needed: bool) -> Finding:
    """Look at a volume's activity log; `needed`: a row's bits are true together with it alone."""
    thing = f"activity log of volume {record.volume_id}"
    try:
        log = logs.read(record)
    except PyrepError as error:
        if is_newer(error):
            return failed(thing, str(error), hint=error.hint or "")
        if needed:
            return warning(thing, f"{error}: opening sets everything of its pairs pending")
        return fine(thing, "nothing needs what it said; opening makes it anew")
    try:
        return fine(thing, f"{log.past_hot} of {log.hot_regions} regions hot")
    finally:
        close_log(log)


def _marks(store: BitmapStore, epoch: EpochRecord, record: VolumeRecord) -> Finding:
    thing = f"marks {epoch.sequence} of volume {epoch.volume_id}"
    if not epoch.data_id:
        return fine(thing, "they have no file while the system runs: opening recovers them")
    count = chunk_count(record.size_bytes, epoch.chunk_bytes)
    bits = Bitmap(count)
    try:
        store.load_epoch(epoch, record.key, record.size_bytes, bits)
    except BitmapFileError as error:
        return failed(thing, str(error), Remedy.FILL_MARKS, epoch.volume_id, str(epoch.sequence))
    except PyrepError as error:
        return failed(thing, str(error), hint=error.hint or "")
    return fine(thing, f"{bits.count()} of {count} chunks marked")


def _digests(directory: Path, stored: Stored) -> Iterator[Finding]:
    store = DigestStore(directory / "digests", stored.system.key)
    for one in stored.digests:
        thing = f"digests of generation {one.generation_id}, volume {one.source}"
        record = stored.volume(one.source)
        drop = (Remedy.DROP_DIGESTS, one.generation_id)
        if record is None:
            yield warning(thing, "there is no such volume", *drop)
            continue
        try:
            found = store.load(one.file_key, record.key, record.size_bytes)
        except PyrepError as error:
            yield warning(thing, str(error), *drop)
            continue
        if found.done < one.done_spans:
            yield warning(thing, f"of {one.done_spans} spans {found.done} are there", *drop)
        else:
            yield fine(thing, f"{found.done} of {found.span_count} spans")
