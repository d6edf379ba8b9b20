"""Pairs as embedders see them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from pyroaring import BitMap

from pyrep.engine.arguments import check_timeout, one_of
from pyrep.engine.bitcodec import to_pyroaring
from pyrep.engine.caller import Caller
from pyrep.engine.cancel import Cancel, ProgressCallback
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import name_of
from pyrep.engine.local import LocalPairs
from pyrep.engine.marker import MarkerOutcome
from pyrep.engine.pairrepair import PairRepairs
from pyrep.engine.pairstate import PairState, check_may_become, look_at
from pyrep.engine.pairverify import PairVerifier
from pyrep.engine.pairverify_result import PairVerifyResult
from pyrep.engine.remote import RemotePairs
from pyrep.engine.remote_meeting import Will
from pyrep.engine.resync_estimate import ResyncEstimate, estimate_local, estimate_remote
from pyrep.engine.state import SystemState
from pyrep.errors import DeviceError, InvalidArgumentError, RefusedError, TimedOutError
from pyrep.model import (
    AckPoint,
    Compare,
    CopyPace,
    CopyRate,
    DigestKind,
    Direction,
    Generation,
    GroupId,
    PairId,
    PairStatus,
    Protect,
    Row,
    SystemId,
    WorkflowId,
    check_copy_workers,
)
from pyrep.model.situation import Force

__all__ = ["Pair"]

_POLL_S = 0.02


class Pair:
    """A local or remote pair, at a system that holds a side of it."""

    def __init__(
        self, state: SystemState, pair_id: PairId, local: LocalPairs, remote: RemotePairs
    ) -> None:
        self._state = state
        self._pair_id = pair_id
        self._local = local
        self._remote = remote

    def __repr__(self) -> str:
        return f"<Pair {self._pair_id} at {self._state.system_id}>"

    @property
    def pair_id(self) -> PairId:
        """Its id."""
        return self._pair_id

    @property
    def row(self) -> Row:
        """This system's row; of a local pair, the PVOL's."""
        return self._state.mirror(self._pair_id).row

    @property
    def rows(self) -> tuple[Row, ...]:
        """This system's rows: two of a local pair, the PVOL's first, or one."""
        return self._state.table.pair_rows(self._pair_id)

    @property
    def name(self) -> str:
        """The pair as messages name it."""
        return name_of(self.row, self._state.system_id)

    @property
    def group_id(self) -> GroupId | None:
        """The consistency group of a remote pair."""
        return self.row.group_id

    @property
    def job(self) -> CopyJob | None:
        """The copy that runs for this pair, led by this system; for progress and cancel.

        The initial copy of a new pair, or one that goes on by itself, is found here.
        """
        with self._state.control:
            rows = self._state.table.pair_rows(self._pair_id)
            jobs = [self._state.mirrors[row.pair_id, row.volume_id].job for row in rows]
        return next((job for job in jobs if job is not None and not job.is_done), None)

    def status(self) -> PairState:
        """Return the pair's state at this moment.

        Also where the tables can't be written: of a pair that has failed what they will say.
        """
        for look in (
            self._local.breaks.refresh,
            self._remote.failures.refresh,
            self._remote.congestion.refresh,
        ):
            with contextlib.suppress(DeviceError):  # the watch tells, and tries again
                look()
        return look_at(self._state, self._pair_id)

    def wait_marker(
        self,
        *,
        until: AckPoint = AckPoint.DURABLE,
        timeout_s: float | None = None,
        cancel: Cancel | None = None,
    ) -> MarkerOutcome:
        """Wait until everything written before this call is at the secondary.

        As `StorageSystem.wait_marker`, of this pair.
        """
        found = self._remote.markers.wait(
            [self._pair_id], until=until, timeout_s=timeout_s, cancel=cancel
        )
        return found[self._pair_id]

    def pending(self) -> BitMap:
        """Return the indices of the chunks pending on this side, marks shared with siblings too.

        As many as `status().pending_count`. What was sent and isn't known to be durable at the
        target (unsettled, `status().unsettled`) isn't among them: it becomes pending when the
        target or the path fails, and after a crash.

        Raises:
            InvalidArgumentError: a chunk from 2^32 on is pending; `pending_extents` names it.
        """
        with self._state.control:
            return to_pyroaring(self._state.mirror(self._pair_id).link.pending_chunks())

    def pending_extents(self) -> list[tuple[int, int]]:
        """Return `pending` as byte ranges (offset, length) of the volume, ascending.

        Adjacent chunks are one range; the last ends with the volume.
        """
        with self._state.control:
            mirror = self._state.mirror(self._pair_id)
            size = self._state.live[mirror.row.volume_id].record.size_bytes
            chunks = mirror.link.pending_chunks()
        return list(chunks.extents(chunk_bytes=mirror.row.chunk_bytes, size_bytes=size))

    def split(
        self,
        *,
        label: str = "",
        lease: WorkflowId | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Generation | None:
        """Split the pair.

        A local pair in DUPLEX becomes a generation of the catalogue (INV-4), which is returned. A
        remote pair is split at both sides, behind what is queued for it, which may take long on a
        slow path. A running copy stops where it is. Already SPLIT: no-op.

        Args:
            label: of the generation.
            lease: the workflow on whose behalf.
            progress: told what it waits for.
            cancel: ends the wait for what is queued; later it has no effect, and progress says so.

        Raises:
            RefusedError, BusyError, TimedOutError: nothing has changed.
            CancelledError: nothing has, but that a copy that ran is stopped.
        """
        caller = Caller(f"split of {self.name}", progress=progress, cancel=cancel)
        if self.row.is_remote:
            self._check_primary("split")
            self._remote.splits.split([self._pair_id], lease=lease, caller=caller)
            return None
        return self._local.splits.split([self._pair_id], label=label, lease=lease, caller=caller)

    def resync(
        self,
        *,
        direction: Direction | None = None,
        discard: str | None = None,
        force: Force | None = None,
        cancel: Cancel | None = None,
        lease: WorkflowId | None = None,
        rate: CopyRate | None = None,
        workers: int | None = None,
        compare: Compare | None = None,
    ) -> CopyJob | None:
        """Begin to copy the union of both sides' pending chunks; return the job.

        FORWARD ends in DUPLEX; the SVOL's generation is given up. REVERSE copies back: a local pair
        ends in SPLIT with nothing pending, a remote pair in DUPLEX, forward. An interrupted copy
        goes on. None: it is DUPLEX already.

        Of a remote pair the data identifiers of both sides decide whether the bits can be used, or
        an old copy that was put back asks for a copy of everything. A direction gives up what only
        its target was written with; where that is the SVOL, one has to be named. Where both sides
        were written to since they were equal (split brain), where the target holds newer data than
        an old copy at the source, and where they never were equal (unrelated), `discard` has to
        name the side that is given up.

        Args:
            direction: see above; None: away from the side to discard, else FORWARD.
            discard: the id of the system whose side of a remote pair is given up.
            force: INCONSISTENT_SOURCE copies although a copy has left the source half-way; what
                is in it then is on both sides.
            cancel: ends the wait for local copies out of a volume that is to be copied into (at
                most `Options.copy_wait_s`); the copy itself has its own, in the job.
            lease: the workflow on whose behalf.
            rate: bounds of its rate, also of a copy that runs already; None: `Options.copy_rate`.
                It may be changed while the copy runs: `pair.job.rate`. It holds for what goes on by
                itself when a lost path is back, too, until the system is closed.
            workers: threads that copy; None: `Options.copy_workers`, one to a remote volume. A
                reverse copy of a remote pair is made by the other system, with one.
            compare: whether a copy of a remote pair compares digests first and sends only what
                differs; None: `Options.compare`. A local copy doesn't: reading is what it costs.

        Raises:
            RefusedError, BusyError, CancelledError, PathLostError: nothing has changed, but perhaps
                a protective split of the target's local mirrors.
            InvalidArgumentError: so many workers can't be; nothing has changed.
        """
        if workers is not None:
            check_copy_workers(workers)
        pace = CopyPace(rate=rate, workers=workers, compare=compare)
        will = Will(
            discard=None if discard is None else SystemId(discard),
            undirected=direction is None and discard is None and force is None and lease is None,
            by_bits=lease is not None,
        )
        job = self._resync(
            self._direction(direction, discard),
            will,
            force=force,
            cancel=cancel,
            lease=lease,
            pace=pace,
        )
        if job is not None and rate is not None:
            job.rate = rate
        return job

    def _direction(self, direction: Direction | None, discard: str | None) -> Direction:
        """Return which way a copy is to go. InvalidArgumentError: nobody's side is to be given up.

        Whether direction and discarded side go together is asked when the sides meet.
        """
        row = self.row
        if discard is not None and not row.is_remote:
            raise InvalidArgumentError(
                f"cannot resync {self.name}: a local pair has no side of another system to discard",
                hint="name the direction",
            )
        if discard not in {None, self._state.system_id, row.pair_system_id}:
            raise InvalidArgumentError(
                f"cannot resync {self.name}: it has no side at {discard}",
                hint=f"{self._state.system_id} or {row.pair_system_id}",
            )
        if direction is not None:
            return direction
        here = discard == self._state.system_id
        return Direction.REVERSE if here else Direction.FORWARD

    def _resync(
        self,
        direction: Direction,
        will: Will,
        *,
        force: Force | None,
        cancel: Cancel | None,
        lease: WorkflowId | None,
        pace: CopyPace,
    ) -> CopyJob | None:
        forward = direction is Direction.FORWARD
        if self.row.is_remote:
            self._check_primary("resync")
            if forward:
                return self._remote.copies.resync_forward(
                    self._pair_id, lease=lease, force=force, will=will, cancel=cancel, pace=pace
                )
            return self._remote.copies_back.resync_reverse(
                self._pair_id, lease=lease, force=force, will=will, cancel=cancel, pace=pace
            )
        if forward:
            return self._local.copies.resync_forward(
                self._pair_id, lease=lease, force=force, pace=pace
            )
        return self._local.copies.resync_reverse(
            self._pair_id, lease=lease, force=force, cancel=cancel, pace=pace
        )

    def estimate(
        self, *, direction: Direction | None = None, discard: str | None = None
    ) -> ResyncEstimate:
        """Tell what a resync would copy, and which way, doing nothing (a dry connect).

        Of a remote pair the secondary is asked for its data identifiers and its pending bits.

        Args:
            direction: as in `resync`; None: the one that loses nothing, FORWARD if there is none.
            discard: as in `resync`.

        Raises:
            RefusedError: this isn't the pair's primary, or the secondary doesn't know the pair.
            PathLostError: the secondary can't be asked.
            InvalidArgumentError: as in `resync`.
        """
        if not self.row.is_remote:
            asked = self._direction(direction, discard)
            return estimate_local(self._state, self._local, self._pair_id, asked)
        self._check_primary("estimate a resync of")
        if discard is not None:
            direction = self._direction(direction, discard)
        will = Will(
            discard=None if discard is None else SystemId(discard), undirected=direction is None
        )
        return estimate_remote(self._state, self._remote, self._pair_id, direction, will)

    def verify(
        self,
        *,
        percentage: float = 100.0,
        seed: int | None = None,
        kind: DigestKind = DigestKind.XXH3,
        rate: CopyRate | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> PairVerifyResult:
        """Compare both volumes by digests while hosts write.

        Of a pair in DUPLEX everything has to be equal but what is on its way; of one that is SPLIT,
        what is pending on neither side. Nothing changes, and it may be called again. What hosts
        write meanwhile raises no alarm; it is compared again.

        Args:
            percentage: of the spans of 1 MiB; the share is drawn.
            seed: of the draw.
            kind: the digests to compare by.
            rate: bounds of how fast each side is read.
            progress: called about 20 times a second, and once at the end.
            cancel: ends it.

        Raises:
            RefusedError: it is in COPY, or became something else meanwhile; or this isn't its
                primary.
            PathLostError, DeviceError, CancelledError.
            InvalidArgumentError: such a share can't be.
        """
        if self.row.is_remote:
            self._check_primary("verify")
        return PairVerifier(self._state, self._remote.line).verify(
            self._pair_id,
            percentage=percentage,
            seed=seed,
            kind=kind,
            rate=rate,
            progress=progress,
            cancel=cancel,
        )

    def repair(self, found: PairVerifyResult, *, cancel: Cancel | None = None) -> CopyJob | None:
        """Make pending what a verification found to differ, and copy it from the PVOL again.

        A pair in DUPLEX becomes SPLIT, cause repair (a local one: unclean), and goes on forward:
        the job is returned. If that is interrupted, it goes on by itself. The SVOL's DUPLEX local
        mirrors are split first, as before every copy, as a generation of cause repair: it may hold
        what differed. In a pair that is SPLIT it is only made pending: which way it is copied is
        said by the next resync. None: that, or there was no difference.

        Args:
            found: what was found.
            cancel: ends the wait for local copies out of the SVOL; the pair goes on by itself.

        Raises:
            RefusedError: it is in COPY, or this isn't its primary. BusyError.
            PathLostError: what differs is pending, and is copied when the path is back.
            CancelledError: what differs is pending, and is copied by and by.
            InvalidArgumentError: another pair was verified.
        """
        if self.row.is_remote:
            self._check_primary("repair")
        return PairRepairs(self._state, self._local, self._remote).repair(
            self._pair_id, found, cancel
        )

    def set_protect(self, protect: Protect) -> None:
        """Say what copies into the pair's volumes do first with these volumes' local mirrors.

        Counts from the next copy on. Of a remote pair it is kept, and said, at the primary.

        Raises:
            RefusedError: this isn't the pair's primary.
        """
        if self.row.is_remote:
            self._check_primary("change")
        with self._state.control:
            rows = self._state.table.pair_rows(self._pair_id)
            self._state.commit(*(replace(row, protect=protect) for row in rows))

    def pause_copy(self) -> None:
        """Let the pair's copy rest until `resume_copy`. Idempotent.

        The pair stays in COPY, hosts go on, and what they write is passed on or pending as before.
        Whatever would have to wait for the copy is refused meanwhile: a backup with this mirror, a
        copy into its source. Split, cancel and close work as ever. The pause ends with the copy and
        with the system: a system that is opened goes on with its copies. A lost path doesn't end
        it: what goes on when it is back rests.

        Raises:
            RefusedError: no copy runs.
        """
        self._running_job("pause").pause()

    def resume_copy(self) -> None:
        """Go on with a copy that was paused. Idempotent.

        Raises:
            RefusedError: no copy runs.
        """
        self._running_job("resume").resume()

    def _running_job(self, doing: str) -> CopyJob:
        if self.row.is_remote:
            self._check_primary(f"{doing} the copy of")
        job = self.job
        if job is None:
            raise RefusedError(
                f"cannot {doing} the copy of {self.name}: no copy runs, it is {self.row.status}",
                hint="begin one with pair.resync()",
            )
        return job

    def dissolve(
        self,
        *,
        force: Force | None = None,
        without_peer: bool = False,
        lease: WorkflowId | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """End the pair; both volumes keep what they hold. A remote one in DUPLEX is split first.

        Args:
            force: INCONSISTENT_LEFT also if a copy has left its volume half-way: that volume is
                served again, with what is in it.
            without_peer: of a remote pair, end this side alone: the other system is gone for good.
                At the secondary a copy is ended by it, too, since only the primary could split it.
                Should it come back, it forgets its side if it was the secondary; if it was the
                primary it shows the pair as unknown here.
            lease: the workflow on whose behalf.
            progress, cancel: as in `split`.

        Raises:
            RefusedError, BusyError, TimedOutError, CancelledError: nothing has changed.
            PathLostError: nothing has, but that a pair that was DUPLEX is SPLIT.
        """
        if not self.row.is_remote:
            self._local.dissolve(self._pair_id, lease=lease, force=force)
            return
        if not without_peer and not self.row.is_primary:
            raise RefusedError(
                f"cannot dissolve {self.name} here: a remote pair's primary orders its commands",
                hint=f"ask system {self.row.pair_system_id}; if it is gone for good, "
                "pair.dissolve(without_peer=True)",
            )
        self._remote.dissolve(
            self._pair_id,
            lease=lease,
            force=force,
            without_peer=without_peer,
            caller=Caller(f"dissolving {self.name}", progress=progress, cancel=cancel),
        )

    def _check_primary(self, command: str) -> None:
        if not self.row.is_primary:
            raise RefusedError(
                f"cannot {command} {self.name} here: a remote pair's primary orders its commands",
                hint=f"ask system {self.row.pair_system_id}",
            )

    def wait(self, *statuses: PairStatus, timeout_s: float | None = None) -> PairState:
        """Wait until the pair has one of these statuses (DUPLEX if none is named).

        Fails at once when it can't come any more by itself: split by an error or on request, or its
        copy was stopped.

        Raises:
            TimedOutError: it hasn't yet.
            RefusedError: it won't.
        """
        wanted = [one_of(PairStatus, one) for one in statuses] or [PairStatus.DUPLEX]
        check_timeout(timeout_s)
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            now = self.status()
            if now.status in wanted:
                return now
            check_may_become(self._pair_id, now, wanted)
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimedOutError(
                    f"pair {self._pair_id} is {now.status}, not {'/'.join(wanted)}, after "
                    f"{timeout_s} s",
                    hint="wait on, or look what it is doing: pair.status()",
                )
            self._pause(_POLL_S if left is None else min(left, _POLL_S))

    def _pause(self, seconds: float) -> None:
        changed: Callable[[], bool] = lambda: self._state.closing  # noqa: E731
        with self._state.control:
            self._state.control.wait_for(changed, seconds)
