"""Copies back (550, 670) at their source, the secondary: ordered by the primary, run here."""

from __future__ import annotations

import threading

from pyrep._core import Ack, Fence
from pyrep.engine.activity import make_source_durable
from pyrep.engine.copying import copying
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge, name_of
from pyrep.engine.digestdesk import one_kind
from pyrep.engine.mirror import Mirror
from pyrep.engine.orders import check_seen, group_of, in_turn, own_row
from pyrep.engine.peer import Peer
from pyrep.engine.sieve import Sieve
from pyrep.engine.state import SystemState
from pyrep.errors import NotFoundError, PathLostError, PyrepError, RefusedError
from pyrep.interconnect.messages import (
    BeginReverse,
    CopyFacts,
    ReverseProgress,
    ReverseReady,
    ReverseRun,
)
from pyrep.model import (
    Comparison,
    CopyRate,
    Direction,
    PairId,
    PairStatus,
    new_content_id,
)
from pyrep.seams import Connection

__all__ = ["CopiesBack"]

_PROGRESS_S = 0.05


class CopiesBack:
    """The copies of which an SVOL here is the source."""

    def __init__(self, state: SystemState, judge: Judge) -> None:
        self._state = state
        self._judge = judge
        self._jobs: dict[PairId, CopyJob] = {}
        self._ended = threading.Condition()

    def check_may_begin(self, mirror: Mirror, *, resumes: bool, forced: bool) -> None:
        """Raise RefusedError if the SVOL isn't fit to be copied back.

        Args:
            mirror: its row.
            resumes: that copy back had begun: nothing was copied into this side since.
            forced: whoever asks wants what is there, inconsistent or not.
        """
        row = mirror.row
        doing = f"cannot copy out of {row.volume_id}"
        if forced:
            return
        if not resumes and not row.target_consistent and row.direction is Direction.FORWARD:
            raise RefusedError(f"{doing}: it is inconsistent", hint="resync the pair forward")
        self._judge.check_copy_out(row.volume_id, doing)

    def begin(self, peer: Peer, connection: Connection, asked: BeginReverse) -> ReverseReady:
        """Hold the union, durably, and get the stream ready."""
        state = self._state
        mirror = own_row(self._state, peer, asked.pair_id)
        self.check_may_begin(mirror, resumes=asked.resumes, forced=asked.forced)
        self.end_for(peer, connection, mirror)
        peer.unbind_link(mirror.link, connection)
        with in_turn(self._state, peer, connection):
            self.check_may_begin(mirror, resumes=asked.resumes, forced=asked.forced)
            check_seen(self._state, mirror, asked.seen)
            mirror.link.mark()
            mirror.link.pending.update_roaring(asked.pending)
            state.change(
                mirror,
                status=PairStatus.COPY,
                cause=None,
                direction=Direction.REVERSE,
                target_consistent=False,
                pending_union=True,
                lineage=mirror.row.lineage.as_source(asked.common, new_content_id()),
            )
        outlet, opened = peer.opened_outlet(group_of(mirror))
        return ReverseReady(
            stream_id=outlet.stream_id,
            attempt=peer.connection().attempt,
            next_number=opened.next_number if opened else 0,
            channel=outlet.channel(mirror.row.pair_id),
            current=mirror.row.lineage.current,
        )

    def run(self, peer: Peer, connection: Connection, asked: ReverseRun) -> None:
        """550, 670: copy everything in the union to the PVOL.

        Raises:
            PathLostError: the order is late, or there is no stream.
            RefusedError: no copy back has begun, or it has ended.
        """
        mirror = own_row(self._state, peer, asked.pair_id)
        rate = _rate_of(asked)
        plan = None
        if asked.digest:
            plan = Comparison(kind=one_kind(asked.digest), is_sparing=asked.sparing)
        with in_turn(self._state, peer, connection):
            row = mirror.row
            if row.status is not PairStatus.COPY or row.direction is not Direction.REVERSE:
                raise RefusedError(
                    f"cannot copy out of {row.volume_id}: status is {row.status}, {row.direction}",
                    hint="begin it anew at its primary: pair.resync(direction=Direction.REVERSE)",
                )
            outlet = peer.known_outlet(group_of(mirror))
            if outlet is None:
                raise PathLostError(
                    f"pair {asked.pair_id} has no stream",
                    hint="restore the path: the copy goes on then",
                )
            outlet.ship(mirror)
        make_source_durable(self._state, mirror.row.volume_id)

        def finish(job: CopyJob) -> None:
            outlet.await_durable_of_job(job.wake)

        def ended(_error: PyrepError | None) -> None:
            with self._ended:
                self._ended.notify_all()

        what = name_of(mirror.row, self._state.system_id)
        before = None
        if plan is not None:
            before = Sieve(self._state, mirror, peer, outlet, plan).run
        work = copying(mirror.link, finish, before=before)
        job = CopyJob(what=what, work=work, ended=ended, rate=rate)
        with in_turn(self._state, peer, connection):
            with self._ended:
                self._jobs[mirror.row.pair_id] = job
                mirror.job = job
            job.start()

    def progress(self, peer: Peer, connection: Connection, asked: ReverseProgress) -> CopyFacts:
        """Tell how far the copy is, after a moment or at its end; its error is raised."""
        mirror = own_row(self._state, peer, asked.pair_id)
        with in_turn(self._state, peer, connection):
            job = self._jobs.get(mirror.row.pair_id)
        if job is None:
            raise NotFoundError(
                f"pair {asked.pair_id} isn't copying back",
                hint="go on with it at its primary: pair.resync(direction=Direction.REVERSE)",
            )
        _steer(job, asked)
        if asked.cancel:
            self._end(mirror, job)
        with self._ended:
            self._ended.wait_for(lambda: job.is_done, _PROGRESS_S)
        if job.is_done:
            job.wait()
        return CopyFacts(
            done=job.is_done,
            done_bytes=job.done_bytes,
            total_bytes=job.total_bytes,
            compared_bytes=job.compared_bytes,
            sent_bytes=job.sent_bytes,
        )

    def finish(self, peer: Peer, connection: Connection, pair_id: str) -> None:
        """Become the target again. Hosts are kept off first, so that nothing is sent any more.

        Raises:
            PathLostError: the order is late, or the path was lost: the copy back goes on with the
                next one.
        """
        state = self._state
        mirror = own_row(self._state, peer, pair_id)
        outlet = peer.known_outlet(group_of(mirror))
        if outlet is None:
            raise PathLostError(
                f"pair {pair_id} has no stream",
                hint="restore the path: the copy goes on then",
            )
        core = state.volume(mirror.row.volume_id).core
        with in_turn(self._state, peer, connection):
            core.fence(Fence.WRITES)
        try:
            timeout_s = state.options.ack_timeout_s
            outlet.drain(timeout_s=timeout_s, wake=state.wake, links=[mirror.link])
            info = mirror.link.info()
            if info.broken or info.any_pending:
                raise PathLostError(
                    "the path was lost at the end of the copy",
                    hint="restore the path: the copy goes on then",
                )
            # What hosts wrote here while it was SPLIT: from now on this is the target (INV-3).
            core.flush(ack_timeout_s=timeout_s)
        except PyrepError:
            state.refence([mirror.row.volume_id])
            raise
        with state.control:
            if not peer.has(connection):
                # A later connection may have begun a copy of its own meanwhile.
                state.refence([mirror.row.volume_id])
            peer.check_in_use(connection)
            mirror.link.idle()
            self._forget_job(mirror, mirror.job)
            state.change(
                mirror,
                status=PairStatus.DUPLEX,
                direction=Direction.FORWARD,
                target_consistent=True,
                pending_union=False,
            )

    def abandon(self, peer: Peer, connection: Connection, pair_id: str) -> None:
        """Stop copying out of this side; what was sent has arrived when it returns.

        Raises:
            PathLostError: the order is late.
        """
        mirror = own_row(self._state, peer, pair_id)
        self.end_for(peer, connection, mirror)
        with in_turn(self._state, peer, connection):
            mirror.link.mark()
        self.drain(peer, mirror)

    def drain(self, peer: Peer, mirror: Mirror) -> None:
        """Wait until what was sent towards the primary has arrived, or is lost with its path."""
        outlet = peer.known_outlet(group_of(mirror))
        if outlet is not None and outlet.stream.info().open:
            last = outlet.stream.info().last
            timeout_s = self._state.options.ack_timeout_s
            outlet.await_answer(last, Ack.RECEIVED, timeout_s=timeout_s, wake=self._state.wake)

    def end_for(self, peer: Peer, connection: Connection, mirror: Mirror) -> None:
        """End the pair's copy for an order, unless a later connection has begun it."""
        with in_turn(self._state, peer, connection):
            job = self._jobs.get(mirror.row.pair_id)
        self._end(mirror, job)

    def end(self, mirror: Mirror) -> None:
        """End the pair's copy, if there is one."""
        self._end(mirror, self._jobs.get(mirror.row.pair_id))

    def _end(self, mirror: Mirror, job: CopyJob | None) -> None:
        """End this copy; another one that began since is left alone."""
        if job is not None:
            job.close()
            self._forget_job(mirror, job)

    def _forget_job(self, mirror: Mirror, job: CopyJob | None) -> None:
        with self._ended:
            if job is not None and self._jobs.get(mirror.row.pair_id) is job:
                del self._jobs[mirror.row.pair_id]
                mirror.job = None


def _rate_of(asked: ReverseRun | ReverseProgress) -> CopyRate:
    return CopyRate(
        ceiling_bytes_s=asked.ceiling_bytes_s or None, floor_bytes_s=asked.floor_bytes_s or None
    )


def _steer(job: CopyJob, asked: ReverseProgress) -> None:
    """Let the copy go on as the primary's job has it."""
    rate = _rate_of(asked)
    if job.rate != rate:
        job.rate = rate
    if asked.paused and not job.is_paused:
        job.pause()
    elif job.is_paused and not asked.paused:
        job.resume()
