"""The storage system: the embedding API's centre (Fig. 1, systems 100a and 100b)."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from pyrep._core import Fence, LinkMode
from pyrep.engine.backing import create_file, open_backing, refused, sync_directory
from pyrep.engine.decide import Judge
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.generations import Generations
from pyrep.engine.local import LocalPairs
from pyrep.engine.opening import (
    close_rows,
    copies_to_resume,
    lock_directory,
    open_rows,
    open_volume,
)
from pyrep.engine.options import Options
from pyrep.engine.pair import Pair
from pyrep.engine.remote import RemotePairs
from pyrep.engine.secondary import SecondarySide
from pyrep.engine.state import SystemState
from pyrep.engine.store import BitmapStore
from pyrep.engine.volume import Volume
from pyrep.engine.watch import Watch
from pyrep.errors import (
    BusyError,
    DeviceError,
    ExistsError,
    FormatError,
    InvalidArgumentError,
    NotFoundError,
    PyrepError,
    RefusedError,
)
from pyrep.interconnect.loop import LoopPath
from pyrep.meta import (
    Catalogue,
    CopyTable,
    Database,
    EpochTable,
    PeerTable,
    SystemRecord,
    SystemTable,
    VolumeRecord,
    VolumeTable,
    WorkflowJournal,
)
from pyrep.model import (
    CHUNK_BYTES_DEFAULT,
    AckPoint,
    Generation,
    GenerationId,
    GroupId,
    GroupStatus,
    PairId,
    Row,
    SplitCause,
    SystemId,
    VolumeId,
    check_id,
    group_status,
    new_key,
)

__all__ = ["StorageSystem", "connect"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_kept: list[SystemState] = []
"""Closed systems that somebody was still inside of: freeing them would pull memory away."""

_DATABASE = "pyrep.db"
_FILE_BYTES_END = 1 << 63


class StorageSystem:
    """A storage system in a directory: volumes, pairs, generations, paths.

    Make one with `create` or `open`; it is a context manager. All methods may be called from any
    thread. Layout of the directory: docs/formats.md.
    """

    on_open: ClassVar[list[Callable[[StorageSystem], None]]] = []
    """What the layers above do with every system that is opened."""

    def __init__(self, state: SystemState, lock: int) -> None:
        self._state = state
        self._lock = lock
        self._judge = Judge(state)
        self.generations = Generations(state)
        self._local = LocalPairs(state, self.generations, self._judge)
        self._remote = RemotePairs(state, self._local, self._judge)
        self._secondary = SecondarySide(state, self._local, self._remote, self._judge)
        self._endpoint = SystemEndpoint(state, self._remote, self._secondary)
        self._watch = Watch(self._endpoint, self._local, self._remote)
        self._paths: list[LoopPath] = []

    # --- life ------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls, directory: Path | str, system_id: str, *, options: Options | None = None
    ) -> Self:
        """Make a new system in a directory that is empty or isn't there yet, and open it.

        Raises:
            ExistsError: the directory holds something.
            InvalidArgumentError: the id can't be used.
            ReadOnlyError, NoSpaceError: nothing usable was made.
        """
        checked = SystemId(check_id("system", system_id))
        path = Path(directory)
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ExistsError(
                    f"cannot create system {system_id} in {path}: the directory isn't empty",
                    hint="name a new directory, or open the system that is there",
                )
        except (NotADirectoryError, FileExistsError) as error:
            raise InvalidArgumentError(
                f"cannot create system {system_id} in {path}: it is no directory",
                hint="name a new directory",
            ) from error
        except OSError as error:
            raise refused(f"create system {system_id} in {path}", error) from error
        try:
            _fill_directory(path, checked)
        except BaseException:
            _empty_directory(path)
            raise
        return cls.open(path, options=options)

    @classmethod
    def open(cls, directory: Path | str, *, options: Options | None = None) -> Self:
        """Open a system. Local copies that were interrupted go on by themselves.

        Raises:
            NotFoundError: there is no system.
            InUseError: it, or one of its files, is open elsewhere.
            BackingChangedError, BitmapFileError: something isn't as it was at the last clean
                close; `options` says what to assume. Nothing has changed.
            FormatError: it was written by a newer pyrep, or is damaged.
        """
        path = Path(directory).absolute()
        if not (path / _DATABASE).is_file():
            raise NotFoundError(
                f"{path} holds no storage system", hint="make one with StorageSystem.create"
            )
        with contextlib.ExitStack() as undo:
            lock = lock_directory(path)
            undo.callback(os.close, lock)
            db = Database.open(path / _DATABASE)
            undo.callback(db.close)
            state = _state_of(path, db, options or Options())
            open_rows(state)
            undo.pop_all()
        system = cls(state, lock)
        system._resume()
        for attach in cls.on_open:
            attach(system)
        system._watch.start()
        _log.info("system.open system=%s directory=%s", state.system_id, path)
        return system

    def _resume(self) -> None:
        for mirror in copies_to_resume(self._state):
            pair_id = mirror.row.pair_id
            try:
                if mirror.row.cause is SplitCause.UNCLEAN:
                    self._local.resync_forward(pair_id)
                else:
                    self._local.resume_copy(pair_id)
            except PyrepError as error:
                _log.info("pair.resume pair=%s not now: %s", pair_id, error)

    def close(self) -> None:
        """End everything cleanly. Idempotent.

        Copies stop (and go on at the next open), paths are cut, bitmaps and tables are written.

        Raises:
            DeviceError: something couldn't be written; the next open treats it as an unclean end.
        """
        state = self._state
        with state.control:
            if state.closing:
                return
            state.closing = True
            state.control.notify_all()
        try:
            for live in state.live.values():
                live.core.fence(Fence.WRITES)  # what is saved below stays true
            self._drain_all()
            self._stop_work()
            self._settle_all()
            self._local.note_all_broken()
            close_rows(state)
        finally:
            self._free()
        _log.info("system.close system=%s", state.system_id)

    def _drain_all(self) -> None:
        """Let what is queued arrive, if the path is up: a clean close leaves nothing unsettled."""
        for mirror in list(self._state.mirrors.values()):
            if mirror.link.info().mode is LinkMode.SHIP:
                with contextlib.suppress(PyrepError):
                    self._remote.drain(mirror)

    def _stop_work(self) -> None:
        """End copies, paths, commands and threads: nobody but hosts is inside the core then."""
        state = self._state
        state.wake.set()
        self._stop_jobs()
        for path in self._paths:
            path.close()
        self._watch.close()
        state.wait_idle()
        self._stop_jobs()  # those that a command began meanwhile
        for thread in list(state.threads):
            thread.join()

    def _stop_jobs(self) -> None:
        for mirror in list(self._state.mirrors.values()):
            if mirror.job:
                mirror.job.close()

    def _settle_all(self) -> None:
        for mirror in list(self._state.mirrors.values()):
            if mirror.link.info().mode is LinkMode.FORWARD:
                with contextlib.suppress(DeviceError):
                    mirror.link.settle()  # what can't be settled is saved as pending

    def _free(self) -> None:
        state = self._state
        timeout_s = state.options.ack_timeout_s
        empty = [live.core.shut(timeout_s) for live in state.live.values()]  # all are shut
        if all(empty):
            self._free_core()
        else:
            _log.warning("system.close system=%s somebody is still inside a volume", self)
            _kept.append(state)
        state.db.close()
        os.close(self._lock)

    def _free_core(self) -> None:
        """Free what the compiled core holds; nobody is inside it any more."""
        state = self._state
        for peer in state.peers.values():
            peer.unbind_all()
        for mirror in state.mirrors.values():
            mirror.close()
        for peer in state.peers.values():
            peer.close()
        for live in state.live.values():
            live.close()
        state.trees.close()
        state.mirrors.clear()
        state.live.clear()

    def abort(self) -> None:
        """End as a crash would: nothing is written, marks stay. For tests of the next open."""
        state = self._state
        with state.control:
            if state.closing:
                return
            state.closing = True
            state.control.notify_all()
        self._stop_work()
        self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StorageSystem {self.system_id} in {self._state.directory}>"

    @property
    def system_id(self) -> SystemId:
        """Its id."""
        return self._state.system_id

    @property
    def directory(self) -> Path:
        """Its directory."""
        return self._state.directory

    @property
    def state(self) -> SystemState:
        """What the layers above work with; not for embedders."""
        return self._state

    @property
    def local_pairs(self) -> LocalPairs:
        """Commands on local pairs, for the workflows."""
        return self._local

    @property
    def remote_pairs(self) -> RemotePairs:
        """Commands on remote pairs, for the workflows."""
        return self._remote

    @property
    def endpoint(self) -> SystemEndpoint:
        """Its end of every path."""
        return self._endpoint

    # --- volumes ---------------------------------------------------------------------------------

    def create_volume(self, volume_id: str, size_bytes: int) -> Volume:
        """Make a volume on a new sparse file in the system's directory; it reads as zeros.

        Args:
            volume_id: its id.
            size_bytes: its size, at least 1; a last chunk that is partial is fine.

        Raises:
            ExistsError, InvalidArgumentError, NoSpaceError, ReadOnlyError: nothing was made.
        """
        checked = VolumeId(check_id("volume", volume_id))
        if not 0 < size_bytes < _FILE_BYTES_END:
            raise InvalidArgumentError(f"volume {volume_id} can't have {size_bytes} bytes")
        path = Path("volumes") / f"{checked}.img"
        with self._state.control:
            self._check_new(checked)
            create_file(self._state.directory / path, size_bytes)
            try:
                self._add_volume(checked, path, size_bytes, owned=True)
            except BaseException:
                (self._state.directory / path).unlink(missing_ok=True)
                raise
        return Volume(self._state, checked)

    def attach_volume(self, volume_id: str, path: Path | str) -> Volume:
        """Make a volume of an existing regular file, with the content it has.

        Raises:
            ExistsError: the id or the file is a volume of this system.
            InUseError: the file is a volume of another open system, or locked by a program.
            NotFoundError, InvalidArgumentError, ReadOnlyError: it can't be used.
        """
        checked = VolumeId(check_id("volume", volume_id))
        with self._state.control:
            self._check_new(checked)
            absolute = Path(path).absolute()
            self._check_not_a_volume(absolute)
            io = open_backing(absolute)
            size_bytes = io.size_bytes
            io.close()
            self._add_volume(checked, absolute, size_bytes, owned=False)
        return Volume(self._state, checked)

    def _check_new(self, volume_id: VolumeId) -> None:
        self._state.check_open()
        if volume_id in self._state.live:
            raise ExistsError(
                f"volume {volume_id} exists already in system {self.system_id}",
                hint="choose another id",
            )

    def _check_not_a_volume(self, path: Path) -> None:
        for volume_id, live in self._state.live.items():
            if path.exists() and path.samefile(live.file.name):
                raise ExistsError(
                    f"cannot attach {path}: it is volume {volume_id} already",
                    hint="one backing file belongs to one volume",
                )

    def _add_volume(self, volume_id: VolumeId, path: Path, size_bytes: int, *, owned: bool) -> None:
        record = VolumeRecord(
            volume_id=volume_id, key=new_key(), path=str(path), size_bytes=size_bytes, owned=owned
        )
        live = open_volume(self._state, record)
        try:
            self._state.volumes.add(record)
        except BaseException:
            self._state.trees.remove(live.core)
            live.close()
            raise
        self._state.live[volume_id] = live

    def delete_volume(self, volume_id: str) -> None:
        """Forget a volume; the file of one that the system made is deleted, an attached one kept.

        Raises:
            RefusedError: it is in a pair. BusyError: a workflow holds it.
        """
        checked = VolumeId(volume_id)
        state = self._state
        with state.control:
            live = state.volume(checked)
            rows = state.mirrors_of(checked)
            if rows:
                raise RefusedError(
                    f"cannot delete volume {volume_id}: it is in pair {rows[0].row.pair_id}",
                    hint="dissolve the pair first: pair.dissolve()",
                )
            holder = state.journal.holder(checked)
            if holder is not None:
                raise BusyError(
                    f"cannot delete volume {volume_id}: workflow {holder} has it leased",
                    hint=f"wait until {holder} has ended, or abandon it",
                )
            if not live.core.shut(0):
                live.core.let_in()
                raise BusyError(
                    f"cannot delete volume {volume_id}: somebody is reading or writing it",
                    hint="close what was opened with volume.io(), and try again",
                )
            with state.db.transaction():
                state.volumes.remove(checked)
                state.epochs.replace_all(checked, [])
            del state.live[checked]
            state.trees.remove(live.core)
            live.close()
            if live.record.owned:
                (state.directory / live.record.path).unlink(missing_ok=True)

    def volume(self, volume_id: str) -> Volume:
        """Return a volume. NotFoundError names those there are."""
        self._state.volume(VolumeId(volume_id))
        return Volume(self._state, VolumeId(volume_id))

    def volumes(self) -> tuple[Volume, ...]:
        """Return all volumes, by id."""
        with self._state.control:
            self._state.check_open()
            return tuple(Volume(self._state, one) for one in sorted(self._state.live))

    # --- pairs -----------------------------------------------------------------------------------

    def create_local_pair(
        self, pvol: str, svol: str, *, chunk_bytes: int = CHUNK_BYTES_DEFAULT
    ) -> Pair:
        """Mirror a volume to another of this system; the initial copy begins.

        Args:
            pvol, svol: volumes of one size; the SVOL's content is overwritten.
            chunk_bytes: bytes of one pending bit: a power of two, 4 KiB to 1 MiB. All local pairs
                of one PVOL have the same.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError: nothing has changed.
        """
        pair_id = self._local.create(VolumeId(pvol), VolumeId(svol), chunk_bytes=chunk_bytes)
        return self.pair(pair_id)

    def create_remote_pair(
        self,
        pvol: str,
        system_id: str,
        svol: str,
        *,
        group: str | None = None,
        ack: AckPoint = AckPoint.RECEIVED,
        chunk_bytes: int = CHUNK_BYTES_DEFAULT,
    ) -> Pair:
        """Mirror a volume synchronously to one of a connected system; the initial copy begins.

        Args:
            pvol: a volume here.
            system_id: the secondary.
            svol: its volume, of the same size; its content is overwritten.
            group: consistency group; pairs of one group keep one order of writes and are backed up
                at one point. By default the pair has one of its own.
            ack: when a write is acknowledged: received or durable at the secondary.
            chunk_bytes: as in `create_local_pair`.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError, PathLostError: nothing has changed.
        """
        pair_id = self._remote.create(
            VolumeId(pvol),
            SystemId(system_id),
            VolumeId(svol),
            group_id=GroupId(check_id("group", group)) if group else None,
            ack=ack,
            chunk_bytes=chunk_bytes,
        )
        return self.pair(pair_id)

    def pair(self, pair_id: str) -> Pair:
        """Return a pair that this system holds a side of. NotFoundError names those there are."""
        self._state.mirror(PairId(pair_id))
        return Pair(self._state, PairId(pair_id), self._local, self._remote)

    def pairs(self) -> tuple[Pair, ...]:
        """Return all pairs that this system holds a side of."""
        with self._state.control:
            self._state.check_open()
            ids = dict.fromkeys(row.pair_id for row in self._state.table.rows())
        return tuple(Pair(self._state, one, self._local, self._remote) for one in ids)

    def table(self) -> tuple[Row, ...]:
        """Return the copy management table (Fig. 3)."""
        return self._state.table.rows()

    def group_status(self, group: str) -> GroupStatus:
        """Return the status of a consistency group: that of its worst member."""
        return group_status(row for row in self.table() if row.group_id == group)

    def split_pairs(self, pair_ids: Sequence[str], *, label: str = "") -> Generation | None:
        """Split several pairs, all local or all remote with their PVOLs here, at one point (INV-6).

        Returns:
            Of local pairs, the generation that they became together.

        Raises:
            RefusedError, BusyError: none was split.
        """
        ids = [PairId(one) for one in pair_ids]
        remote = {self._state.mirror(one).row.is_remote for one in ids}
        if remote == {True, False}:
            raise InvalidArgumentError("cannot split local and remote pairs with one command")
        if remote == {True}:
            self._remote.split(ids)
            return None
        return self._local.split(ids, label=label)

    # --- paths -----------------------------------------------------------------------------------

    def add_path(self, path: LoopPath) -> None:
        """Own a path: it is cut when the system closes."""
        self._paths.append(path)

    def ask(self, system_id: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a workflow's own command to another system and return its answer."""
        return self._remote.call(SystemId(system_id), verb, body)

    # --- generations -----------------------------------------------------------------------------

    def generation(self, generation_id: str) -> Generation:
        """Return a generation of the catalogue. NotFoundError names those there are."""
        return self.generations.get(GenerationId(generation_id))

    def list_generations(self) -> tuple[Generation, ...]:
        """Return the catalogue, oldest first: generations held here, and copies of others' rows."""
        return self._state.catalogue.all()

    def protect_generation(self, generation_id: str) -> Generation:
        """Keep a generation from reuse until it is unprotected."""
        return self.generations.change(GenerationId(generation_id), protected=True)

    def unprotect_generation(self, generation_id: str) -> Generation:
        """Let a generation be reused again."""
        return self.generations.change(GenerationId(generation_id), protected=False)


