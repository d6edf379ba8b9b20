"""The repair of a system that isn't open: what can be derived is, the rest is named.

Never silently clean and never copied by itself: a pair that can't be trusted becomes SPLIT with
everything pending, cause requested, and waits for a direction by command. What it is about to do
is noted first (`begun`): a repair that was stopped is taken up, whatever the tables look like then.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pyrep._core import Bitmap
from pyrep.engine.backing import refused, sync_directory
from pyrep.engine.checkup.begun import BegunRepair, load_begun, remove_begun, save_begun
from pyrep.engine.checkup.check import check_locked, held
from pyrep.engine.checkup.finding import CheckReport, Remedy
from pyrep.engine.checkup.rebuild import rebuild_tables
from pyrep.engine.checkup.stored import copy_readable
from pyrep.engine.directory import DATABASE
from pyrep.engine.store import BitmapStore
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.meta import Catalogue, CopyTable, Database, DigestTable, EpochTable, VolumeTable
from pyrep.meta.system import SystemTable
from pyrep.model import (
    Direction,
    GenerationId,
    GenerationState,
    PairId,
    PairStatus,
    Row,
    SplitCause,
    VolumeId,
    chunk_count,
    new_key,
)

__all__ = ["RepairReport", "repair_system"]

_log = logging.getLogger(__name__)

_KEPT = "before-repair-"

_ROUNDS = 4
"""A row that goes may show that a generation's pair is gone; deeper nothing hangs together."""

_NOT_NOW = {Remedy.NONE, Remedy.GO_ON}

_HELD = {GenerationState.TAKING, GenerationState.UNCONFIRMED, GenerationState.COMPLETE}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairReport:
    """What a repair did, and how the system is afterwards.

    Attributes:
        done: what was done, in words.
        kept: where the tables are kept as they were before; None: nothing was done.
        after: a check of the repaired system: what it names, no repair helps.
    """

    done: tuple[str, ...]
    kept: Path | None
    after: CheckReport


def repair_system(directory: Path | str, *, system_id: str | None = None) -> RepairReport:
    """Repair a system in a directory that no process has open.

    Does what `check_system` says that a repair would do. One that was stopped leaves a system that
    isn't opened; called again, it does everything again, from the tables as they were.

    Args:
        directory: the system's.
        system_id: its id, asked for only when its tables are lost so that nothing says it.

    Raises:
        NotFoundError: no system was ever there.
        InUseError: it is open.
        InvalidArgumentError: the tables are lost and no id was given.
        FormatError: what an interrupted repair has noted can't be read.
        NoSpaceError, ReadOnlyError, DeviceError: something couldn't be written.
    """
    path = Path(directory).absolute()
    done: list[str] = []
    with held(path):
        begun = load_begun(path)
        if begun is not None:
            begun = replace(begun, system_id=system_id or begun.system_id)
            _do(path, begun, begun.remedies)
            done.append(f"a repair that was stopped is done again; the tables before: {begun.kept}")
        for _ in range(_ROUNDS):
            report = check_locked(path)
            wanted = [one for one in report.findings if one.remedy not in _NOT_NOW]
            if not wanted:
                break
            if wanted[0].remedy is Remedy.REBUILD_TABLES:
                wanted = wanted[:1]
            is_first = begun is None
            begun = begun or BegunRepair(kept=_keep(path).name, system_id=system_id)
            remedies = tuple((one.remedy, one.key) for one in wanted)
            begun = begun.adding(remedies)
            save_begun(path, begun)
            try:
                done += _do(path, begun, remedies)
            except InvalidArgumentError:
                if is_first:  # nothing has changed; a repair that goes on may have changed it all
                    remove_begun(path)
                raise
            done += [f"{one.thing}: {one.repair}" for one in wanted]
        if begun is not None:
            remove_begun(path)
        report = check_locked(path)
    for line in done:
        _log.warning("system.repair directory=%s %s", path, line)
    kept = path / begun.kept if begun is not None else None
    return RepairReport(done=tuple(dict.fromkeys(done)), kept=kept, after=report)


def _do(
    path: Path, begun: BegunRepair, remedies: Iterable[tuple[Remedy, tuple[str, ...]]]
) -> list[str]:
    """Do remedies, tables first; return what making the tables anew has to say."""
    asked = dict.fromkeys(remedies)
    said = []
    rebuilds = asked.pop((Remedy.REBUILD_TABLES, ()), 0) is None
    if rebuilds:
        said = rebuild_tables(path, path / begun.kept / DATABASE, begun.system_id)
    with Database.open(path / DATABASE) as db:
        repair = _Repair(path, db)
        if rebuilds:
            repair.split_all()
        repair.do(asked)
    return said


def _keep(path: Path) -> Path:
    """Copy the tables aside, as they are; durable, since a stopped repair begins with them."""
    there = (one.name.removeprefix(_KEPT) for one in path.glob(f"{_KEPT}*"))
    number = 1 + max((int(one) for one in there if one.isdecimal()), default=0)
    kept = path / f"{_KEPT}{number}"
    try:
        kept.mkdir()
        for one in path.glob(f"{DATABASE}*"):
            copy = kept / one.name
            copy_readable(one, copy)
            with copy.open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(kept)
        sync_directory(path)
    except OSError as error:
        raise refused(f"keep the tables in {kept}", error) from error
    return kept


