"""Copies of remote pairs to their SVOLs, at the primary."""

from __future__ import annotations

import contextlib

from pyrep._core import Bitmap
from pyrep.engine.activity import make_source_durable
from pyrep.engine.caller import Caller
from pyrep.engine.cancel import Cancel
from pyrep.engine.copying import copying
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge, name_of
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.remote_copyjobs import RemoteCopyJobs, pace_of, running_copy
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.remote_meeting import Met, Will
from pyrep.engine.sieve import Sieve
from pyrep.engine.state import SystemState
from pyrep.errors import PyrepError
from pyrep.interconnect.messages import (
    BeginForward,
    FinishPair,
)
from pyrep.model import (
    Congestion,
    CopyPace,
    Direction,
    Lineage,
    PairId,
    PairStatus,
    Row,
    SplitCause,
    WorkflowId,
    new_content_id,
)
from pyrep.model.situation import Command, Force

__all__ = ["RemoteCopies", "resumes_forward"]


class RemoteCopies:
    """Forward copies of remote pairs whose PVOL is here.

    Each holds the pair's operation as it begins.
    """

    def __init__(
        self, state: SystemState, judge: Judge, line: RemoteLine, jobs: RemoteCopyJobs
    ) -> None:
        self._state = state
        self._judge = judge
        self._line = line
        self._jobs = jobs

    def resync_forward(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        force: Force | None = None,
        timeout_s: float = 0,
        will: Will | None = None,
        cancel: Cancel | None = None,
        pace: CopyPace | None = None,
    ) -> CopyJob | None:
        """Copy the union of both sides' pending chunks to the SVOL. None: DUPLEX already.

        Of an old copy that was put back, everything is copied. By itself: a pair that was split on
        request meanwhile is left alone, and one whose SVOL has what the PVOL never had becomes
        SPLIT, split_brain.

        Args:
            cancel: ends the wait for local copies out of the SVOL; the copy has its own.

        Raises:
            RefusedError: also when it would discard what nobody said may be discarded.
            BusyError, PathLostError.
            CancelledError: nothing has changed.
        """
        will = will or Will()
        state = self._state
        self._jobs.failures.refresh()
        with state.operation("resync", [pair_id], lease=lease, timeout_s=timeout_s):
            mirror = state.mirror(pair_id)
            if will.by_itself and not resumes_forward(mirror.row):
                return None
            if not self._judge.remote(Command.RESYNC_FORWARD, mirror, force=force):
                if mirror.row.status is not PairStatus.COPY:
                    return None
                running = running_copy(mirror)
                if running:
                    return running
            with mirror.going_on():
                pace = pace_of(mirror, will, pace)
                return self._begin_forward(mirror, will, cancel, pace)

    def _begin_forward(
        self, mirror: Mirror, will: Will, cancel: Cancel | None, pace: CopyPace | None
    ) -> CopyJob:
        state = self._state
        caller = Caller(f"resync of {name_of(mirror.row, state.system_id)}", cancel=cancel)
        # What an earlier copy has left on its way would fail in this one's name.
        self._line.drain_or_break(mirror)
        met = self._jobs.met(mirror, Direction.FORWARD, will)
        union, overmarked = self._line.union(mirror, Direction.FORWARD)
        if not met.meeting.bits_suffice:
            union.fill()
            overmarked = True
        protected = union.any()
        begun = mirror.row.lineage.as_source(new_content_id(), new_content_id())
        # What hosts write there until the fence closes, which may take minutes, nobody was shown.
        named = will.discard is not None
        seen = 0 if named else met.there.current
        written = named or met.there.written
        self._become_target(mirror, union, begun, met, seen, written=written, caller=caller)
        if union.any() and not protected:
            self._become_target(mirror, union, begun, met, begun.common, caller=caller)
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

    def _become_target(
        self,
        mirror: Mirror,
        union: Bitmap,
        begun: Lineage,
        met: Met,
        seen: int,
        *,
        written: bool = False,
        caller: Caller | None = None,
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
        union.update_roaring(self._line.become_target(mirror, asked, caller))

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
            outlet.await_durable_of_job(job.wake)
            self._finish_forward(mirror)

        plan = None if onto_blank else self._jobs.comparison(mirror, pace)
        before = None
        if plan is not None:
            before = Sieve(self._state, mirror, self._line.peer(mirror), outlet, plan).run
        work = copying(mirror.link, finish, before=before, onto_blank=onto_blank)
        return self._jobs.start(mirror, work, pace)

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


def resumes_forward(row: Row) -> bool:
    """Whether a pair goes on forward by itself when the path is back."""
    if row.status is PairStatus.COPY:
        return row.direction is Direction.FORWARD
    return row.cause is not None and row.cause.resumes_by_itself
