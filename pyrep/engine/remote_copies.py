"""Copies of remote pairs, ordered by their primary: forward, and back (540/550, 660/670)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from pyrep._core import Bitmap
from pyrep.engine.activity import make_source_durable
from pyrep.engine.cancel import Cancel
from pyrep.engine.copying import copying
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge, name_of
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.remote_failures import RemoteFailures
from pyrep.engine.remote_line import RemoteLine, expect
from pyrep.engine.remote_meeting import Met, RemoteMeetings, Will
from pyrep.engine.sieve import Sieve
from pyrep.engine.state import SystemState
from pyrep.errors import CancelledError, DeviceError, PyrepError, RefusedError
from pyrep.interconnect.messages import (
    BeginForward,
    BeginReverse,
    CopyFacts,
    FinishPair,
    OpenStream,
    PendingBits,
    ReverseEnd,
    ReverseProgress,
    ReverseReady,
    ReverseRun,
)
from pyrep.model import (
    Comparison,
    Congestion,
    CopyPace,
    CopyRate,
    Direction,
    Lineage,
    PairId,
    PairStatus,
    Row,
    SplitCause,
    VolumeId,
    WorkflowId,
    new_content_id,
)
from pyrep.model.situation import Command, Force

__all__ = ["RemoteCopies", "resumes_forward"]


class RemoteCopies:
    """Resyncs of remote pairs whose PVOL is here. Each holds the pair's operation as it begins.

    Attributes:
        meetings: what both sides hold, by their data identifiers.
    """

    def __init__(
        self,
        state: SystemState,
        local: LocalPairs,
        judge: Judge,
        line: RemoteLine,
        failures: RemoteFailures,
    ) -> None:
        self._state = state
        self._local = local
        self._judge = judge
        self._line = line
        self._failures = failures
        self.meetings = RemoteMeetings(state, line)

    # --- forward ---------------------------------------------------------------------------------

    def resync_forward(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        force: Force | None = None,
        timeout_s: float = 0,
        will: Will | None = None,
        pace: CopyPace | None = None,
    ) -> CopyJob | None:
        """Copy the union of both sides' pending chunks to the SVOL. None: DUPLEX already.

        Of an old copy that was put back, everything is copied. By itself: a pair that was split on
        request meanwhile is left alone, and one whose SVOL has what the PVOL never had becomes
        SPLIT, split_brain.

        Raises:
            RefusedError: also when it would discard what nobody said may be discarded.
            BusyError, PathLostError.
        """
        will = will or Will()
        state = self._state
        self._failures.refresh()
        with state.operation("resync", [pair_id], lease=lease, timeout_s=timeout_s):
            mirror = state.mirror(pair_id)
            if will.by_itself and not resumes_forward(mirror.row):
                return None
            if not self._judge.remote(Command.RESYNC_FORWARD, mirror, force=force):
                if mirror.row.status is not PairStatus.COPY:
                    return None
                running = _running(mirror)
                if running:
                    return running
            with mirror.going_on():
                return self._begin_forward(mirror, will, pace)

    def _begin_forward(self, mirror: Mirror, will: Will, pace: CopyPace | None) -> CopyJob:
        state = self._state
        # What an earlier copy has left on its way would fail in this one's name.
        self._line.drain_or_break(mirror)
        met = self._met(mirror, Direction.FORWARD, will)
        union, overmarked = self._line.union(mirror, Direction.FORWARD)
        if not met.meeting.bits_suffice:
            union.fill()
            overmarked = True
        protected = union.any()
        begun = mirror.row.lineage.as_source(new_content_id(), new_content_id())
        # What hosts write there until the fence closes, which may take minutes, nobody was shown.
        named = will.discard is not None
        seen = 0 if named else met.there.current
        self._become_target(mirror, union, begun, met, seen, written=named or met.there.written)
        if union.any() and not protected:
            self._become_target(mirror, union, begun, met, begun.common)
        if not met.meeting.bits_suffice:
            # The rows are about to say that from here on their bits do. INV-2.
            mirror.mark_all()
        state.change(
            mirror,
            status=PairStatus.COPY,
            cause=None,
            direction=Direction.FORWARD,
            target_consistent=False,
            pending_union=True,
            overmarked=overmarked,
            lineage=begun,
        )
        mirror.link.pending.update(union)
        if union.any():
            return self.start_forward(mirror, pace)
        outlet = self._line.bound_outlet(mirror)
        if not outlet.ship_clean(mirror):
            # Written since the union was read: its copy goes out of order, so that the SVOL's
            # mirrors are split first after all.
            self._become_target(mirror, mirror.pending(), begun, met, begun.common)
            outlet.ship(mirror)
        return self._copy_forward(mirror, outlet, pace)

    def _met(self, mirror: Mirror, direction: Direction, will: Will) -> Met:
        """Return what the two sides are to each other, if this copy may begin."""
        met = self.meetings.read(mirror)
        try:
            self.meetings.require(mirror, met, direction, will)
        except RefusedError:
            if will.by_itself:  # the operation is held
                self.meetings.note_split_brain(mirror, met)
            raise
        return met

    def _become_target(
        self,
        mirror: Mirror,
        union: Bitmap,
        begun: Lineage,
        met: Met,
        seen: int,
        *,
        written: bool = False,
    ) -> None:
        """Ask the SVOL to take this union; what its hosts wrote there meanwhile comes into it.

        If anything is in it, the SVOL's DUPLEX mirrors are split first.

        Raises:
            RefusedError: its hosts have begun to write since the meeting; nothing has changed but,
                perhaps, these mirrors.
        """
        asked = BeginForward(
            pair_id=mirror.row.pair_id,
            pending_count=union.count(),
            current=begun.common,
            base=met.base(met.there),
            seen=seen,
            written=written,
            protect=mirror.row.protect,
            repairs=mirror.row.cause is SplitCause.REPAIR,
        )
        answer = self._line.peer(mirror).ask(asked)
        union.update_roaring(expect(answer, PendingBits).bits)

    def start_new(self, mirror: Mirror, *, onto_blank: bool) -> None:
        """Begin the initial copy of a new pair, all of which is pending.

        Onto a volume without data, holes and zeros aren't sent; from another one the pair is
        DUPLEX when this returns, unless the path was lost.

        Raises:
            PathLostError: nothing was begun.
        """
        job = self._copy_forward(mirror, self._line.ship(mirror), None, onto_blank=onto_blank)
        if onto_blank and self._is_blank(mirror):
            with contextlib.suppress(PyrepError):  # the job has told; the pair is in COPY
                job.wait()

    def _is_blank(self, mirror: Mirror) -> bool:
        try:
            return self._state.volume(mirror.row.volume_id).is_blank()
        except PyrepError:
            return False  # the copy finds out

    def start_forward(self, mirror: Mirror, pace: CopyPace | None = None) -> CopyJob:
        """Let the row ship, and copy what is pending in it. Both rows are in COPY."""
        return self._copy_forward(mirror, self._line.ship(mirror), pace)

    def _copy_forward(
        self,
        mirror: Mirror,
        outlet: Outlet,
        pace: CopyPace | None,
        *,
        onto_blank: bool = False,
    ) -> CopyJob:
        make_source_durable(self._state, mirror.row.volume_id)
        if onto_blank:
            # A chunk left to the copy for want of room may have data there by then, and zeros here.
            mirror.link.pull_ahead(when_full=False)

        def finish(job: CopyJob) -> None:
            mirror.link.pull_ahead(when_full=mirror.row.congestion is Congestion.PULL_AHEAD)
            self._line.settle_sent(outlet, job)
            self._finish_forward(mirror)

        plan = None if onto_blank else self._comparison(mirror, pace)
        before = None
        if plan is not None:
            before = Sieve(self._state, mirror, self._line.peer(mirror), outlet, plan).run
        work = copying(mirror.link, finish, before=before, onto_blank=onto_blank)
        return self._start(mirror, work, pace)

    def _comparison(self, mirror: Mirror, pace: CopyPace | None) -> Comparison | None:
        """Return how to compare before this copy; None: everything is sent."""
        options = self._state.options
        asked = (pace and pace.compare) or options.compare
        return asked.plan(overmarked=mirror.is_overmarked, by_itself=options.compare_by)

    def _start(
        self, mirror: Mirror, work: Callable[[CopyJob], None], pace: CopyPace | None
    ) -> CopyJob:
        state = self._state

        def ended(error: PyrepError | None) -> None:
            with state.control:
                mirror.job = None
                mirror.failed = isinstance(error, DeviceError)
                mirror.stopped = isinstance(error, CancelledError) and not state.closing
            if error is not None and not state.closing:
                self._failures.refresh()

        asked = pace or CopyPace()
        job = CopyJob(
            what=name_of(mirror.row, state.system_id),
            work=work,
            ended=ended,
            rate=asked.rate or state.options.copy_rate,
            workers=asked.workers or 1,
        )
        with state.control:
            mirror.job, mirror.failed, mirror.stopped = job, False, False
        job.start()
        return job

    def _finish_forward(self, mirror: Mirror) -> None:
        state = self._state
        whole = self._judge.is_consistent(mirror.row.volume_id)  # unless it was forced
        row = mirror.row
        self._line.peer(mirror).ask(
            FinishPair(pair_id=row.pair_id, consistent=whole, current=row.lineage.current)
        )
        with state.control:
            self._line.check_ships(mirror)
            state.change(
                mirror, status=PairStatus.DUPLEX, target_consistent=whole, pending_union=False
            )

    # --- reverse ---------------------------------------------------------------------------------

    def resync_reverse(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        force: Force | None = None,
        timeout_s: float = 0,
        will: Will | None = None,
        cancel: Cancel | None = None,
        pace: CopyPace | None = None,
    ) -> CopyJob:
        """Copy the union of both sides' pending chunks back to the PVOL (540/550, 660/670).

        The PVOL's DUPLEX local mirrors are split first (cause protect). The PVOL takes no host I/O
        until the pair is DUPLEX, forward.

        Raises:
            RefusedError: also when it would discard what nobody said may be discarded.
            BusyError, PathLostError.
        """
        state = self._state
        self._failures.refresh()
        with state.operation("resync", [pair_id], lease=lease, timeout_s=timeout_s):
            mirror = state.mirror(pair_id)
            if not self._judge.remote(Command.RESYNC_REVERSE, mirror, force=force):
                running = _running(mirror)
                if running:
                    return running
            with mirror.going_on():
                return self._begin_reverse(
                    mirror,
                    lease=lease,
                    force=force,
                    will=will or Will(),
                    cancel=cancel,
                    pace=pace,
                )

    def _begin_reverse(
        self,
        mirror: Mirror,
        *,
        lease: WorkflowId | None,
        force: Force | None,
        will: Will,
        cancel: Cancel | None,
        pace: CopyPace | None,
    ) -> CopyJob:
        state = self._state
        peer = self._line.peer(mirror)
        pair_id = mirror.row.pair_id
        before = mirror.row
        resumes = before.status is PairStatus.COPY
        forced = force is not None
        met = self._met(mirror, Direction.REVERSE, will)
        union, overmarked = self._line.union(
            mirror, Direction.REVERSE, resumes=resumes, forced=forced
        )
        if union.any() or not met.meeting.bits_suffice:
            how = before.protect
            self._local.splits.protect(before.volume_id, how=how, lease=lease, cancel=cancel)
        copied = mirror.row.lineage.as_target(new_content_id(), met.base(before.lineage))
        with state.control:
            # Again: the world may have moved while the siblings were split.
            self._judge.remote(Command.RESYNC_REVERSE, mirror, force=force)
            volume_id = before.volume_id
            undone = [before, *(one.row for one in self._following(volume_id))]
            state.commit(
                replace(
                    mirror.row,
                    status=PairStatus.COPY,
                    cause=None,
                    direction=Direction.REVERSE,
                    target_consistent=False,
                    pending_union=False,
                    overmarked=overmarked,
                    lineage=copied,
                ),
                *self._local.splits.followers(volume_id, whole=False),
            )
        try:
            # The fence is closed: what hosts wrote until now counts.
            met = self.meetings.again(mirror, before, met, will)
            self.meetings.require(mirror, met, Direction.REVERSE, will)
            mirror.link.idle()
            if not met.meeting.bits_suffice:
                state.change(mirror, overmarked=True)
                mirror.mark_all()
            current = self._receive_reverse(
                peer,
                mirror,
                met.there.current if will.discard is None else 0,
                resumes=resumes,
                forced=forced,
            )
        except RefusedError:
            if not resumes:  # nothing was copied, and the fence kept hosts off meanwhile
                mirror.link.mark()
                state.commit(*undone)
            raise
        state.change(mirror, lineage=mirror.row.lineage.confirmed())
        rate = (pace and pace.rate) or state.options.copy_rate
        plan = self._comparison(mirror, pace)
        peer.ask(
            ReverseRun(
                pair_id=pair_id,
                digest=plan.kind if plan else "",
                sparing=plan is not None and plan.is_sparing,
                **_bounds(rate),
            )
        )
        return self._start(mirror, lambda job: self._follow_reverse(mirror, job, current), pace)

    def _following(self, volume_id: VolumeId) -> list[Mirror]:
        """Return both rows of each DUPLEX local mirror of a volume."""
        state = self._state
        return [
            one
            for pvol in state.local_svol_mirrors(volume_id)
            if pvol.row.status is PairStatus.DUPLEX
            for one in state.sides(pvol.row.pair_id)
        ]

    def _receive_reverse(
        self, peer: Peer, mirror: Mirror, seen: int, *, resumes: bool, forced: bool
    ) -> int:
        """Hand this side's bits over, and get ready for what will come.

        Returns:
            The data identifier of what this side will hold when the copy has ended.
        """
        asked = BeginReverse(
            pair_id=mirror.row.pair_id,
            pending=mirror.pending().to_roaring(),
            common=mirror.row.lineage.current,
            seen=seen,
            resumes=resumes,
            forced=forced,
        )
        with peer.opening:
            connection = peer.connection()
            ready = expect(peer.ask(asked), ReverseReady)
            if ready.next_number:
                peer.open_stream(
                    connection,
                    OpenStream(
                        stream_id=ready.stream_id,
                        attempt=ready.attempt,
                        next_number=ready.next_number,
                    ),
                )
            peer.bind(connection, ready.stream_id, ready.channel, mirror.link)
        return ready.current

    def _follow_reverse(self, mirror: Mirror, job: CopyJob, current: int) -> None:
        peer = self._line.peer(mirror)
        pair_id = mirror.row.pair_id
        while True:
            cancel = job.wake.is_set()
            asked = ReverseProgress(
                pair_id=pair_id, cancel=cancel, paused=job.is_paused, **_bounds(job.rate)
            )
            answer = peer.ask(asked)
            facts = expect(answer, CopyFacts)
            job.done_bytes, job.total_bytes = facts.done_bytes, facts.total_bytes
            job.compared_bytes, job.sent_bytes = facts.compared_bytes, facts.sent_bytes
            if facts.done:
                break
            if cancel:
                raise CancelledError(f"{job.what}: cancelled")
        # Everything that was copied is here and durable, and with this all else that the volume
        # holds: what its own hosts wrote, didn't flush, and found equal at the secondary.
        volume = self._state.volume(mirror.row.volume_id)
        volume.core.flush(ack_timeout_s=self._state.options.ack_timeout_s)
        # Written down before the secondary ends the copy: if it crashes in between, its own volume
        # counts as inconsistent, and one side must be whole.
        with self._state.control:
            if mirror.row.status is PairStatus.COPY:  # else its volume failed meanwhile
                lineage = mirror.row.lineage.in_sync(current)
                self._state.change(mirror, target_consistent=True, lineage=lineage)
        peer.ask(ReverseEnd(pair_id=pair_id))
        self._finish_reverse(mirror)

    def _finish_reverse(self, mirror: Mirror) -> None:
        """Both sides are equal and durable: DUPLEX forward, and only then the fence opens."""
        state = self._state
        self._line.peer(mirror).unbind_link(mirror.link)
        mirror.link.clean()
        self._line.ship(mirror)
        mirror.link.follow()  # nothing is pending, and hosts are kept off
        with state.control:
            self._line.check_ships(mirror)
            self.commit_whole(
                mirror,
                status=PairStatus.DUPLEX,
                direction=Direction.FORWARD,
                target_consistent=True,
            )

    def commit_whole(self, mirror: Mirror, **columns: object) -> None:
        """Commit a change of a row whose PVOL is whole again; mirrors that followed it are, too."""
        state = self._state
        with state.control:
            row = replace(mirror.row, **columns)  # type: ignore[arg-type]
            state.commit(row, *self._local.splits.followers(row.volume_id, whole=True))


def _bounds(rate: CopyRate) -> dict[str, int]:
    return {
        "ceiling_bytes_s": rate.ceiling_bytes_s or 0,
        "floor_bytes_s": rate.floor_bytes_s or 0,
    }


def _running(mirror: Mirror) -> CopyJob | None:
    """Return the pair's copy if it will come to its end; one that won't has ended then."""
    job = mirror.job
    if job is None or not job.is_stopping:
        return job
    job.close()
    return None


def resumes_forward(row: Row) -> bool:
    """Whether a pair goes on forward by itself when the path is back."""
    if row.status is PairStatus.COPY:
        return row.direction is Direction.FORWARD
    return row.cause is not None and row.cause.resumes_by_itself
