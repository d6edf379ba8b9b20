"""Remote pairs at their primary, which orders every command (Fig. 1, remote mirror 130)."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec

from pyrep._core import LinkCore
from pyrep.engine.activity import keep_row
from pyrep.engine.ageing import Ageing
from pyrep.engine.caller import Caller
from pyrep.engine.decide import Judge
from pyrep.engine.local import LocalPairs
from pyrep.engine.marker import Markers
from pyrep.engine.mirror import Mirror
from pyrep.engine.peer import Peer
from pyrep.engine.remote_congestion import RemoteCongestion
from pyrep.engine.remote_copies import RemoteCopies
from pyrep.engine.remote_copies_back import RemoteCopiesBack
from pyrep.engine.remote_copyjobs import RemoteCopyJobs
from pyrep.engine.remote_failures import RemoteFailures
from pyrep.engine.remote_line import RemoteLine, expect
from pyrep.engine.remote_resumes import RemoteResumes
from pyrep.engine.remote_splits import RemoteSplits
from pyrep.engine.state import SystemState
from pyrep.errors import (
    CancelledError,
    PathLostError,
    PyrepError,
    RefusedError,
)
from pyrep.interconnect.messages import (
    Call,
    CreatePair,
    PairCreated,
    RemovePair,
    Result,
    Waits,
)
from pyrep.model import (
    AckPoint,
    Congestion,
    CopyType,
    FenceLevel,
    GroupId,
    Lineage,
    PairId,
    PairStatus,
    Primary,
    Protect,
    Row,
    SystemId,
    VolumeId,
    WorkflowId,
    make_pair_id,
    new_content_id,
    new_key,
)
from pyrep.model.roles import VolumeRef
from pyrep.model.situation import Command, Force
from pyrep.seams import Connection

__all__ = ["RemotePairs"]

_log = logging.getLogger(__name__)


class RemotePairs:
    """Commands on the remote pairs whose PVOL is here.

    Attributes:
        line: what passes to the secondary.
        failures: volumes that failed.
        meetings: what both sides hold, by their data identifiers.
        splits: splits, also those before a repair.
        copies, copies_back: resyncs, forward and reverse.
        resumes: what a path's loss and return do.
        markers: whether what was written is there.
        congestion: what a full queue does.
        ageing: what tells old copies of running systems.
    """

    def __init__(self, state: SystemState, local: LocalPairs, judge: Judge) -> None:
        self._state = state
        self._judge = judge
        self.line = RemoteLine(state)
        self.failures = RemoteFailures(state, self.line)
        self.splits = RemoteSplits(state, judge, self.line, self.failures)
        jobs = RemoteCopyJobs(state, self.line, self.failures)
        self.meetings = jobs.meetings
        self.copies = RemoteCopies(state, judge, self.line, jobs)
        self.copies_back = RemoteCopiesBack(state, local, judge, self.line, jobs)
        self.resumes = RemoteResumes(state, self.line, self.copies, self.copies_back)
        self.markers = Markers(state, self.line)
        self.congestion = RemoteCongestion(state, self.line, self.copies)
        self.ageing = Ageing(state)

    # --- create ----------------------------------------------------------------------------------

    def create(
        self,
        pvol: VolumeId,
        system_id: SystemId,
        svol: VolumeId,
        *,
        group_id: GroupId | None,
        ack: AckPoint,
        congestion: Congestion,
        fence_level: FenceLevel,
        protect: Protect,
        chunk_bytes: int,
        caller: Caller | None = None,
    ) -> PairId:
        """Make a remote pair and begin its initial copy.

        Local copies out of the SVOL that are just ending are waited for, at most the secondary's
        `Options.copy_wait_s`.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError, BusyError, PathLostError: nothing has
                changed.
            CancelledError: the caller gave up; nothing has changed but, perhaps, that mirrors of
                the SVOL were split.
        """
        caller = caller or Caller()
        state = self._state
        peer = state.peer(system_id)
        name = f"cannot create a remote pair {pvol} → {system_id}:{svol}"
        source, target = VolumeRef(state.system_id, pvol), VolumeRef(system_id, svol)

        def check() -> None:
            self._judge.check_create_remote(name, pvol, source, target, chunk_bytes)
            if group_id is not None:
                self._check_one_policy(name, system_id, group_id, congestion)

        with state.control:
            live = state.volume(pvol)
            check()
            state.check_leases(name.removeprefix("cannot "), [pvol], None)
            pair_id = make_pair_id(state.system_id, state.table.next_pair_number())
        group = group_id or _own_group(pair_id)
        begun = Lineage().as_source(new_content_id(), new_content_id())
        row = Row(
            pair_id=pair_id,
            copy_type=CopyType.REMOTE,
            volume_id=pvol,
            pair_system_id=system_id,
            mirror_volume_id=svol,
            primary=Primary.YES,
            status=PairStatus.COPY,
            row_key=new_key(),
            group_id=group,
            ack=ack,
            chunk_bytes=chunk_bytes,
            pending_union=True,
            congestion=congestion,
            fence_level=fence_level,
            protect=protect,
            lineage=begun,
        )
        asked = CreatePair(
            pair_id=pair_id,
            pvol=pvol,
            svol=svol,
            size_bytes=live.record.size_bytes,
            chunk_bytes=chunk_bytes,
            group_id=group,
            ack=ack,
            current=begun.common,
            protect=protect,
        )
        with state.operation("create", [pair_id]):
            caller.tell(f"waiting for system {system_id}, which keeps a consistent copy first")
            mirror, is_blank = self._create_both(peer, asked, row, check, caller)
            caller.tell("beginning the initial copy")
            try:
                self.copies.start_new(mirror, onto_blank=is_blank)
            except PathLostError as error:
                _log.info("pair.create pair=%s copy waits for the path: %s", pair_id, error)
            except CancelledError:  # the system is being closed: it goes on when it is opened
                raise
            except PyrepError:
                self._take_back(peer, mirror)
                raise
        return pair_id

    def _take_back(self, peer: Peer, mirror: Mirror) -> None:
        """Dissolve a pair whose first copy couldn't begin: nothing has changed for who asked."""
        mirror.link.mark()
        self.line.drain_or_break(mirror)  # as in `stop`
        with contextlib.suppress(PyrepError):  # it is told when it hears of this system's pairs
            peer.ask(RemovePair(pair_id=mirror.row.pair_id))
        self.forget(mirror)

    def _check_one_policy(
        self, name: str, system_id: SystemId, group_id: GroupId, congestion: Congestion
    ) -> None:
        """A group has one queue: it pulls ahead as a whole, or its order would be lost."""
        for one in self._state.mirrors.values():
            row = one.row
            same = row.is_primary and (row.pair_system_id, row.group_id) == (system_id, group_id)
            if same and row.congestion is not congestion:
                raise RefusedError(
                    f"{name}: group {group_id} has congestion policy {row.congestion}, not "
                    f"{congestion}: pair {row.pair_id}",
                    hint=f"create it with congestion {row.congestion}, or in another group",
                )

    def _create_both(
        self, peer: Peer, asked: CreatePair, row: Row, check: Callable[[], None], caller: Caller
    ) -> tuple[Mirror, bool]:
        """Make the secondary's row, then this one: what a crash leaves between is forgotten.

        Returns:
            The row, all of it pending, and whether the SVOL is without data, as it stays until
            something is sent: its hosts are kept off. INV-5.
        """
        begun_s = time.monotonic()
        while True:
            with peer.roster:
                answer = peer.ask(asked)
                if not isinstance(answer, Waits):
                    is_blank = expect(answer, PairCreated).blank
                    mirror = self._open_first(peer, row, check, caller)
                    mirror.mark_all()
                    return mirror, is_blank
            self.line.tell_of(peer, answer, caller)
            asked = msgspec.structs.replace(asked, waited_s=time.monotonic() - begun_s)

    def _open_first(
        self, peer: Peer, row: Row, check: Callable[[], None], caller: Caller
    ) -> Mirror:
        """Open the row of a pair that the secondary knows, or let it forget that."""
        try:
            caller.past("the pair is being made; it can be dissolved then")
            return self.open_row(row, check)
        except BaseException:
            with contextlib.suppress(PathLostError):  # it is told when the path is back
                peer.ask(RemovePair(pair_id=row.pair_id))
            raise

    def open_row(self, row: Row, check: Callable[[], None]) -> Mirror:
        """Make a new row durable and live, marking, if `check` still doesn't refuse."""
        state = self._state
        with state.control:
            check()
            live = state.volume(row.volume_id)
            link = LinkCore(live.core, chunk_bytes=row.chunk_bytes, shares_marks=False)
            try:
                file = state.store.create(row, live.record.key, live.record.size_bytes)
                mirror = Mirror(row, link, file)
                keep_row(state, mirror)
                link.mark()
                state.table.insert(row)
            except BaseException:
                link.close()
                state.store.remove(row.row_key)
                raise
            state.mirrors[mirror.key] = mirror
            state.refence([row.volume_id])
            return mirror

    # --- dissolve --------------------------------------------------------------------------------

    def dissolve(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        force: Force | None = None,
        without_peer: bool = False,
        caller: Caller | None = None,
    ) -> None:
        """End the pair on both sides; the SVOL keeps what was written so far.

        Raises:
            RefusedError, BusyError, TimedOutError, CancelledError: nothing has changed.
            PathLostError: the secondary wasn't reached; the pair is SPLIT.

        `without_peer`: this side alone, because the other system is gone.
        """
        state = self._state
        caller = caller or Caller()
        self.failures.refresh()
        with state.operation("dissolve", [pair_id], lease=lease):
            mirror = state.mirror(pair_id)
            if without_peer:
                self._dissolve_alone(mirror, force)
                return
            self._judge.remote(Command.DISSOLVE, mirror, force=force)
            if mirror.row.status is PairStatus.DUPLEX:
                self.line.peer(mirror).connection()  # before anything changes
                self.splits.split_held([mirror], caller)
            else:
                caller.past("the pair is being dissolved")
            caller.tell(f"telling system {mirror.row.pair_system_id} that the pair is no more")
            self.line.peer(mirror).ask(RemovePair(pair_id=pair_id))
            self.forget(mirror)

    def _dissolve_alone(self, mirror: Mirror, force: Force | None) -> None:
        """End this side; the other one forgets its own when it hears of this one's pairs again."""
        self._check_is_gone(mirror)
        if mirror.row.is_primary or mirror.row.status is not PairStatus.COPY:
            self._judge.remote(Command.DISSOLVE, mirror, force=force)
        else:  # the primary is gone that could split it: nobody else goes on with this copy
            self._judge.abandoned_copy(mirror, force=force)
            if mirror.job:
                mirror.job.close()
        self.forget(mirror)

    def _check_is_gone(self, mirror: Mirror) -> None:
        peer = self._state.peers.get(mirror.row.pair_system_id)
        if peer is not None and peer.is_connected:
            raise RefusedError(
                f"cannot dissolve pair {mirror.row.pair_id} without system {peer.system_id}: the "
                f"path to it is up",
                hint="dissolve it on both sides: pair.dissolve()",
            )

    def forget(self, mirror: Mirror, *, connection: Connection | None = None) -> None:
        """Remove this side's row and free what it uses.

        Args:
            mirror: the row.
            connection: over which the order came. PathLostError: it is late, and nothing has
                changed: by a later one the pair may have been brought back.
        """
        state = self._state
        with state.control:
            if connection is not None:
                state.peer(mirror.row.pair_system_id).check_in_use(connection)
            if state.mirrors.get(mirror.key) is not mirror:
                return  # forgotten meanwhile
            state.table.remove(*mirror.key)
            del state.mirrors[mirror.key]
            peer = state.peers.get(mirror.row.pair_system_id)
            if peer is not None:
                peer.unbind_link(mirror.link)
                self._leave_group(peer, mirror)
            mirror.close()
            state.store.remove(mirror.row.row_key)
            state.refence([mirror.row.volume_id])

    def _leave_group(self, peer: Peer, gone: Mirror) -> None:
        """Let go of what a group without pairs has: a queue, a thread."""
        group_id = gone.row.group_id
        if group_id is None:
            return
        left = [
            one.row
            for one in self._state.mirrors.values()
            if (one.row.pair_system_id, one.row.group_id) == (peer.system_id, group_id)
            and one.row.is_primary == gone.row.is_primary
        ]
        if left:
            return
        if not gone.row.is_primary:
            peer.leave_incoming(group_id)
        elif group_id == _own_group(gone.row.pair_id):  # ids of pairs aren't used again
            peer.end_outlet(group_id)
        else:
            peer.leave_outlet(group_id)

    def call(self, system_id: SystemId, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a workflow's own command to a peer and return its answer."""
        answer = self._state.peer(system_id).ask(Call(verb=verb, body=body))
        return expect(answer, Result).body


def _own_group(pair_id: PairId) -> GroupId:
    """Return the group of a pair that was created in none."""
    return GroupId(f"pair-{pair_id}")
