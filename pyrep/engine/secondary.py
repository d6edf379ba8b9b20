"""Remote pairs at their secondary: what the primary's commands do here."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace

from pyrep._core import Ack, Fence
from pyrep.engine.activity import make_source_durable
from pyrep.engine.copying import copying
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge, check_same_size, name_of
from pyrep.engine.digestdesk import one_kind
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.remote import RemotePairs
from pyrep.engine.remote_meeting import begun_to_write
from pyrep.engine.sieve import Sieve
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import (
    DeviceError,
    ExistsError,
    NotFoundError,
    PathLostError,
    PyrepError,
    RefusedError,
)
from pyrep.interconnect.messages import (
    BeginForward,
    BeginReverse,
    BindChannel,
    CopyFacts,
    CreatePair,
    FinishPair,
    KnownPairs,
    PairCreated,
    PairFacts,
    Pending,
    PendingBits,
    ReverseProgress,
    ReverseReady,
    ReverseRun,
    SplitPair,
)
from pyrep.model import (
    AckPoint,
    Comparison,
    CopyRate,
    CopyType,
    Direction,
    GenerationCause,
    GroupId,
    Lineage,
    PairId,
    PairStatus,
    Primary,
    Protect,
    Row,
    SplitCause,
    SystemId,
    VolumeId,
    new_content_id,
    new_key,
)
from pyrep.model.roles import VolumeRef
from pyrep.seams import Connection

__all__ = ["SecondarySide"]

_log = logging.getLogger(__name__)

_PROGRESS_S = 0.05


class SecondarySide:
    """The rows of remote pairs whose SVOL is here. Every command comes from the pair's primary."""

    def __init__(
        self, state: SystemState, local: LocalPairs, remote: RemotePairs, judge: Judge
    ) -> None:
        self._state = state
        self._local = local
        self._remote = remote
        self._judge = judge
        self._jobs: dict[PairId, CopyJob] = {}
        self._ended = threading.Condition()

    def mirror(self, peer: Peer, pair_id: str) -> Mirror:
        """Return this side's row of a pair with this peer: a system reaches only its own pairs."""
        mirror = self._state.mirror(PairId(pair_id))
        if mirror.row.pair_system_id != peer.system_id or mirror.row.is_primary:
            raise NotFoundError(f"no pair {pair_id} of system {peer.system_id}")
        return mirror

    def _group(self, mirror: Mirror) -> GroupId:
        if mirror.row.group_id is None:
            raise NotFoundError(f"pair {mirror.row.pair_id} has no group")
        return mirror.row.group_id

    # --- life ------------------------------------------------------------------------------------

    def create(self, peer: Peer, connection: Connection, asked: CreatePair) -> PairCreated:
        """Make the SVOL's row, in COPY forward; tell whether the SVOL is without data, durably.

        Raises:
            PathLostError: the order is late: nobody would forget the row until the next path.
            RefusedError: also when `Options.targets` doesn't let this system.
        """
        state = self._state
        svol = VolumeId(asked.svol)
        name = f"cannot create a remote pair {peer.system_id}:{asked.pvol} → {svol}"
        pvol_ref = VolumeRef(SystemId(peer.system_id), VolumeId(asked.pvol))

        # Before anything is looked up: a system that may not gets to know of no volume.
        targets = state.options.targets
        if targets is not None and svol not in targets.get(peer.system_id, ()):
            raise RefusedError(
                f"{name}: system {state.system_id} doesn't let system {peer.system_id} create "
                f"pairs onto it",
                hint=f"name it at {state.system_id}: {peer.system_id} = [{svol!r}] below [targets] "
                f"of its configuration, or in Options.targets",
            )

        def check() -> None:
            peer.check_in_use(connection)
            check_same_size(name, asked.size_bytes, state.volume(svol).record.size_bytes)
            svol_ref = VolumeRef(state.system_id, svol)
            self._judge.check_create_remote(name, svol, pvol_ref, svol_ref, asked.chunk_bytes)
            if any(key[0] == asked.pair_id for key in state.mirrors):
                raise ExistsError(f"{name}: pair {asked.pair_id} exists already")
            state.check_leases(name.removeprefix("cannot "), [svol], None)

        with state.control:
            check()
        self._local.splits.protect(svol, how=Protect(asked.protect), lease=None)
        row = Row(
            pair_id=PairId(asked.pair_id),
            copy_type=CopyType.REMOTE,
            volume_id=svol,
            pair_system_id=peer.system_id,
            mirror_volume_id=VolumeId(asked.pvol),
            primary=Primary.NO,
            status=PairStatus.COPY,
            row_key=new_key(),
            group_id=GroupId(asked.group_id),
            ack=AckPoint(asked.ack),
            chunk_bytes=asked.chunk_bytes,
            lineage=Lineage(current=asked.current),
        )
        self._remote.open_row(row, check).link.idle()
        return PairCreated(blank=self._is_blank(svol))

    def _is_blank(self, volume_id: VolumeId) -> bool:
        """Whether the fenced volume is without data, and would be after a power loss.

        Flushed before the look: what hosts have trimmed could come back.
        """
        live = self._state.volume(volume_id)
        try:
            if not live.is_blank():
                return False
            live.core.flush(ack_timeout_s=0)
            return live.is_blank()
        except PyrepError as error:
            _log.info("pair.blank volume=%s taken for full: %s", volume_id, error)
            return False

    def remove(self, peer: Peer, connection: Connection, pair_id: str) -> None:
        """Forget the row, if there is one.

        Raises:
            PathLostError: the order is late: the pair may have been brought back since.
        """
        try:
            mirror = self.mirror(peer, pair_id)
        except NotFoundError:
            return
        self._remote.forget(mirror, connection=connection)

    def forget_others(self, peer: Peer, connection: Connection, known: KnownPairs) -> None:
        """Forget the pairs that this primary doesn't know: halves of creations or dissolutions.

        Raises:
            PathLostError: the order is late: it doesn't know of pairs created since.
        """
        ids = set(known.pair_ids)
        with self._in_turn(peer, connection):
            others = [
                one
                for one in self._state.mirrors.values()
                if one.row.is_remote
                and not one.row.is_primary
                and one.row.pair_system_id == peer.system_id
                and one.row.pair_id not in ids
            ]
        for mirror in others:
            _log.warning(
                "pair.forgotten pair=%s system %s doesn't know it",
                mirror.row.pair_id,
                peer.system_id,
            )
            self._end_job_for(peer, connection, mirror)
            self._remote.forget(mirror, connection=connection)

    def bind(self, peer: Peer, connection: Connection, asked: BindChannel) -> None:
        """Records of a channel are the pair's."""
        mirror = self.mirror(peer, asked.pair_id)
        with self._in_turn(peer, connection):
            # The source has durably begun: what it sends from here on counts from the copy's
            # identifier alone.
            if mirror.row.lineage.common and not mirror.row.lineage.written:
                self._state.change(mirror, lineage=mirror.row.lineage.confirmed())
        peer.bind(connection, asked.stream_id, asked.channel, mirror.link)

    def facts(self, peer: Peer, pair_id: str) -> PairFacts:
        """Tell the row."""
        with self._state.control:  # it isn't dissolved meanwhile
            mirror = self.mirror(peer, pair_id)
            row = mirror.row
            return PairFacts(
                status=row.status,
                cause=row.cause,
                direction=row.direction,
                target_consistent=row.target_consistent,
                pending_count=mirror.link.pending_count(),
                current=row.lineage.current,
                common=row.lineage.common,
                written=row.lineage.written,
                history=list(row.lineage.history),
                repaired=row.repaired,
            )

    def pending(self, peer: Peer, connection: Connection, asked: Pending) -> PendingBits:
        """Tell the pending bitmap (550, 670), if a copy in this direction may begin."""
        mirror = self.mirror(peer, asked.pair_id)
        if asked.peek:
            return PendingBits(bits=mirror.pending().to_roaring())
        if Direction(asked.direction) is Direction.FORWARD:
            self._check_may_copy_into(mirror)
        else:
            self._check_may_copy_out(mirror, resumes=asked.resumes, forced=asked.forced)
            # What an earlier copy has left on its way would fail in the new one's name.
            self._end_job_for(peer, connection, mirror)
            self._drain(peer, mirror)
        return PendingBits(bits=mirror.pending().to_roaring(), overmarked=mirror.is_overmarked)

    def _check_may_copy_into(self, mirror: Mirror) -> None:
        volume_id = mirror.row.volume_id
        for one in self._state.local_svol_mirrors(volume_id):
            if one.row.status is PairStatus.COPY and one.row.direction is Direction.REVERSE:
                raise RefusedError(
                    f"cannot copy into {volume_id}: local pair {one.row.pair_id} is copying back "
                    f"into it",
                    hint="wait until that copy has ended",
                )

    def _check_may_copy_out(self, mirror: Mirror, *, resumes: bool, forced: bool) -> None:
        """A reverse copy that resumes: nothing was copied into this side since it began."""
        row = mirror.row
        doing = f"cannot copy out of {row.volume_id}"
        if forced:
            return
        if not resumes and not row.target_consistent and row.direction is Direction.FORWARD:
            raise RefusedError(f"{doing}: it is inconsistent", hint="resync the pair forward")
        self._judge.check_copy_out(row.volume_id, doing)

    def _check_seen(self, mirror: Mirror, *known: int, written: bool = True) -> None:
        """Raise RefusedError if this side is no longer what the primary has decided by.

        Args:
            mirror: the row.
            known: what its content may be called; with 0, anything.
            written: whether hosts may have written. Rows of 0.1.0 have no names that would tell.
        """
        row = mirror.row
        if (row.lineage.written and not written) or (
            0 not in known and row.lineage.current not in known
        ):
            raise begun_to_write(row, primary=row.pair_system_id, secondary=self._state.system_id)

    # --- forward ---------------------------------------------------------------------------------

    def begin_forward(self, peer: Peer, connection: Connection, asked: BeginForward) -> PendingBits:
        """Become the target; before the first byte, keep one consistent copy.

        With nothing to copy the volume stays consistent, and its mirrors go on; should anything
        come up before the primary ships, it asks once more.

        Returns:
            What is pending here now that no host writes any more.

        Raises:
            RefusedError: hosts began to write here after the primary had looked: it hasn't decided
                about that. Nothing has changed but, perhaps, the mirrors.
            PathLostError: the order is late.
        """
        state = self._state
        mirror = self.mirror(peer, asked.pair_id)
        row = mirror.row
        peer.check_in_use(connection)
        self._check_may_copy_into(mirror)
        self._local.splits.await_copies(row.volume_id, f"cannot copy into {row.volume_id}")
        self._check_seen(mirror, asked.seen, asked.current, written=asked.written)
        if asked.pending_count and row.target_consistent:
            self._local.splits.protect(
                row.volume_id,
                how=Protect(asked.protect),
                cause=GenerationCause.REPAIR if asked.repairs else GenerationCause.PROTECT,
                lease=ANY_LEASE,
            )
        with state.control:
            # Again: a local pair may have begun to copy back while the others were split, and a
            # host may have written for the first time.
            peer.check_in_use(connection)
            self._check_may_copy_into(mirror)
            self._check_seen(mirror, asked.seen, asked.current, written=asked.written)
            whole = mirror.row.target_consistent and not asked.pending_count
            followers = [] if whole else self._local.splits.followers(row.volume_id, whole=False)
            target = replace(
                mirror.row,
                status=PairStatus.COPY,
                cause=None,
                direction=Direction.FORWARD,
                target_consistent=whole,
                pending_union=False,
                lineage=mirror.row.lineage.as_target(asked.current, asked.base),
            )
            state.commit(target, *followers)
        # The fence is closed: only the path writes here now.
        mirror.link.idle()
        return PendingBits(bits=mirror.pending().to_roaring())

    def finish(self, peer: Peer, connection: Connection, asked: FinishPair) -> None:
        """Equal and durable on both sides.

        Raises:
            PathLostError: the order is late: it belongs to a copy of an earlier connection.
        """
        mirror = self.mirror(peer, asked.pair_id)
        with self._in_turn(peer, connection):
            row = mirror.row
            if row.status is not PairStatus.COPY or row.direction is not Direction.FORWARD:
                raise RefusedError(  # its volume failed, or the path was lost, just now
                    f"cannot end the copy into {row.volume_id}: status is {row.status}"
                )
            mirror.link.clean()
            whole = replace(
                row,
                status=PairStatus.DUPLEX,
                target_consistent=asked.consistent,
                pending_union=False,
                lineage=row.lineage.in_sync(asked.current),
            )
            followers = (
                self._local.splits.followers(row.volume_id, whole=True) if asked.consistent else []
            )
            self._state.commit(whole, *followers)

    def split(self, peer: Peer, connection: Connection, asked: SplitPair) -> None:
        """Mark from now on; hosts may write if somebody asked for the split.

        Raises:
            PathLostError: the order is late: a later connection may have begun a copy.
        """
        mirror = self.mirror(peer, asked.pair_id)
        self._end_job_for(peer, connection, mirror)
        peer.unbind_link(mirror.link, connection)
        with self._in_turn(peer, connection):
            mirror.link.mark()
            self._state.change(
                mirror, status=PairStatus.SPLIT, cause=SplitCause(asked.cause), pending_union=False
            )

    # --- reverse ---------------------------------------------------------------------------------

    def begin_reverse(
        self, peer: Peer, connection: Connection, asked: BeginReverse
    ) -> ReverseReady:
        """Hold the union, durably, and get the stream ready."""
        state = self._state
        mirror = self.mirror(peer, asked.pair_id)
        self._check_may_copy_out(mirror, resumes=asked.resumes, forced=asked.forced)
        self._end_job_for(peer, connection, mirror)
        peer.unbind_link(mirror.link, connection)
        with self._in_turn(peer, connection):
            self._check_may_copy_out(mirror, resumes=asked.resumes, forced=asked.forced)
            self._check_seen(mirror, asked.seen)
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
        outlet, opened = peer.opened_outlet(self._group(mirror))
        return ReverseReady(
            stream_id=outlet.stream_id,
            attempt=peer.connection().attempt,
            next_number=opened.next_number if opened else 0,
            channel=outlet.channel(mirror.row.pair_id),
            current=mirror.row.lineage.current,
        )

    def run_reverse(self, peer: Peer, connection: Connection, asked: ReverseRun) -> None:
        """550, 670: copy everything in the union to the PVOL.

        Raises:
            PathLostError: the order is late, or there is no stream.
            RefusedError: no copy back has begun, or it has ended.
        """
        mirror = self.mirror(peer, asked.pair_id)
        rate = _rate_of(asked)
        plan = None
        if asked.digest:
            plan = Comparison(kind=one_kind(asked.digest), is_sparing=asked.sparing)
        with self._in_turn(peer, connection):
            row = mirror.row
            if row.status is not PairStatus.COPY or row.direction is not Direction.REVERSE:
                raise RefusedError(
                    f"cannot copy out of {row.volume_id}: status is {row.status}, {row.direction}"
                )
            outlet = peer.known_outlet(self._group(mirror))
            if outlet is None:
                raise PathLostError(f"pair {asked.pair_id} has no stream")
            outlet.ship(mirror)
        make_source_durable(self._state, mirror.row.volume_id)

        def finish(job: CopyJob) -> None:
            self._settle(outlet, mirror, job)

        def ended(_error: PyrepError | None) -> None:
            with self._ended:
                self._ended.notify_all()

        what = name_of(mirror.row, self._state.system_id)
        before = None
        if plan is not None:
            before = Sieve(self._state, mirror, peer, outlet, plan).run
        work = copying(mirror.link, finish, before=before)
        job = CopyJob(what=what, work=work, ended=ended, rate=rate)
        with self._in_turn(peer, connection):
            with self._ended:
                self._jobs[mirror.row.pair_id] = job
                mirror.job = job
            job.start()

    def _settle(self, outlet: Outlet, _mirror: Mirror, job: CopyJob) -> None:
        last = outlet.stream.info().last
        outlet.stream.barrier()
        timeout_s = self._state.options.ack_timeout_s
        outlet.await_answer(last, Ack.DURABLE, timeout_s=timeout_s, wake=job.wake)

    def reverse_progress(
        self, peer: Peer, connection: Connection, asked: ReverseProgress
    ) -> CopyFacts:
        """Tell how far the copy is, after a moment or at its end; its error is raised."""
        mirror = self.mirror(peer, asked.pair_id)
        with self._in_turn(peer, connection):
            job = self._jobs.get(mirror.row.pair_id)
        if job is None:
            raise NotFoundError(f"pair {asked.pair_id} isn't copying back")
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

    def end_reverse(self, peer: Peer, connection: Connection, pair_id: str) -> None:
        """Become the target again. Hosts are kept off first, so that nothing is sent any more.

        Raises:
            PathLostError: the order is late, or the path was lost: the copy back goes on with the
                next one.
        """
        state = self._state
        mirror = self.mirror(peer, pair_id)
        outlet = peer.known_outlet(self._group(mirror))
        if outlet is None:
            raise PathLostError(f"pair {pair_id} has no stream")
        core = state.volume(mirror.row.volume_id).core
        with self._in_turn(peer, connection):
            core.fence(Fence.WRITES)
        try:
            timeout_s = state.options.ack_timeout_s
            outlet.drain(timeout_s=timeout_s, wake=state.wake, links=[mirror.link])
            info = mirror.link.info()
            if info.broken or info.any_pending:
                raise PathLostError("the path was lost at the end of the copy")
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
        mirror = self.mirror(peer, pair_id)
        self._end_job_for(peer, connection, mirror)
        with self._in_turn(peer, connection):
            mirror.link.mark()
        self._drain(peer, mirror)

    def _drain(self, peer: Peer, mirror: Mirror) -> None:
        """Wait until what was sent towards the primary has arrived, or is lost with its path."""
        outlet = peer.known_outlet(self._group(mirror))
        if outlet is not None and outlet.stream.info().open:
            last = outlet.stream.info().last
            timeout_s = self._state.options.ack_timeout_s
            outlet.await_answer(last, Ack.RECEIVED, timeout_s=timeout_s, wake=self._state.wake)

    @contextlib.contextmanager
    def _in_turn(self, peer: Peer, connection: Connection) -> Iterator[None]:
        """Hold `control` for an order's effect: no order of a later connection comes between.

        Raises:
            PathLostError: one may have come before.
        """
        with self._state.control:
            peer.check_in_use(connection)
            yield

    def _end_job_for(self, peer: Peer, connection: Connection, mirror: Mirror) -> None:
        """End the pair's copy for an order, unless a later connection has begun it."""
        with self._in_turn(peer, connection):
            job = self._jobs.get(mirror.row.pair_id)
        self._end(mirror, job)

    def _end_job(self, mirror: Mirror) -> None:
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

    # --- path and storage ------------------------------------------------------------------------

    def path_lost(self, system_id: SystemId) -> None:
        """The path to a primary is gone: DUPLEX becomes SPLIT, closed to hosts; COPY waits."""
        state = self._state
        for mirror in list(state.mirrors.values()):
            row = mirror.row
            if not row.is_remote or row.is_primary or row.pair_system_id != system_id:
                continue
            # What came until then is durable: a crash while it is SPLIT mustn't tear it.
            state.peer(system_id).unbind_link(mirror.link)
            self._end_job(mirror)
            if row.status is PairStatus.COPY and row.direction is Direction.FORWARD:
                continue
            with state.control:
                if state.mirrors.get(mirror.key) is not mirror:
                    continue  # forgotten meanwhile
                mirror.link.mark()
                if mirror.row.status is PairStatus.DUPLEX:
                    with self._noting(mirror):
                        state.change(mirror, status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST)

    def volume_failed(self, mirror: Mirror, errno_code: int) -> None:
        """A record couldn't be applied: SPLIT, device_error; what was lost is pending here."""
        state = self._state
        row = mirror.row
        _log.warning(
            "pair.device_error pair=%s volume=%s errno=%d", row.pair_id, row.volume_id, errno_code
        )
        with state.control:
            # What this side lacks is pending in memory alone, and the peer is about to be told that
            # it needn't know any more. The watch saves the row when it is split.
            with contextlib.suppress(PyrepError):
                mirror.file.mark_open()
            if mirror.row.status is PairStatus.SPLIT:
                return
            with self._noting(mirror):
                state.change(
                    mirror,
                    status=PairStatus.SPLIT,
                    cause=SplitCause.DEVICE_ERROR,
                    target_consistent=False,
                    pending_union=False,
                )

    @staticmethod
    @contextlib.contextmanager
    def _noting(mirror: Mirror) -> Iterator[None]:
        """Go on when the tables can't be written: the primary knows, and resyncs all the same.

        After a crash the row is as if nothing had happened: DUPLEX, ended unclean, inconsistent.
        """
        try:
            yield
        except DeviceError as error:
            _log.warning("pair.unnoted pair=%s: %s", mirror.row.pair_id, error)


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