class _Repair:
    """Remedies, on one open database."""

    def __init__(self, path: Path, db: Database) -> None:
        self._db = db
        self._table = CopyTable(db)
        self._volumes = VolumeTable(db)
        self._catalogue = Catalogue(db)
        self._store = BitmapStore(path / "bitmaps", SystemTable(db).get().key)

    def do(self, asked: Iterable[tuple[Remedy, tuple[str, ...]]]) -> None:
        """Do what is asked for; what another one did already, or an earlier run, is left alone."""
        remedies: dict[Remedy, Callable[..., object]] = {
            Remedy.SPLIT_PAIR: self._split_pair,
            Remedy.FILL_MARKS: self._fill_marks,
            Remedy.TAKE_VOLUME: self._take_volume,
            Remedy.DROP_ROW: self._drop_row,
            Remedy.FAIL_GENERATION: self._fail_generation,
            Remedy.DROP_DIGESTS: self._drop_digests,
            Remedy.DROP_PIN: self._drop_pin,
            Remedy.FREE_LEASE: self._free_lease,
            Remedy.DROP_POLICY: self._drop_policy,
        }
        for remedy, key in asked:
            remedies[remedy](*key)

    def split_all(self) -> None:
        """No pair is trusted; where one names a volume that is lost, the next look finds it."""
        for pair_id in dict.fromkeys(row.pair_id for row in self._table.rows()):
            self._split_pair(pair_id)

    def _split_pair(self, pair_id: str) -> None:
        rows = self._table.pair_rows(PairId(pair_id))
        trusted = all(_is_whole(row) for row in rows)
        kept = {(one.volume_id, one.sequence) for one in EpochTable(self._db).all()}
        with self._db.transaction():
            for row in rows:
                new = _untrusted(row, rows[0].direction, consistent=trusted)
                if (row.volume_id, row.epoch_start) not in kept:
                    new = replace(new, epoch_start=0)  # everything is pending without them
                self._table.replace(new)
                if not row.is_remote and not row.is_primary and not trusted:
                    self._fail_held(row.volume_id)
        for row in rows:
            self._fresh_file(row)

    def _fresh_file(self, row: Row) -> None:
        """Give a row a file with all bits set, whatever it would be recovered to."""
        try:
            record = self._volumes.get(row.volume_id)
        except NotFoundError:
            return
        self._store.remove(row.row_key)
        bits = Bitmap(chunk_count(record.size_bytes, row.chunk_bytes))
        bits.fill()
        with self._store.create(row, record.key, record.size_bytes) as file:
            file.save(bits)
            file.mark_closed(row.data_id)

    def _fill_marks(self, volume_id: str, sequence: str) -> None:
        volume = self._volumes.get(VolumeId(volume_id))
        table = EpochTable(self._db)
        mine = [one for one in table.all() if one.volume_id == volume_id]
        records = []
        for one in mine:
            if one.sequence != int(sequence):
                records.append(one)
                continue
            marks = Bitmap(chunk_count(volume.size_bytes, one.chunk_bytes))
            marks.fill()
            fresh = replace(one, row_key=new_key())
            self._store.save_epoch(fresh, volume.key, volume.size_bytes, marks)
            records.append(fresh)
        table.replace_all(volume.volume_id, records)
        for row in self._table.rows_of(volume.volume_id):
            if row.epoch_start:
                self._split_pair(row.pair_id)

    def _take_volume(self, volume_id: str) -> None:
        """Its pairs first: the identity is what the next check would see it by."""
        volume = self._volumes.get(VolumeId(volume_id))
        for row in self._table.rows_of(volume.volume_id):
            self._split_pair(row.pair_id)
        with self._db.transaction():
            self._fail_held(volume.volume_id)
            self._volumes.replace(replace(volume, identity=None))

    def _fail_held(self, svol: VolumeId) -> None:
        """What a volume is said to hold can't be relied on."""
        home = SystemTable(self._db).get().system_id
        for one in self._catalogue.all():
            holds = svol in {member.svol for member in one.members}
            if holds and one.state in _HELD and one.home == home:
                self._fail_generation(one.generation_id)

    def _drop_row(self, pair_id: str, volume_id: str) -> None:
        rows = self._table.pair_rows(PairId(pair_id))
        for row in rows:
            if row.volume_id == volume_id:
                self._table.remove(row.pair_id, row.volume_id)
                self._store.remove(row.row_key)

    def _fail_generation(self, generation_id: str) -> None:
        one = self._catalogue.get(GenerationId(generation_id))
        self._catalogue.replace(replace(one, state=GenerationState.FAILED))

    def _drop_digests(self, generation_id: str) -> None:
        DigestTable(self._db).remove(GenerationId(generation_id))

    def _drop_pin(self, generation_id: str, holder: str) -> None:
        self._catalogue.unpin(GenerationId(generation_id), holder)

    def _free_lease(self, root: str) -> None:
        self._db.write("DELETE FROM lease WHERE tree_root = ?", (root,))

    def _drop_policy(self, volume_id: str) -> None:
        self._db.write("DELETE FROM policy WHERE volume_id = ?", (volume_id,))


def _is_whole(row: Row) -> bool:
    """Whether the row's target holds what its source once had, whatever the bits say.

    A PVOL in COPY is whole at the very end of a copy back: that was written down once it was so.
    """
    back = row.status is PairStatus.COPY and row.direction is Direction.REVERSE
    ended = back and row.is_remote and row.is_primary
    return row.target_consistent and (row.status is PairStatus.SPLIT or ended)


def _untrusted(row: Row, direction: Direction, *, consistent: bool) -> Row:
    """Return the row of a pair of whose differences nothing is known.

    The direction stays: of a copy that was under way, it says which volume is half written. A pair
    that was SPLIT has its target as it was.
    """
    return replace(
        row,
        status=PairStatus.SPLIT,
        cause=SplitCause.REQUESTED,
        direction=direction,
        pending_union=False,
        target_consistent=consistent,
        repaired=row.is_remote,
    )
