"""Tables made anew: from what can be read of the old ones, and from the files beside them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pyrep.engine.backing import sync_directory
from pyrep.engine.checkup.stored import copied_tables
from pyrep.engine.directory import DATABASE, FORMAT
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.meta import (
    Catalogue,
    CopyTable,
    Database,
    SystemRecord,
    SystemTable,
    VolumeRecord,
    VolumeTable,
)
from pyrep.meta.salvage import Salvaged, read_salvage, write_salvage
from pyrep.model import SystemId, VolumeId, check_id, new_key

__all__ = ["rebuild_tables"]

_KEY_AT = 16  # the system's key in the header of bitmap and digest files alike (docs/formats.md)
_MAGICS = (b"pyrepBM\0", b"pyrepDG\0")
_NEW = f"{DATABASE}.new"
_SALVAGED = "salvaged"


def rebuild_tables(directory: Path, old: Path, system_id: str | None) -> list[str]:
    """Replace the tables; return what was found and what is lost, in words.

    Args:
        directory: the system's, locked by the caller.
        old: the caller's copy of the tables as they were, with their log; there may be none. Those
            in the directory aren't read: a stop can leave them without their log.
        system_id: the system's id, for when nothing says it any more.

    Raises:
        InvalidArgumentError: nothing says the system's id, or it says another one than `system_id`.
    """
    new = directory / _NEW
    for path in _files_of(new):
        path.unlink(missing_ok=True)
    found: Salvaged = {}
    partial: list[str] = []
    if old.is_file():
        with copied_tables(old) as copy:
            found, partial = read_salvage(copy.path)
    with Database.open(new) as db:
        notes = [f"perhaps lost: some {one}, whose table can't be read whole" for one in partial]
        notes += [f"lost: {one}" for one in write_salvage(db, found)]
        notes += _fill_system(db, directory, system_id)
        notes += _fill_volumes(db, directory)
        notes += _fill_rest(db)
    # A log of the old tables would be folded into the new ones.
    for path in _files_of(directory / DATABASE)[1:]:
        path.unlink(missing_ok=True)
    new.rename(directory / DATABASE)
    sync_directory(directory)
    return notes


def _files_of(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))]


def _fill_system(db: Database, directory: Path, system_id: str | None) -> Iterator[str]:
    table = SystemTable(db)
    try:
        record = table.get()
    except NotFoundError:
        if system_id is None:
            raise InvalidArgumentError(
                f"cannot make the tables of {directory} anew: nothing says the system's id",
                hint="name it: repair_system(directory, system_id=...)",
            ) from None
        key = _key_in_files(directory)
        table.set(
            SystemRecord(
                system_id=SystemId(check_id("system", system_id)),
                key=key or new_key(),
                clean=False,
                created_at=datetime.now(UTC),
                format=FORMAT,
            )
        )
        said = "found in bitmap files" if key else "lost: other systems take it for another one"
        yield f"system {system_id}: its record is lost; its key is {said}"
        return
    if system_id not in {None, record.system_id}:
        raise InvalidArgumentError(f"the system in {directory} is {record.system_id}")
    table.set(replace(record, clean=False))


def _key_in_files(directory: Path) -> bytes | None:
    """Return the system's key as most of the files' headers have it."""
    keys: Counter[bytes] = Counter()
    for path in (*directory.glob("bitmaps/*.bitmap"), *directory.glob("digests/*.digests")):
        with path.open("rb") as file:
            header = file.read(_KEY_AT + 16)
        if header[:8] in _MAGICS and len(header) == _KEY_AT + 16:
            keys[header[_KEY_AT:]] += 1
    return keys.most_common(1)[0][0] if keys else None


def _fill_volumes(db: Database, directory: Path) -> Iterator[str]:
    """Add the volumes whose files are there; what was attached nobody knows any more."""
    table = VolumeTable(db)
    known = {one.path for one in table.all()}
    for path in sorted(directory.glob("volumes/*.img")):
        relative = str(path.relative_to(directory))
        if relative in known or path.stat().st_size == 0:
            continue
        table.add(
            VolumeRecord(
                volume_id=VolumeId(path.stem),
                key=new_key(),
                path=relative,
                size_bytes=path.stat().st_size,
                owned=True,
            )
        )
        yield f"volume {path.stem}: its record is made anew from {relative}"
    yield "volumes that were attached, if their records are lost, are to be attached again"


def _fill_rest(db: Database) -> Iterator[str]:
    """See to it that no number of a pair comes twice, and that generations say what they are."""
    numbers = [int(found[1]) for found in map(_numbered, CopyTable(db).rows()) if found]
    counter = db.read("SELECT value FROM counter WHERE name = 'pair'")
    if not counter:  # the other systems know pairs of numbers that nothing here tells
        value = max([*numbers, int(time.time())])
        db.write("INSERT INTO counter VALUES ('pair', ?)", (value,))
    catalogue = Catalogue(db)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for one in catalogue.all():
        kept = dict(one.annotations) | {_SALVAGED: now}
        catalogue.replace(replace(one, annotations=tuple(sorted(kept.items()))))
        if one.is_complete:
            yield f"generation {one.generation_id}: verify it before you rely on it"


def _numbered(row: object) -> re.Match[str] | None:
    return re.search(r"\.(\d+)$", str(getattr(row, "pair_id", "")))
