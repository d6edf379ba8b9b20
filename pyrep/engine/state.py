"""The state of an open storage system: what the engine's parts share, and who may change it when.

Locks, outermost first: a pair's *operation* (one command per pair; may be held for long, across
calls to other systems), then `control` (short; never held across a wait or a call to another
system), then the core's own (csrc/rep_tree.h). Rows change in `commit` alone: durable first, then
the fences that follow from them.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pyrep._core import Fence, Wake
from pyrep.engine.alogstore import LogStore
from pyrep.engine.intervals import forget_intervals, record_intervals
from pyrep.engine.livevolume import LiveVolume
from pyrep.engine.mirror import Mirror, MirrorKey
from pyrep.engine.options import Options
from pyrep.engine.roles import guard_of, role_fence
from pyrep.engine.rowrules import counted, identified
from pyrep.engine.store import BitmapStore, remove_files
from pyrep.engine.trees import Trees
from pyrep.errors import BusyError, InvalidArgumentError, NotFoundError, PyrepError
from pyrep.meta import (
    Catalogue,
    CopyTable,
    Database,
    DigestTable,
    EpochRecord,
    EpochTable,
    PeerTable,
    PolicyTable,
    SystemRecord,
    SystemTable,
    VolumeTable,
    WorkflowJournal,
)
from pyrep.model import (
    GenerationId,
    GenerationState,
    PairId,
    PairStatus,
    Row,
    SystemId,
    VolumeId,
    WorkflowId,
    check_text,
    new_content_id,
)

if TYPE_CHECKING:
    from pyrep.engine.peer import Peer

__all__ = ["ANY_LEASE", "UNLEASED", "SystemState"]

ANY_LEASE = WorkflowId("*")
"""The system's own doing: goes on whatever workflow has the volumes leased."""

UNLEASED = WorkflowId("-")
"""The system's own doing, too, but with volumes that no workflow has leased alone."""

_OWN_DOING = {ANY_LEASE, UNLEASED}

_log = logging.getLogger(__name__)


_HELD = {GenerationState.TAKING, GenerationState.UNCONFIRMED, GenerationState.COMPLETE}


