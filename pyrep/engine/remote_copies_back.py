"""Copies of remote pairs back to their PVOLs (540/550, 660/670), ordered by the primary."""

from __future__ import annotations

from dataclasses import replace

from pyrep.engine.cancel import Cancel
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.peer import Peer
from pyrep.engine.remote_copyjobs import RemoteCopyJobs, pace_of, running_copy
from pyrep.engine.remote_line import RemoteLine, expect
from pyrep.engine.remote_meeting import Will
from pyrep.engine.state import SystemState
from pyrep.errors import CancelledError, RefusedError
from pyrep.interconnect.messages import (
    BeginReverse,
    CopyFacts,
    OpenStream,
    ReverseEnd,
    ReverseProgress,
    ReverseReady,
    ReverseRun,
)
from pyrep.model import (
    CopyPace,
    CopyRate,
    Direction,
    PairId,
    PairStatus,
    VolumeId,
    WorkflowId,
    new_content_id,
)
from pyrep.model.situation import Command, Force

__all__ = ["RemoteCopiesBack"]


class RemoteCopiesBack:
    """Reverse copies of remote pairs whose PVOL is here; the secondary runs them (`CopiesBack`).

    Each holds the pair's operation as it begins.
    """

    def __init__(
        self,
        state: SystemState,
        local: LocalPairs,
        judge: Judge,
        line: RemoteLine,
        jobs: RemoteCopyJobs,
    ) -> None:
        self._state = state
        self._local = local
        self._judge = judge
        self._line = line
        self._jobs = jobs

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
        self._jobs.failures.refresh()
        with state.operation("resync", [pair_id], lease=lease, timeout_s=timeout_s):
            mirror = state.mirror(pair_id)
            if not self._judge.remote(Command.RESYNC_REVERSE, mirror, force=force):
                running = running_copy(mirror)
                if running:
                    return running
            with mirror.going_on():
                return self._begin_reverse(
                    mirror,
                    lease=lease,
                    force=force,
                    will=will or Will(),
                    cancel=cancel,
                    pace=pace_of(mirror, will, pace),
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
        met = self._jobs.met(mirror, Direction.REVERSE, will)
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
            met = self._jobs.meetings.again(mirror, before, met, will)
            self._jobs.meetings.require(mirror, met, Direction.REVERSE, will)
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
        plan = self._jobs.comparison(mirror, pace)
        peer.ask(
            ReverseRun(
                pair_id=pair_id,
                digest=plan.kind if plan else "",
                sparing=plan is not None and plan.is_sparing,
                **_bounds(rate),
            )
        )
        return self._jobs.start(
            mirror, lambda job: self._follow_reverse(mirror, job, current), pace
        )

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