def _fill_directory(path: Path, system_id: SystemId) -> None:
    """Make what a system's directory holds; the database last: without it there is no system."""
    try:
        for name in ("volumes", "bitmaps"):
            (path / name).mkdir()
        sync_directory(path)
    except OSError as error:
        raise refused(f"create system {system_id} in {path}", error) from error
    with Database.open(path / _DATABASE) as db:
        SystemTable(db).set(
            SystemRecord(
                system_id=system_id,
                key=new_key(),
                clean=True,
                created_at=datetime.now(UTC),
                format=_FORMAT,
            )
        )


def _empty_directory(path: Path) -> None:
    """Undo `_fill_directory`; the directory was empty."""
    with contextlib.suppress(OSError):
        for one in path.iterdir():
            if one.is_dir():
                one.rmdir()
            else:
                one.unlink()


def _state_of(path: Path, db: Database, options: Options) -> SystemState:
    system = SystemTable(db)
    record = system.get()
    if record.format > _FORMAT:
        raise FormatError(
            f"cannot open {path}: its format {record.format} is newer than {_FORMAT}",
            hint="update pyrep",
        )
    return SystemState(
        directory=path,
        options=options,
        db=db,
        system=system,
        record=record,
        boot_id=new_key(),
        volumes=VolumeTable(db),
        table=CopyTable(db),
        epochs=EpochTable(db),
        catalogue=Catalogue(db),
        journal=WorkflowJournal(db),
        peer_table=PeerTable(db),
        store=BitmapStore(path / "bitmaps", record.key),
    )


def connect(one: StorageSystem, other: StorageSystem) -> LoopPath:
    """Connect two systems of this process by path 150, in process; it is up on return.

    The path is cut when either system closes.

    Raises:
        WireError: they don't understand each other, or have one id.
    """
    path = LoopPath(one.endpoint, other.endpoint)
    path.connect()
    one.add_path(path)
    other.add_path(path)
    return path
