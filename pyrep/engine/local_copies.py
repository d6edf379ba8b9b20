"""Copies of local pairs: forward (460), and back from a generation (640, 650)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from pyrep._core import Fence
from pyrep.engine.activity import make_source_durable
from pyrep.engine.cancel import Cancel
from pyrep.engine.copying import copying
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge
from pyrep.engine.generations import Generations
from pyrep.engine.local_breaks import LocalBreaks
from pyrep.engine.local_splits import LocalSplits
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import (
    BusyError,
    CancelledError,
    DeviceError,
    NotFoundError,
    PyrepError,
    RefusedError,
)
from pyrep.model import (
    CopyPace,
    Direction,
    PairId,
    PairStatus,
    Row,
    SplitCause,
    VolumeId,
    WorkflowId,
)
from pyrep.model.situation import Command, Force

__all__ = ["LocalCopies"]

_log = logging.getLogger(__name__)


class LocalCopies:
    """Resyncs of local pairs. Each holds the pair's operation as it begins."""

    def __init__(
        self,
        state: SystemState,
        generations: Generations,
        judge: Judge,
        breaks: LocalBreaks,
        splits: LocalSplits,
    ) -> None:
        self._state = state
        self._generations = generations
        self._judge = judge
        self._breaks = breaks
        self._splits = splits

    def check_forward(self, pair_id: PairId, *, lease: WorkflowId | None = None) -> None:
        """Raise what `resync_forward` would raise now; nothing changes."""
        self._breaks.refresh()
        with self._state.operation("resync", [pair_id], lease=lease):
            pvol, svol = self._state.sides(pair_id)
            if self._judge.local(Command.RESYNC_FORWARD, pvol, svol):
                doing = f"resync pair {pair_id}"
                self._generations.check_may_give_up(svol.row.volume_id, doing)

    def resync_forward(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        force: Force | None = None,
        check: Callable[[], None] | None = None,
        pace: CopyPace | None = None,
    ) -> CopyJob | None:
        """Copy what is pending on either side from the PVOL to the SVOL (460).

        The SVOL's generation is given up. None: it was DUPLEX already.

        Args:
            pair_id: the pair.
            lease: the workflow on whose behalf.
            check: called right before the generation is given up, while nothing else can change.

        Raises:
            RefusedError: the matrix, or the generation is pinned or protected, or `check` says so.
        """
        state = self._state
        self._breaks.refresh()
        with state.operation("resync", [pair_id], lease=lease):
            pvol, svol = state.sides(pair_id)
            decision = self._judge.local(Command.RESYNC_FORWARD, pvol, svol, force=force)
            if not decision:
                running = pvol.row.status is PairStatus.COPY
                return self.resume_copy(pair_id, pace=pace) if running else None
            doing = f"resync pair {pair_id}"
            with state.control:  # a view may not pin the generation between check and commit
                generation = self._generations.check_may_give_up(svol.row.volume_id, doing)
                if check is not None:
                    check()
                columns = {
                    "status": PairStatus.COPY,
                    "cause": None,
                    "direction": Direction.FORWARD,
                    "target_consistent": False,
                }
                state.commit(
                    replace(pvol.row, pending_union=True, epoch_start=0, **columns),  # type: ignore[arg-type]
                    replace(svol.row, pending_union=False, **columns),  # type: ignore[arg-type]
                    first=lambda: self._generations.give_up(generation, svol.row.volume_id),
                )
            pvol.link.pending.update(svol.pending())
            return self.run(pvol, svol, pace=pace)

    def resync_reverse(
        self,
        pair_id: PairId,
        *,
        lease: WorkflowId | None = None,
        force: Force | None = None,
        cancel: Cancel | None = None,
        pace: CopyPace | None = None,
    ) -> CopyJob:
        """Copy what is pending on either side from the SVOL back to the PVOL (640, 650).

        Sibling mirrors that are DUPLEX are split first, as one generation of cause protect.

        Raises:
            RefusedError: the matrix; nothing has changed but, perhaps, the protective split.
        """
        state = self._state
        self._breaks.refresh()
        with state.operation("resync", [pair_id], lease=lease):
            pvol, svol = state.sides(pair_id)
            if not self._judge.local(Command.RESYNC_REVERSE, pvol, svol, force=force):
                return self.resume_copy(pair_id, pace=pace)
            self._splits.protect(
                pvol.row.volume_id,
                how=pvol.row.protect,
                but=pair_id,
                lease=lease,
                cancel=cancel,
            )
            # A remote pair whose SVOL this copies into has something of its own from here on.
            state.note_written(pvol.row.volume_id)
            with state.control:
                # Again: the world may have moved while the siblings were split.
                self._judge.local(Command.RESYNC_REVERSE, pvol, svol, force=force)
                columns = {
                    "status": PairStatus.COPY,
                    "cause": None,
                    "direction": Direction.REVERSE,
                    "target_consistent": False,
                }
                state.commit(
                    replace(pvol.row, pending_union=False, epoch_start=0, **columns),  # type: ignore[arg-type]
                    replace(svol.row, pending_union=True, **columns),  # type: ignore[arg-type]
                    *self._splits.followers(pvol.row.volume_id, whole=False),
                )
            # The fence is closed: nothing is marked any more. Union into the copying side's row.
            svol.link.pending.update(pvol.pending())
            return self.run(svol, pvol, pace=pace)

    def resume_copy(self, pair_id: PairId, *, pace: CopyPace | None = None) -> CopyJob:
        """Go on with an interrupted copy, in its direction; or return the one that runs."""
        state = self._state
        pvol, svol = state.sides(pair_id)
        with state.control:
            running = pvol.job or svol.job
        if running and not running.is_stopping:
            return running
        if running:
            running.close()
        if pvol.row.direction is Direction.FORWARD:
            return self.run(pvol, svol, pace=pace)
        return self.run(svol, pvol, pace=pace)

    def resume_unclean(self) -> None:
        """Resync what an unclean end has split, as soon as it may be."""
        state = self._state
        with state.control:
            found = [one.row for one in state.mirrors.values() if one.row.is_primary]
        for row in found:
            if not row.is_remote and _resumes_unclean(row):
                with contextlib.suppress(RefusedError, BusyError, NotFoundError):
                    # Also below the lease of a workflow that has stopped: it reads and writes the
                    # source, which this leaves alone; whoever resumes it finds the mirror in sync.
                    self.resync_forward(row.pair_id, lease=ANY_LEASE)

    # --- the copy itself -------------------------------------------------------------------------

    def begin(self, source: Mirror, target: Mirror) -> None:
        """Begin the initial copy of a new pair; two volumes without data are DUPLEX at once."""
        # Before anything that may fail or be interrupted: the rows are in COPY already, and with
        # nothing pending they would be taken for a copy that is done. INV-1.
        source.mark_all()
        self._state.save(target)  # nothing is pending in it: a crash copies what the source's says
        try:
            if self._began_blank(source, target):
                return
        except PyrepError as error:
            _log.info("pair.blank pair=%s copied after all: %s", source.row.pair_id, error)
        except BaseException:
            if source.row.status is not PairStatus.DUPLEX:
                source.mark_all()
            raise
        source.link.idle()
        source.mark_all()
        self.run(source, target)

    def _began_blank(self, source: Mirror, target: Mirror) -> bool:
        """Make the pair DUPLEX if both volumes are without data; else writes may be passed on."""
        if not (self._is_blank(source) and self._is_blank(target)):
            return False
        target.link.idle()
        source.link.clean()
        source.link.forward(target.link)
        # Whatever is written from here on is passed on; what was written before is seen now.
        if not (self._is_blank(source) and self._is_blank(target)):
            return False
        self._finish_forward(source, target)
        return True

    def _is_blank(self, mirror: Mirror) -> bool:
        """Whether the volume is one hole, as its storage tells."""
        return self._state.volume(mirror.row.volume_id).is_blank()

    def run(self, source: Mirror, target: Mirror, *, pace: CopyPace | None = None) -> CopyJob:
        """Forward and copy out of `source`, whose row holds the union. Rows are in COPY."""
        state = self._state
        target.link.idle()
        source.link.forward(target.link)
        make_source_durable(state, source.row.volume_id)
        what = f"pair {source.row.pair_id} ({source.row.volume_id} → {target.row.volume_id})"

        def finish(_job: CopyJob) -> None:
            if source.row.direction is Direction.FORWARD:
                self._finish_forward(source, target)
            else:
                self._finish_reverse(source, target)

        def ended(error: PyrepError | None) -> None:
            with state.control:
                source.job = None
                source.failed = isinstance(error, DeviceError)
                source.stopped = isinstance(error, CancelledError) and not state.closing
            if error is not None and not state.closing:
                self._breaks.refresh()

        asked, options = pace or CopyPace(), state.options
        job = CopyJob(
            what=what,
            work=copying(source.link, finish),
            ended=ended,
            rate=asked.rate or options.copy_rate,
            workers=asked.workers or options.copy_workers,
        )
        with state.control:
            source.job, source.failed, source.stopped = job, False, False
        job.start()
        return job

    def _finish_forward(self, source: Mirror, target: Mirror) -> None:
        source.link.settle()
        target.link.clean()
        state = self._state
        with state.control:
            # What a remote pair's broken copy, or a power loss, has left half-way doesn't become
            # consistent by being copied; `SecondarySide.finish` says so when the source is mended.
            whole = self._judge.is_consistent(source.row.volume_id)
            columns = {"status": PairStatus.DUPLEX, "target_consistent": whole}
            state.commit(
                replace(source.row, pending_union=False, **columns),  # type: ignore[arg-type]
                replace(target.row, **columns),  # type: ignore[arg-type]
            )

    def _finish_reverse(self, source: Mirror, target: Mirror) -> None:
        """Both rows SPLIT with empty bitmaps.

        Never DUPLEX: the next write would destroy the generation. Both volumes are fenced until the
        commit: a write between would lose its mark to `clean`.
        """
        state = self._state
        with state.control:
            state.volume(source.row.volume_id).core.fence(Fence.WRITES)
        try:
            source.link.settle()
        except PyrepError:
            state.refence([source.row.volume_id])
            raise
        source.link.mark()
        source.link.clean()
        target.link.clean()
        target.link.mark()
        with state.control:
            columns = {
                "status": PairStatus.SPLIT,
                "cause": SplitCause.REQUESTED,
                "direction": Direction.FORWARD,
                "target_consistent": True,
            }
            state.commit(
                replace(source.row, pending_union=False, **columns),  # type: ignore[arg-type]
                replace(target.row, **columns),  # type: ignore[arg-type]
                *self._splits.followers(target.row.volume_id, whole=True),
                *self._mended(target.row.volume_id),
            )

    def _mended(self, volume_id: VolumeId) -> list[Row]:
        """Return the remote row of an SPVOL that was inconsistent, and holds a generation now.

        Whatever had torn it (records, a copy that was broken off) is pending in every local row: it
        was copied over, and may be copied out of again (Fig. 6, 650 and 670).
        """
        remote = self._state.remote_mirror(volume_id)
        if remote is None or remote.row.status is not PairStatus.SPLIT:
            return []
        return [] if remote.row.target_consistent else [replace(remote.row, target_consistent=True)]


def _resumes_unclean(row: Row) -> bool:
    """Whether an unclean end has split this pair, and a forward copy mends it."""
    return row.cause is SplitCause.UNCLEAN and row.direction is Direction.FORWARD
