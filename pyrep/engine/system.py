"""The storage system: the embedding API's centre (Fig. 1, systems 100a and 100b)."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from pyrep.engine.activity import Activity
from pyrep.engine.caller import Caller
from pyrep.engine.cancel import Cancel, ProgressCallback
from pyrep.engine.changes import Changes
from pyrep.engine.decide import Judge
from pyrep.engine.digester import Digester
from pyrep.engine.digests import DigestStore
from pyrep.engine.directory import (
    check_directory,
    check_repaired,
    fill_directory,
    open_database,
    state_of,
)
from pyrep.engine.ending import Ending
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.generations import Generations
from pyrep.engine.kept import KeptGeneration
from pyrep.engine.local import LocalPairs
from pyrep.engine.marker import MarkerOutcome
from pyrep.engine.nextsvol import NextSvols
from pyrep.engine.opening import copies_to_resume, lock_directory, open_rows
from pyrep.engine.options import Options
from pyrep.engine.pair import Pair
from pyrep.engine.pairs import Pairs
from pyrep.engine.paths import Paths
from pyrep.engine.policies import effective_policy, set_policy
from pyrep.engine.remote import RemotePairs
from pyrep.engine.resync_estimate import ResyncEstimate, estimate_path
from pyrep.engine.retain import Retention, RetentionReport
from pyrep.engine.reuse import Reuse
from pyrep.engine.secondary import SecondarySide
from pyrep.engine.settling import Settling
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.engine.verify import Verifier
from pyrep.engine.volume import Volume
from pyrep.engine.volumes import Volumes
from pyrep.engine.watch import Watch
from pyrep.errors import InvalidArgumentError, PyrepError
from pyrep.interconnect.channel import Security
from pyrep.interconnect.dialer import PathState, TcpPath
from pyrep.interconnect.listener import Listener
from pyrep.interconnect.loop import LoopPath
from pyrep.interconnect.timing import PathTiming
from pyrep.meta import PolicyRecord
from pyrep.model import (
    CHUNK_BYTES_DEFAULT,
    AckPoint,
    Congestion,
    FenceLevel,
    Generation,
    GenerationId,
    GroupId,
    GroupStatus,
    NextSvol,
    PairId,
    Protect,
    RetentionPolicy,
    Row,
    SplitCause,
    SystemId,
    VolumeId,
    check_id,
)
from pyrep.seams import OwnedPath

__all__ = ["StorageSystem", "connect"]

_log = logging.getLogger(__name__)


class StorageSystem:
    """A storage system in a directory: volumes, pairs, generations, paths.

    Make one with `create` or `open`; it is a context manager. All methods may be called from any
    thread. Layout of the directory: docs/formats.md.
    """

    on_open: ClassVar[list[Callable[[StorageSystem], None]]] = []
    """What the layers above do with every system that is opened."""

    def __init__(self, state: SystemState, lock: int) -> None:
        self._state = state
        self._judge = Judge(state)
        self.generations = Generations(state)
        store = DigestStore(state.directory / "digests", state.record.key)
        self.changes = Changes(state, self.generations, store)
        self.digester = Digester(state, self.generations, self.changes, store)
        self._verifier = Verifier(state, self.generations, self.changes)
        self._local = LocalPairs(state, self.generations, self._judge)
        self._remote = RemotePairs(state, self._local, self._judge)
        self._secondary = SecondarySide(state, self._local, self._remote, self._judge)
        self._endpoint = SystemEndpoint(state, self._remote, self._secondary)
        self.reuse = Reuse(state, self.generations)
        self.next_svols = NextSvols(state, self._local, self.reuse)
        self._retention = Retention(state, self.generations)
        self._activity = Activity(state)
        self._watch = Watch(
            self._endpoint,
            self._local,
            self._remote,
            next_svols=self.next_svols,
            activity=self._activity,
            settling=Settling(state),
        )
        self._paths = Paths(state, self._endpoint)
        self._volumes = Volumes(state)
        self._pairs = Pairs(state, self._local, self._remote)
        self._ending = Ending(
            state, self._local, self._remote, self._watch, paths=self._paths, lock=lock
        )

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
        path = Path(directory)
        fill_directory(path, SystemId(check_id("system", system_id)))
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
            RefusedError: a repair of it was stopped.
        """
        path = Path(directory).absolute()
        check_directory(path)
        with contextlib.ExitStack() as undo:
            lock = lock_directory(path)
            undo.callback(os.close, lock)
            check_repaired(path)
            db = open_database(path)
            undo.callback(db.close)
            state = state_of(path, db, options or Options())
            open_rows(state)
            system = cls(state, lock)
            undo.pop_all()  # it is the system's to free now
        try:
            system._resume()
            for attach in cls.on_open:
                attach(system)
            system.digester.start()
            system.next_svols.want_all()
            system._watch.start()
        except BaseException:
            system.abort()
            raise
        _log.info("system.open system=%s directory=%s", state.system_id, path)
        return system

    def _resume(self) -> None:
        for mirror in copies_to_resume(self._state):
            pair_id = mirror.row.pair_id
            try:
                if mirror.row.cause is SplitCause.UNCLEAN:
                    self._local.copies.resync_forward(pair_id, lease=ANY_LEASE)
                else:
                    self._local.copies.resume_copy(pair_id)
            except PyrepError as error:
                _log.info("pair.resume pair=%s not now: %s", pair_id, error)

    def close(self) -> None:
        """End everything cleanly. Idempotent.

        Copies stop (and go on at the next open), paths are cut, bitmaps and tables are written.

        Raises:
            DeviceError: something couldn't be written; the next open treats it as an unclean end.
        """
        self._ending.close()

    def abort(self) -> None:
        """End as a crash would: nothing is written, marks stay. For tests of the next open."""
        self._ending.abort()

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
        return Volume(self._state, self._volumes.create(volume_id, size_bytes))

    def attach_volume(self, volume_id: str, path: Path | str) -> Volume:
        """Make a volume of an existing regular file or block device, with the content it has.

        Of a device nothing says whether somebody wrote to it while the system was closed and the
        machine was started anew; name it by a path that stays: /dev/disk/by-id/….

        Raises:
            ExistsError: the id, the file or the device is a volume of this system.
            InUseError: it is a volume of another open system, or locked by a program; a device is
                mounted or otherwise in use.
            NotFoundError, InvalidArgumentError, ReadOnlyError: it can't be used.
        """
        return Volume(self._state, self._volumes.attach(volume_id, path))

    def delete_volume(self, volume_id: str) -> None:
        """Forget a volume; the file of one that the system made is deleted, an attached one kept.

        Raises:
            RefusedError: it is in a pair. BusyError: a workflow holds it.
        """
        self._volumes.delete(volume_id)

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
        congestion: Congestion = Congestion.BLOCK,
        fence_level: FenceLevel = FenceLevel.NEVER,
        protect: Protect = Protect.REQUIRE,
        chunk_bytes: int = CHUNK_BYTES_DEFAULT,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Pair:
        """Mirror a volume to one of a connected system; the initial copy begins.

        Args:
            pvol: a volume here.
            system_id: the secondary.
            svol: its volume, of the same size; its content is overwritten.
            group: consistency group; pairs of one group keep one order of writes and are backed up
                at one point. By default the pair has one of its own.
            ack: when a write is acknowledged: queued here (asynchronous), received or durable at
                the secondary. Those of one group may differ, the order of writes is one.
            congestion: what a write does that finds no room in the queue.
            fence_level: what it does while the secondary can't be reached.
            protect: what a copy into one of the volumes does first with its DUPLEX local mirrors;
                `Pair.set_protect` changes it.
            chunk_bytes: as in `create_local_pair`.
            progress: told what it waits for.
            cancel: heard of when the secondary has answered; it forgets its side then.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError, BusyError, PathLostError: nothing has
                changed.
            CancelledError: nothing has changed but, perhaps, that local mirrors of the SVOL were
                split, as `protect` says.
        """
        pair_id = self._remote.create(
            VolumeId(pvol),
            SystemId(system_id),
            VolumeId(svol),
            group_id=GroupId(check_id("group", group)) if group else None,
            ack=ack,
            congestion=congestion,
            fence_level=fence_level,
            protect=protect,
            chunk_bytes=chunk_bytes,
            caller=Caller(
                f"creation of a pair {pvol} → {system_id}:{svol}", progress=progress, cancel=cancel
            ),
        )
        return self.pair(pair_id)

    def pair(self, pair_id: str) -> Pair:
        """Return a pair that this system holds a side of. NotFoundError names those there are."""
        return self._pairs.get(pair_id)

    def wait_marker(
        self,
        *pair_ids: str,
        group: str | None = None,
        until: AckPoint = AckPoint.DURABLE,
        timeout_s: float | None = None,
        cancel: Cancel | None = None,
    ) -> dict[PairId, MarkerOutcome]:
        """Wait until everything written before this call is at the secondary.

        A pair in COPY is waited for until it is DUPLEX. What was pulled ahead of isn't in order, so
        that a pair that is SPLIT is broken, or was changed, at once. It may be called again.

        Args:
            pair_ids: remote pairs whose PVOL is here.
            group: also all pairs of this consistency group.
            until: RECEIVED there, or DURABLE.
            timeout_s: seconds; None waits for ever.
            cancel: ends the wait; nothing else.

        Returns:
            What became of it, per pair.

        Raises:
            RefusedError: a pair is local, or its PVOL is at the other system.
            NotFoundError: there is no such pair or group, or nothing was named.
            CancelledError: `cancel`, or the system is closing.
        """
        return self._pairs.wait_marker(
            pair_ids, group, until=until, timeout_s=timeout_s, cancel=cancel
        )

    def pairs(self) -> tuple[Pair, ...]:
        """Return all pairs that this system holds a side of."""
        return self._pairs.all()

    def table(self) -> tuple[Row, ...]:
        """Return the copy management table (Fig. 3)."""
        return self._state.table.rows()

    def group_status(self, group: str) -> GroupStatus:
        """Return the status of a consistency group: that of its worst member.

        Raises:
            NotFoundError: no pair of this system is in a group of this name.
        """
        return self._pairs.group_status(group)

    def split_pairs(
        self,
        pair_ids: Sequence[str],
        *,
        label: str = "",
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Generation | None:
        """Split several pairs, all local or all remote with their PVOLs here, at one point (INV-6).

        Args:
            pair_ids: which.
            label, progress, cancel: as in `Pair.split`.

        Returns:
            Of local pairs, the generation that they became together.

        Raises:
            RefusedError, BusyError, TimedOutError, CancelledError: none was split.
        """
        return self._pairs.split(pair_ids, label=label, progress=progress, cancel=cancel)

    # --- paths -----------------------------------------------------------------------------------

    def add_path(self, path: OwnedPath) -> None:
        """Own a path: it is closed when the system closes."""
        self._paths.add(path)

    def listen(
        self, address: str, *, security: Security, timing: PathTiming | None = None
    ) -> Listener:
        """Let other systems dial this one, until the system or the listener is closed.

        Args:
            address: host:port of this machine; port 0 is any that is free, `Listener.address`.
            security: `Tls`, or `Plain()` for a network that nobody else is in.
            timing: how long to wait for what.

        Raises:
            InvalidArgumentError: that isn't an address.
            DeviceError: nobody can listen there.
        """
        return self._paths.listen(address, security=security, timing=timing)

    def dial(
        self,
        system_id: str,
        address: str,
        *,
        security: Security,
        timing: PathTiming | None = None,
    ) -> TcpPath:
        """Keep a path to a system: dial it, and again whenever the path is lost, until closed.

        It returns at once; `TcpPath.state()` tells more. Both systems may dial each other.

        Args:
            system_id: whom to expect there.
            address: host:port.
            security, timing: as in `listen`.

        Raises:
            InvalidArgumentError: that isn't an address, or another system's id.
        """
        if system_id == self.system_id:
            raise InvalidArgumentError(
                f"system {system_id} can't dial itself", hint="name the other system"
            )
        return self._paths.dial(system_id, address, security=security, timing=timing)

    def cut_off(self, system_id: str) -> bool:
        """End the connection with a system, as if it were lost; return whether there was one.

        It is dialled, and may dial, again: who isn't to come back is denied (`Tls.denied`).
        """
        peer = self._state.peers.get(SystemId(system_id))
        connection = None if peer is None else peer.in_use()
        if connection is not None:
            connection.close()
        return connection is not None

    def paths(self) -> tuple[PathState, ...]:
        """Return the state of each path that this system dials."""
        return self._paths.states()

    def estimate_path(self, system_id: str) -> tuple[ResyncEstimate, ...]:
        """Tell what resyncs of all pairs with a secondary would copy: a dry connect.

        Nothing is done. Of the pairs whose PVOL is here; what would be refused is told, not raised.
        As `Pair.estimate` without a direction.

        Raises:
            NotFoundError: there never was a path to that system.
            PathLostError: it can't be asked.
        """
        return tuple(estimate_path(self._state, self._remote, SystemId(system_id)))

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

    def kept(self, generation_id: str) -> KeptGeneration:
        """Return a generation to work with: marks, digests, verifying, comparing.

        Raises:
            NotFoundError: there is none of this id; the hint names those there are.
        """
        found = self.generations.get(GenerationId(generation_id)).generation_id
        return KeptGeneration(found, self.generations, self.changes, self.digester, self._verifier)

    def set_policy(
        self,
        volume: str | None = None,
        *,
        next_svol: NextSvol | None = None,
        retention: RetentionPolicy | None = None,
    ) -> None:
        """Say what becomes of the generations of a volume; durable on return.

        What isn't named here stays as it was set.

        Args:
            volume: the source volume here (105b); None: all that have no policy of their own.
            next_svol: when the SVOL of the next backup is brought to DUPLEX.
            retention: what `apply_retention` keeps, and how many complete generations backups keep.

        Raises:
            NotFoundError: there is no such volume.
        """
        set_policy(self._state, volume, next_svol=next_svol, retention=retention)
        self.next_svols.want_all()

    def policy(self, volume: str) -> PolicyRecord:
        """Return what holds for a volume: its own policies, where unset the system's."""
        return effective_policy(self._state, volume)

    def apply_retention(
        self, *volumes: str, dry_run: bool = False, now: datetime | None = None
    ) -> RetentionReport:
        """Give up the generations that no rule of their volumes' policies keeps.

        Their SVOLs are free for the next backup, and take host writes until then. What is protected
        or in use stays; so do the newest complete ones, as many as the policy's minimum.

        Args:
            volumes: source volumes here; none named: all that have a policy.
            dry_run: decide, and do nothing; the report is the same.
            now: the time that ages count from.

        Returns:
            The report; `str` of it has the reason for each generation.

        Raises:
            RefusedError: a volume has no policy, or one that keeps nothing: nothing was given up.
            NotFoundError: there is no such volume.
        """
        return self._retention.apply([VolumeId(one) for one in volumes], dry_run=dry_run, now=now)

    def protect_generation(self, generation_id: str) -> Generation:
        """Keep a generation from being given up until it is unprotected."""
        return self.generations.protect(GenerationId(generation_id))

    def unprotect_generation(self, generation_id: str) -> Generation:
        """Let a generation be given up again."""
        return self.generations.unprotect(GenerationId(generation_id))


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