@dataclass(slots=True)
class SystemState:
    """See the module's text."""

    directory: Path
    options: Options
    db: Database
    system: SystemTable
    record: SystemRecord
    boot_id: bytes
    volumes: VolumeTable
    table: CopyTable
    epochs: EpochTable
    catalogue: Catalogue
    journal: WorkflowJournal
    peer_table: PeerTable
    digests: DigestTable
    policies: PolicyTable
    store: BitmapStore
    logs: LogStore
    control: threading.Condition = field(default_factory=threading.Condition)
    wake: Wake = field(default_factory=Wake)
    trees: Trees = field(default_factory=Trees)
    live: dict[VolumeId, LiveVolume] = field(default_factory=dict)
    mirrors: dict[MirrorKey, Mirror] = field(default_factory=dict)
    peers: dict[SystemId, Peer] = field(default_factory=dict)
    operations: dict[PairId, str] = field(default_factory=dict)
    own_doing: set[PairId] = field(default_factory=set)
    ending: set[WorkflowId] = field(default_factory=set)
    """Workflows that another system leads and that are being ended here alone."""
    asking: set[SystemId] = field(default_factory=set)
    """Systems that are asked in the background which generations they hold."""
    acting: dict[WorkflowId, list[object]] = field(default_factory=dict)
    """Who acts at the host of a workflow's volume, and who waits to, in this order."""
    threads: list[threading.Thread] = field(default_factory=list)
    serving: int = 0
    closing: bool = False

    @property
    def system_id(self) -> SystemId:
        """The system's id."""
        return self.record.system_id

    def background(self, name: str, work: Callable[[], None]) -> None:
        """Do something in a thread of its own, which `close` joins; what it raises is logged."""

        def run() -> None:
            try:
                work()
            except PyrepError as error:
                _log.info("%s stopped: %s", name, error)
            except Exception:  # noqa: BLE001 (nobody waits for this thread)
                _log.exception("%s failed", name)

        thread = threading.Thread(target=run, name=name, daemon=True)
        with self.control:
            if self.closing:
                return
            self.threads = [one for one in self.threads if one.is_alive()]
            self.threads.append(thread)
            thread.start()

    # --- looking things up -----------------------------------------------------------------------

    def volume(self, volume_id: VolumeId) -> LiveVolume:
        """Return an open volume. NotFoundError: there is none of this id."""
        with self.control:
            found = self.live.get(check_text("volume", volume_id))
            if found is None:
                self.check_open()
                self.volumes.get(volume_id)  # raises with the known ids
                raise NotFoundError(
                    f"volume {volume_id} isn't open",
                    hint="open the system again: what keeps it from being used is said then",
                )
            return found

    def check_open(self) -> None:
        """Raise when the system is closed."""
        if self.closing:
            raise InvalidArgumentError(f"system {self.system_id} is closed")

    def mirror(self, pair_id: PairId, volume_id: VolumeId | None = None) -> Mirror:
        """Return this system's side of a pair; for a local pair without a volume, the PVOL's."""
        with self.control:
            self.check_open()
            row = self.table.get(pair_id, volume_id)
            return self.mirrors[pair_id, row.volume_id]

    def sides(self, pair_id: PairId) -> tuple[Mirror, Mirror]:
        """Return both sides of a local pair: the PVOL's, the SVOL's."""
        with self.control:
            self.check_open()
            pvol, svol = self.table.pair_rows(pair_id)
            return self.mirrors[pair_id, pvol.volume_id], self.mirrors[pair_id, svol.volume_id]

    def mirrors_of(self, volume_id: VolumeId) -> list[Mirror]:
        """Return the live rows of a volume."""
        with self.control:
            return [one for one in self.mirrors.values() if one.row.volume_id == volume_id]

    def local_svol_mirrors(self, volume_id: VolumeId) -> list[Mirror]:
        """Return the rows of a volume in which it is the PVOL of a local pair."""
        rows = self.mirrors_of(volume_id)
        return [one for one in rows if one.row.is_primary and not one.row.is_remote]

    def remote_mirror(self, volume_id: VolumeId) -> Mirror | None:
        """Return the row in which the volume is the target of a remote pair (an SPVOL)."""
        rows = self.mirrors_of(volume_id)
        return next((one for one in rows if one.row.is_remote and not one.row.is_primary), None)

    def root_of(self, volume_id: VolumeId) -> VolumeId:
        """Return the volume that names the tree: the one that is no local pair's SVOL."""
        with self.control:
            for one in self.mirrors_of(volume_id):
                if not one.row.is_remote and not one.row.is_primary:
                    return self.root_of(one.row.mirror_volume_id)
            return volume_id

    def peer(self, system_id: SystemId) -> Peer:
        """Return a connected system. NotFoundError: there never was a path to it."""
        with self.control:
            found = self.peers.get(check_text("system", system_id))
            if found is None:
                known = ", ".join(sorted(self.peers)) or "none yet"
                raise NotFoundError(
                    f"system {self.system_id} has no path to system {system_id}",
                    hint=f"connect the two systems first; known: {known}",
                )
            return found

    # --- changing rows ---------------------------------------------------------------------------

    def commit(self, *rows: Row, first: Callable[[], object] | None = None) -> None:
        """Make rows durable, then let links' owners and fences follow (INV-2).

        Args:
            rows: the rows as they are to be.
            first: what else becomes durable with them, in one transaction. Don't call this inside
                one: what follows from a change would then come before it is durable.
        """
        with self.control:
            rows = tuple(
                counted(identified(self.mirrors[one.pair_id, one.volume_id].row, one))
                for one in rows
            )
            changed, marked = self._with_intervals(rows)
            with self.db.transaction():
                if first is not None:
                    first()
                for row in changed:
                    self.table.replace(row)
                for volume_id, records in marked.items():
                    self.epochs.replace_all(volume_id, records)
            for volume_id, records in marked.items():
                # Beside what goes on: of a large volume one is scattered over 256 MiB. What isn't
                # deleted, the next open takes for a stray.
                gone = forget_intervals(self.live[volume_id], self.store, records)
                if gone:
                    self.background("remove marks", functools.partial(remove_files, gone))
            for row in changed:
                mirror = self.mirrors[row.pair_id, row.volume_id]
                old, mirror.row = mirror.row, row
                if (old.status, old.cause) != (row.status, row.cause):
                    _log.info(
                        "pair.status pair=%s volume=%s from=%s to=%s cause=%s",
                        row.pair_id,
                        row.volume_id,
                        old.status,
                        row.status,
                        row.cause,
                    )
                guard = guard_of(row)
                if guard is not None:
                    mirror.link.guard(on=guard)
                is_over = old.status is PairStatus.COPY and not mirror.link.info().any_pending
                if old.status is not row.status and (row.status is PairStatus.DUPLEX or is_over):
                    self.save(mirror)
            self.refence({row.volume_id for row in rows})

    def age(self, ages: Iterable[tuple[Mirror, int]]) -> None:
        """Let the data identifiers of rows be so old, durably, all of them at once (INV-2).

        From an age alone nothing follows, neither for links nor for fences.
        """
        with self.control:
            rows = [
                (mirror, replace(mirror.row, lineage=mirror.row.lineage.aged(age)))
                for mirror, age in ages
                if mirror.row.lineage.age != age
            ]
            if not rows:
                return
            self.table.set_ages(row for _, row in rows)
            for mirror, row in rows:
                mirror.row = row

    def _with_intervals(
        self, rows: Sequence[Row]
    ) -> tuple[list[Row], dict[VolumeId, list[EpochRecord]]]:
        """Return the rows with the marks they share from their split on, and these marks' records.

        Closed intervals are saved, once each. The last one needs no file: after a crash it is what
        a row that begins there has pending, or more.
        """
        out: list[Row] = []
        marked: dict[VolumeId, list[EpochRecord]] = {}
        for row in rows:
            shares = row.is_primary and not row.is_remote and row.status is PairStatus.SPLIT
            start = (
                self.mirrors[row.pair_id, row.volume_id].link.info().epoch_start if shares else 0
            )
            if start and start != row.epoch_start:
                marked[row.volume_id] = record_intervals(
                    self.live[row.volume_id], self.store, row.chunk_bytes
                )
            out.append(replace(row, epoch_start=start) if start else row)
        return out, marked

    def save(self, mirror: Mirror) -> None:
        """Save a row whose cover is known: a crash from now on costs that, and what is hot."""
        try:
            self.write(mirror)
        except PyrepError as error:  # at worst everything is pending after a crash
            _log.warning("pair.save pair=%s: %s", mirror.row.pair_id, error)

    def write(self, mirror: Mirror) -> None:
        """Write a row's pages, and free what has left the log: bits that are no more.

        `Settling` lets the log forget them, within a second.

        Raises:
            PyrepError: as `Mirror.save`; or the row is saved, but another one's pages aren't.
        """
        mirror.save()
        log = self.volume(mirror.row.volume_id).log
        if log is not None:
            log.checkpoint()

    def change(self, mirror: Mirror, **columns: object) -> None:
        """Commit a change of one row's columns."""
        with self.control:
            self.commit(replace(mirror.row, **columns))  # type: ignore[arg-type]

    def refence(self, volume_ids: Iterable[VolumeId]) -> None:
        """Set the role fences of these volumes as their rows and generations want them."""
        with self.control:
            for volume_id in volume_ids:
                rows = [one.row for one in self.mirrors_of(volume_id)]
                held = self.held_generation(volume_id) is not None
                fence = role_fence(rows, holds_generation=held)
                live = self.live[volume_id]
                if fence & Fence.FIRST and any(not one.closed for one in live.handles):
                    self.note_written(volume_id)
                else:
                    live.core.fence(fence)

    def note_written(self, volume_id: VolumeId) -> None:
        """Give an SVOL that is about to be written to, by whom ever, a data identifier of its own.

        Durable when this returns (INV-2); of other volumes, and of one that has one, nothing
        changes. For hosts the fence sees to it (`Fence.FIRST`).
        """
        with self.control:
            rows = [
                replace(row, lineage=row.lineage.diverged(new_content_id()))
                for row in (one.row for one in self.mirrors_of(volume_id))
                if row.is_remote and not row.is_primary and row.status is PairStatus.SPLIT
            ]
            if any(
                one.lineage is not self.mirrors[one.pair_id, one.volume_id].row.lineage
                for one in rows
            ):
                self.commit(*rows)
            else:
                self.refence([volume_id])

    def held_generation(self, svol: VolumeId) -> str | None:
        """Return the id of the generation whose content this SVOL holds, or None."""
        return self.held_generations().get(svol)

    def held_generations(self) -> dict[VolumeId, GenerationId]:
        """Return the generation whose content each SVOL holds, of those that hold one."""
        held: dict[VolumeId, GenerationId] = {}
        for generation in self.catalogue.held(self.system_id, _HELD):
            for member in generation.members:
                held.setdefault(member.svol, generation.generation_id)
        return held

    # --- one command at a time -------------------------------------------------------------------

    @contextlib.contextmanager
    def operation(
        self,
        doing: str,
        pair_ids: Sequence[PairId],
        *,
        lease: WorkflowId | None = None,
        timeout_s: float = 0,
    ) -> Iterator[None]:
        """Hold pairs for one command.

        Args:
            doing: the command, in the user's words.
            pair_ids: which pairs.
            lease: the workflow on whose behalf.
            timeout_s: how long to wait for other commands. What the system does by itself is
                always waited for: it doesn't take long, and nobody could know of it.

        Raises:
            BusyError: another command holds one of them, or a workflow has its tree leased.
        """

        def held() -> set[PairId]:
            return set() if self.closing else self.operations.keys() & set(pair_ids)

        with self.control:
            self.check_open()
            self.control.wait_for(lambda: not held(), timeout_s)
            if lease not in _OWN_DOING:
                longest_s = self.options.ack_timeout_s
                self.control.wait_for(lambda: not held() & self.own_doing, longest_s)
            self.check_open()
            for pair_id in pair_ids:
                other = self.operations.get(pair_id)
                if other:
                    raise BusyError(
                        f"cannot {doing} pair {pair_id}: a command to {other} it is running",
                        hint="wait until it has ended",
                    )
                rows = [one.row for one in self.mirrors.values() if one.row.pair_id == pair_id]
                self.check_leases(f"{doing} pair {pair_id}", [one.volume_id for one in rows], lease)
            for pair_id in pair_ids:
                self.operations[pair_id] = doing
                if lease in _OWN_DOING:
                    self.own_doing.add(pair_id)
        try:
            yield
        finally:
            with self.control:
                for pair_id in pair_ids:
                    self.operations.pop(pair_id, None)
                    self.own_doing.discard(pair_id)
                self.control.notify_all()

    def check_leases(
        self, doing: str, volume_ids: Iterable[VolumeId], lease: WorkflowId | None
    ) -> None:
        """Raise BusyError when a workflow other than `lease` has one of the volumes' trees."""
        if lease == ANY_LEASE:
            return
        for volume_id in volume_ids:
            holder = self.journal.holder(self.root_of(volume_id))
            if holder is not None and holder != lease:
                raise BusyError(
                    f"cannot {doing}: workflow {holder} has volume {volume_id} leased",
                    hint=f"wait until {holder} has ended; if it stopped, resume or abandon it",
                )

    # --- ending ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Count the caller in, who does something for another system: `close` waits for it.

        A system that is closing still takes acknowledgements; nothing comes once its paths are cut.
        """
        with self.control:
            self.serving += 1
        try:
            yield
        finally:
            with self.control:
                self.serving -= 1
                self.control.notify_all()

    def wait_idle(self) -> None:
        """Wait until no command and no service for another system is under way."""
        with self.control:
            self.control.wait_for(lambda: not self.operations and not self.serving)
