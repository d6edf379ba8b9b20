"""Remote pairs at their primary, which orders every command (Fig. 1, remote mirror 130)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pyrep._core import Ack, Bitmap, CutItem, CutVerb, LinkCore, LinkMode, group_cut
from pyrep.engine.bitcodec import from_roaring, to_roaring
from pyrep.engine.copyjob import CopyJob, copying
from pyrep.engine.decide import Judge, name_of
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import (
    BusyError,
    CancelledError,
    DeviceError,
    NotFoundError,
    PathLostError,
    PyrepError,
    RefusedError,
    TimedOutError,
    WireError,
)
from pyrep.interconnect.messages import (
    AbandonPair,
    BeginForward,
    BeginReverse,
    BindChannel,
    Call,
    CopyFacts,
    CreatePair,
    FinishPair,
    KnownPairs,
    OpenStream,
    PairFacts,
    Pending,
    PendingBits,
    ReadPair,
    RemovePair,
    Result,
    ReverseEnd,
    ReverseProgress,
    ReverseReady,
    ReverseRun,
    SplitPair,
)
from pyrep.model import (
    AckPoint,
    CopyType,
    Direction,
    GroupId,
    PairId,
    PairStatus,
    Primary,
    Row,
    SplitCause,
    SystemId,
    VolumeId,
    WorkflowId,
    make_pair_id,
    new_key,
)
from pyrep.model.roles import VolumeRef
from pyrep.model.situation import Command

__all__ = ["RemotePairs"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_OTHERS_S = 60.0
"""How long an automatic resume waits for a command that holds the pair."""


class RemotePairs:
    """Commands on the remote pairs whose PVOL is here."""

    def __init__(self, state: SystemState, local: LocalPairs, judge: Judge) -> None:
        self._state = state
        self._local = local
        self._judge = judge
        self._to_resume: set[PairId] = set()

    def _peer(self, mirror: Mirror) -> Peer:
        try:
            return self._state.peer(mirror.row.pair_system_id)
        except NotFoundError as error:  # the pair knows it: there was no path since the open
            raise PathLostError(str(error), hint="connect the two systems") from error

    # --- create ----------------------------------------------------------------------------------

    def create(
        self,
        pvol: VolumeId,
        system_id: SystemId,
        svol: VolumeId,
        *,
        group_id: GroupId | None,
        ack: AckPoint,
        chunk_bytes: int,
    ) -> PairId:
        """Make a remote pair and begin its initial copy.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError, PathLostError: nothing has changed.
        """
        state = self._state
        peer = state.peer(system_id)
        name = f"cannot create a remote pair {pvol} → {system_id}:{svol}"
        source, target = VolumeRef(state.system_id, pvol), VolumeRef(system_id, svol)

        def check() -> None:
            self._judge.check_create_remote(name, pvol, source, target, chunk_bytes)

        with state.control:
            live = state.volume(pvol)
            check()
            state.check_leases(name.removeprefix("cannot "), [pvol], None)
            pair_id = make_pair_id(state.system_id, state.table.next_pair_number())
        group = group_id or GroupId(f"pair-{pair_id}")
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
        )
        asked = CreatePair(
            pair_id=pair_id,
            pvol=pvol,
            svol=svol,
            size_bytes=live.record.size_bytes,
            chunk_bytes=chunk_bytes,
            group_id=group,
            ack=ack,
        )
        with state.operation("create", [pair_id]):
            mirror = self._create_both(peer, asked, row, check)
            try:
                self._start_forward(mirror)
            except PathLostError as error:
                _log.info("pair.create pair=%s copy waits for the path: %s", pair_id, error)
        return pair_id

    def _create_both(
        self, peer: Peer, asked: CreatePair, row: Row, check: Callable[[], None]
    ) -> Mirror:
        """Make the secondary's row, then this one: what a crash leaves between is forgotten."""
        with peer.roster:
            peer.ask(asked)
            try:
                mirror = self.open_row(row, check)
            except BaseException:
                with contextlib.suppress(PathLostError):  # it is told when the path is back
                    peer.ask(RemovePair(pair_id=row.pair_id))
                raise
        mirror.mark_all()
        return mirror

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
                link.mark()
                state.table.insert(row)
            except BaseException:
                link.close()
                state.store.remove(row.row_key)
                raise
            state.mirrors[mirror.key] = mirror
            state.refence([row.volume_id])
            return mirror

    # --- forward ---------------------------------------------------------------------------------

    def resync_forward(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        timeout_s: float = 0,
        by_itself: bool = False,
    ) -> CopyJob | None:
        """Copy the union of both sides' pending chunks to the SVOL. None: DUPLEX already.

        `by_itself`: nobody asked. Then a pair that was split on request meanwhile is left alone.

        Raises:
            RefusedError, BusyError, PathLostError.
        """
        state = self._state
        self.refresh()
        with state.operation("resync", [pair_id], lease=lease, timeout_s=timeout_s):
            mirror = state.mirror(pair_id)
            if by_itself and not _resumes_forward(mirror.row):
                return None
            if self._judge.remote(Command.RESYNC_FORWARD, mirror):
                return self._begin_forward(mirror)
            if mirror.row.status is not PairStatus.COPY:
                return None
            return _running(mirror) or self._begin_forward(mirror)

    def _union(self, mirror: Mirror, direction: Direction, *, resumes: bool = False) -> Bitmap:
        """550: read the peer's bitmap; return it together with this side's."""
        pair_id = mirror.row.pair_id
        try:
            answer = self._peer(mirror).ask(
                Pending(pair_id=pair_id, direction=direction, resumes=resumes)
            )
        except NotFoundError as error:
            name = name_of(mirror.row, self._state.system_id)
            raise RefusedError(
                f"cannot resync {name}: system {mirror.row.pair_system_id} doesn't know it",
                hint="dissolve it here, pair.dissolve(), and create it anew",
            ) from error
        union = mirror.pending()
        from_roaring(_expect(answer, PendingBits).bits, union)
        return union

    def _begin_forward(self, mirror: Mirror) -> CopyJob:
        state = self._state
        # What an earlier copy has left on its way would fail in this one's name.
        self._drain_or_break(mirror)
        union = self._union(mirror, Direction.FORWARD)
        pair_id = mirror.row.pair_id
        count = union.count()
        answer = self._peer(mirror).ask(BeginForward(pair_id=pair_id, pending_count=count))
        # Hosts are kept off the SVOL now: what they wrote there since the union was read counts.
        from_roaring(_expect(answer, PendingBits).bits, union)
        state.change(
            mirror,
            status=PairStatus.COPY,
            cause=None,
            direction=Direction.FORWARD,
            target_consistent=False,
            pending_union=True,
        )
        mirror.link.pending.update(union)
        return self._start_forward(mirror)

    def _ship(self, mirror: Mirror) -> Outlet:
        """Let the row ship; the peer knows stream and channel."""
        peer = self._peer(mirror)
        group_id = mirror.row.group_id
        if group_id is None:
            raise WireError(f"pair {mirror.row.pair_id} has no group")
        outlet = peer.outlet(group_id)
        pair_id = mirror.row.pair_id
        peer.ask(
            BindChannel(
                stream_id=outlet.stream_id, channel=outlet.channel(pair_id), pair_id=pair_id
            )
        )
        outlet.ship(mirror)
        return outlet

    def _start_forward(self, mirror: Mirror) -> CopyJob:
        outlet = self._ship(mirror)

        def finish(job: CopyJob) -> None:
            self._settle_sent(outlet, job)
            self._finish_forward(mirror)

        return self._start(mirror, copying(mirror.link, finish))

    def _start(self, mirror: Mirror, work: Callable[[CopyJob], None]) -> CopyJob:
        state = self._state

        def ended(error: PyrepError | None) -> None:
            with state.control:
                mirror.job = None
                mirror.failed = isinstance(error, DeviceError)
            if error is not None and not state.closing:
                self.refresh()

        job = CopyJob(what=name_of(mirror.row, state.system_id), work=work, ended=ended)
        with state.control:
            mirror.job, mirror.failed = job, False
        job.start()
        return job

    def _settle_sent(self, outlet: Outlet, job: CopyJob) -> None:
        """Everything sent up to now is durable at the peer: its own bits may go."""
        last = outlet.stream.info().last
        outlet.stream.barrier()
        outlet.stream.wait(
            last, Ack.DURABLE, timeout_s=self._state.options.ack_timeout_s, wake=job.wake
        )

    def _finish_forward(self, mirror: Mirror) -> None:
        state = self._state
        self._peer(mirror).ask(FinishPair(pair_id=mirror.row.pair_id))
        with state.control:
            self._check_ships(mirror)
            state.change(
                mirror, status=PairStatus.DUPLEX, target_consistent=True, pending_union=False
            )

    def _check_ships(self, mirror: Mirror) -> None:
        """Before DUPLEX: a path lost meanwhile has taken the link out of its stream."""
        if mirror.row.status is not PairStatus.COPY:
            raise RefusedError(f"cannot end the copy: status is {mirror.row.status}")
        info = mirror.link.info()
        if info.mode is not LinkMode.SHIP or info.broken or not self._peer(mirror).is_connected:
            raise PathLostError("the path was lost at the end of the copy")

    # --- reverse ---------------------------------------------------------------------------------

    def resync_reverse(
        self, pair_id: PairId, *, lease: WorkflowId | None = None, timeout_s: float = 0
    ) -> CopyJob:
        """Copy the union of both sides' pending chunks back to the PVOL (540/550, 660/670).

        The PVOL's DUPLEX local mirrors are split first (cause protect). The PVOL takes no host I/O
        until the pair is DUPLEX, forward.

        Raises:
            RefusedError, BusyError, PathLostError.
        """
        state = self._state
        self.refresh()
        with state.operation("resync", [pair_id], lease=lease, timeout_s=timeout_s):
            mirror = state.mirror(pair_id)
            if not self._judge.remote(Command.RESYNC_REVERSE, mirror):
                return _running(mirror) or self._begin_reverse(mirror, lease)
            return self._begin_reverse(mirror, lease)

    def _begin_reverse(self, mirror: Mirror, lease: WorkflowId | None) -> CopyJob:
        state = self._state
        peer = self._peer(mirror)
        pair_id = mirror.row.pair_id
        before = mirror.row
        resumes = before.status is PairStatus.COPY
        if self._union(mirror, Direction.REVERSE, resumes=resumes).any():
            self._local.protect(mirror.row.volume_id, lease=lease)
        with state.control:
            # Again: the world may have moved while the siblings were split.
            self._judge.remote(Command.RESYNC_REVERSE, mirror)
            state.change(
                mirror,
                status=PairStatus.COPY,
                cause=None,
                direction=Direction.REVERSE,
                target_consistent=False,
                pending_union=False,
            )
        mirror.link.idle()
        try:
            self._receive_reverse(peer, mirror, resumes=resumes)
        except RefusedError:
            if not resumes:  # nothing was copied, and the fence kept hosts off meanwhile
                mirror.link.mark()
                state.commit(before)
            raise
        peer.ask(ReverseRun(pair_id=pair_id))
        return self._start(mirror, lambda job: self._follow_reverse(mirror, job))

    def _receive_reverse(self, peer: Peer, mirror: Mirror, *, resumes: bool) -> None:
        """Hand this side's bits over, and get ready for what will come."""
        asked = BeginReverse(
            pair_id=mirror.row.pair_id, pending=to_roaring(mirror.pending()), resumes=resumes
        )
        with peer.opening:
            ready = _expect(peer.ask(asked), ReverseReady)
            if ready.next_number:
                peer.open_stream(
                    OpenStream(
                        stream_id=ready.stream_id,
                        attempt=ready.attempt,
                        next_number=ready.next_number,
                    )
                )
            peer.bind(ready.stream_id, ready.channel, mirror.link)

    def _follow_reverse(self, mirror: Mirror, job: CopyJob) -> None:
        peer = self._peer(mirror)
        pair_id = mirror.row.pair_id
        while True:
            cancel = job.wake.is_set()
            answer = peer.ask(ReverseProgress(pair_id=pair_id, cancel=cancel))
            facts = _expect(answer, CopyFacts)
            job.done_bytes, job.total_bytes = facts.done_bytes, facts.total_bytes
            if facts.done:
                break
            if cancel:
                raise CancelledError(f"{job.what}: cancelled")
        peer.ask(ReverseEnd(pair_id=pair_id))
        self._finish_reverse(mirror)

    def _finish_reverse(self, mirror: Mirror) -> None:
        """Both sides are equal and durable: DUPLEX forward, and only then the fence opens."""
        state = self._state
        self._peer(mirror).unbind_link(mirror.link)
        mirror.link.clean()
        self._ship(mirror)
        with state.control:
            self._check_ships(mirror)
            state.change(
                mirror,
                status=PairStatus.DUPLEX,
                direction=Direction.FORWARD,
                target_consistent=True,
            )

    # --- split -----------------------------------------------------------------------------------

    def split(self, pair_ids: Sequence[PairId], *, lease: WorkflowId | None = None) -> None:
        """Split remote pairs at one point (520, 630): SPLIT, requested; both sides mark.

        What was written before the split is at the secondary when this returns, unless the path is
        down: then those chunks are pending.

        Raises:
            RefusedError, BusyError: nothing has changed.
        """
        state = self._state
        self.refresh()
        with state.operation("split", list(pair_ids), lease=lease):
            mirrors = [state.mirror(pair_id) for pair_id in dict.fromkeys(pair_ids)]
            todo = [one for one in mirrors if self._judge.remote(Command.SPLIT, one)]
            self._split(todo)

    def _split(self, mirrors: Sequence[Mirror]) -> None:
        duplex = []
        for one in mirrors:
            if one.job:
                one.job.close()  # it may come to its end meanwhile
            if one.row.status is PairStatus.DUPLEX:
                duplex.append(one)
            else:
                self._stop(one)
        if duplex:
            self._split_duplex(duplex)

    def _split_duplex(self, mirrors: Sequence[Mirror]) -> None:
        state = self._state
        for one in mirrors:
            self.drain(one)
        before = [one.row for one in mirrors]
        state.commit(
            *(replace(one, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED) for one in before)
        )
        try:
            group_cut(
                [CutItem(verb=CutVerb.SPLIT, on=one.link) for one in mirrors],
                timeout_s=state.options.ack_timeout_s,
                wake=state.wake,
            )
        except PyrepError as error:
            if all(self._ships(one) for one in mirrors):
                state.commit(*before)
                raise
            # A stream that broke has made the cut: nothing went out behind its last record.
            _log.info("pair.split pairs=%s path lost: %s", [one.pair_id for one in before], error)
        for one in mirrors:
            one.link.mark()
            self._drain_or_break(one)
            self.tell_split(one)

    def _ships(self, mirror: Mirror) -> bool:
        info = mirror.link.info()
        return info.mode is LinkMode.SHIP and not info.broken

    def _drain_or_break(self, mirror: Mirror) -> None:
        """Drain; a peer that doesn't answer in time is lost."""
        try:
            self.drain(mirror)
        except TimedOutError:
            outlet = self._peer(mirror).known_outlet(mirror.row.group_id or GroupId(""))
            if outlet is not None:
                outlet.stream.break_off()

    def drain(self, mirror: Mirror) -> None:
        """Wait until what was queued for a pair is durable at the peer; a lost path is none."""
        try:
            peer = self._peer(mirror)
            outlet = peer.known_outlet(mirror.row.group_id) if mirror.row.group_id else None
            if outlet is None:
                return
            outlet.require_open()
            last = outlet.stream.info().last
            outlet.stream.barrier()
            timeout_s = self._state.options.ack_timeout_s
            outlet.stream.wait(last, Ack.DURABLE, timeout_s=timeout_s, wake=self._state.wake)
        except PathLostError as error:
            _log.info("pair.drain pair=%s path lost: %s", mirror.row.pair_id, error)

    def tell_split(self, mirror: Mirror) -> None:
        """Let the secondary split too; when the path is down it learns of it later."""
        row = mirror.row
        if row.cause is None:
            return
        try:
            self._peer(mirror).ask(SplitPair(pair_id=row.pair_id, cause=row.cause))
        except (PathLostError, NotFoundError) as error:
            _log.info("pair.split pair=%s the secondary isn't told yet: %s", row.pair_id, error)

    def _stop(self, mirror: Mirror) -> None:
        """Split a pair that isn't DUPLEX: a copy stops where it is; an automatic resume is off."""
        row = mirror.row
        if row.status is PairStatus.COPY and row.direction is Direction.REVERSE:
            try:
                self._peer(mirror).ask(AbandonPair(pair_id=row.pair_id))
                self._peer(mirror).unbind_link(mirror.link)
            except (PathLostError, NotFoundError) as error:
                _log.info("pair.stop pair=%s the secondary isn't told yet: %s", row.pair_id, error)
        mirror.link.mark()
        # A record that comes when its pair is unbound would cost the whole connection.
        self._drain_or_break(mirror)
        self._state.change(
            mirror, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED, pending_union=False
        )
        self.tell_split(mirror)

    # --- dissolve --------------------------------------------------------------------------------

    def dissolve(self, pair_id: PairId, *, lease: WorkflowId | None = None) -> None:
        """End the pair on both sides; the SVOL keeps what was written so far.

        Raises:
            RefusedError, BusyError: nothing has changed.
            PathLostError: the secondary wasn't reached; the pair is SPLIT.
        """
        state = self._state
        self.refresh()
        with state.operation("dissolve", [pair_id], lease=lease):
            mirror = state.mirror(pair_id)
            self._judge.remote(Command.DISSOLVE, mirror)
            if mirror.row.status is PairStatus.DUPLEX:
                self._peer(mirror).connection()  # before anything changes
                self._split([mirror])
            self._peer(mirror).ask(RemovePair(pair_id=pair_id))
            self.forget(mirror)

    def forget(self, mirror: Mirror) -> None:
        """Remove this side's row and free what it uses."""
        state = self._state
        with state.control:
            state.table.remove(*mirror.key)
            del state.mirrors[mirror.key]
            self._peer(mirror).unbind_link(mirror.link)
            mirror.close()
            state.store.remove(mirror.row.row_key)
            state.refence([mirror.row.volume_id])

    def call(self, system_id: SystemId, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a workflow's own command to a peer and return its answer."""
        answer = self._state.peer(system_id).ask(Call(verb=verb, body=body))
        return _expect(answer, Result).body

    # --- path ------------------------------------------------------------------------------------

    def path_lost(self, system_id: SystemId) -> None:
        """The path to a secondary is gone: DUPLEX becomes SPLIT; COPY waits for the path."""
        state = self._state
        for mirror in list(state.mirrors.values()):
            row = mirror.row
            if not row.is_remote or not row.is_primary or row.pair_system_id != system_id:
                continue
            with state.control:
                if mirror.job:
                    mirror.job.cancel(PathLostError("the path was lost", hint="restore the path"))
            if row.direction is Direction.REVERSE and row.status is PairStatus.COPY:
                continue
            mirror.link.mark()
            with state.control:
                if mirror.row.status is PairStatus.DUPLEX:
                    state.change(mirror, status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST)

    def path_returned(self, system_id: SystemId) -> None:
        """Bring every pair with this secondary on: resume what may resume by itself.

        First the secondary forgets the pairs that only it knows: a crash here, between its part of
        a creation and this side's, has left them.
        """
        peer = self._state.peer(system_id)
        with peer.roster:
            pairs = self._pairs_with(system_id)
            peer.ask(KnownPairs(pair_ids=[one.row.pair_id for one in pairs]))
        for mirror in pairs:
            self._try_resume(mirror)

    def _pairs_with(self, system_id: SystemId) -> list[Mirror]:
        with self._state.control:
            return [
                one
                for one in self._state.mirrors.values()
                if one.row.is_remote and one.row.is_primary and one.row.pair_system_id == system_id
            ]

    def _try_resume(self, mirror: Mirror) -> None:
        pair_id = mirror.row.pair_id
        try:
            self._resume(mirror)
        except PathLostError as error:
            _log.info("pair.resume pair=%s: %s", pair_id, error)
        except PyrepError as error:
            _log.warning("pair.resume pair=%s not now: %s", pair_id, error)
            self._to_resume.add(pair_id)

    def resume_refused(self) -> None:
        """Try again what couldn't resume when the path came back."""
        for pair_id in list(self._to_resume):
            self._to_resume.discard(pair_id)
            with contextlib.suppress(NotFoundError, PathLostError):  # dissolved; the path resumes
                mirror = self._state.mirror(pair_id)
                self._peer(mirror).connection()
                self._try_resume(mirror)

    def _resume(self, mirror: Mirror) -> None:
        row = mirror.row
        try:
            answer = self._peer(mirror).ask(ReadPair(pair_id=row.pair_id))
        except NotFoundError:
            self._note_unknown(mirror)
            return
        facts = _expect(answer, PairFacts)
        if row.status is PairStatus.COPY and row.direction is Direction.REVERSE:
            self.resync_reverse(row.pair_id, lease=ANY_LEASE, timeout_s=_OTHERS_S)
        elif _resumes_forward(row):
            _log.info("pair.resume pair=%s peer_status=%s", row.pair_id, facts.status)
            self.resync_forward(row.pair_id, lease=ANY_LEASE, timeout_s=_OTHERS_S, by_itself=True)
        elif row.status is PairStatus.SPLIT:
            # Held, and asked again: somebody may be resyncing it by now.
            with self._state.operation(
                "split", [row.pair_id], lease=ANY_LEASE, timeout_s=_OTHERS_S
            ):
                if mirror.row.status is PairStatus.SPLIT:
                    self.tell_split(mirror)

    def _note_unknown(self, mirror: Mirror) -> None:
        """The secondary doesn't know the pair: it stays as it is, until somebody dissolves it."""
        _log.warning(
            "pair.unknown pair=%s system %s doesn't know it: dissolve it here",
            mirror.row.pair_id,
            mirror.row.pair_system_id,
        )
        with self._state.operation("split", [mirror.row.pair_id], lease=ANY_LEASE):
            mirror.link.mark()
            self._state.change(
                mirror, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED, pending_union=False
            )

    def refresh(self) -> None:
        """Notice links that broke since the last look; not those that a command is busy with.

        A stream that broke is the path's matter.
        """
        state = self._state
        with state.control:
            if state.closing:
                return
            failed = [one for one in state.mirrors.values() if self._has_failed(one)]
        for mirror in failed:
            with (
                contextlib.suppress(BusyError, NotFoundError),
                state.operation("mark", [mirror.row.pair_id], lease=ANY_LEASE),
            ):
                if self._has_failed(mirror):
                    self._note_failed(mirror)

    def _has_failed(self, mirror: Mirror) -> bool:
        row = mirror.row
        if not row.is_remote or not row.is_source or row.status is PairStatus.SPLIT or mirror.job:
            return False
        if mirror.failed:
            return True
        info = mirror.link.info()
        if info.mode is not LinkMode.SHIP or not info.broken:
            return False
        peer = self._state.peers.get(row.pair_system_id)
        outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
        return outlet is not None and outlet.stream.info().open

    def _note_failed(self, mirror: Mirror) -> None:
        """A volume of the pair failed: SPLIT, device_error; the SVOL is whole if it was the PVOL.

        The secondary notes its own failure by itself; of this side's it is told.
        """
        row = mirror.row
        whole = row.status is PairStatus.DUPLEX and mirror.link.info().source_failed
        mirror.failed = False
        mirror.link.mark()
        self._state.change(
            mirror,
            status=PairStatus.SPLIT,
            cause=SplitCause.DEVICE_ERROR,
            target_consistent=whole,
            pending_union=False,
        )
        if row.is_primary:
            self._drain_or_break(mirror)
            self.tell_split(mirror)


def _running(mirror: Mirror) -> CopyJob | None:
    """Return the pair's copy if it will come to its end; one that won't has ended then."""
    job = mirror.job
    if job is None or not job.is_stopping:
        return job
    job.close()
    return None


def _resumes_forward(row: Row) -> bool:
    """Whether a pair goes on forward by itself when the path is back."""
    if row.status is PairStatus.COPY:
        return row.direction is Direction.FORWARD
    return row.cause is not None and row.cause.resumes_by_itself


def _expect(answer: object, kind: type[T]) -> T:
    if not isinstance(answer, kind):
        raise WireError(f"the peer answered {type(answer).__name__}, not {kind.__name__}")
    return answer
