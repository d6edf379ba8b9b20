"""Local pairs: create, split, resync, dissolve (Fig. 1, local mirror 140b; steps 440-460, 650)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace

from pyrep._core import CutItem, CutVerb, Fence, LinkCore, LinkMode, group_cut
from pyrep.engine.copyjob import CopyJob, copying
from pyrep.engine.decide import Judge
from pyrep.engine.generations import Generations
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import BusyError, DeviceError, NotFoundError, PyrepError, RefusedError
from pyrep.model import (
    CopyType,
    Direction,
    Generation,
    GenerationCause,
    GenerationId,
    GenerationState,
    PairId,
    PairStatus,
    Primary,
    Row,
    SplitCause,
    VolumeId,
    WorkflowId,
    make_pair_id,
    new_key,
)
from pyrep.model.transitions import Command

__all__ = ["LocalPairs"]

_log = logging.getLogger(__name__)


class LocalPairs:
    """Commands on local pairs. Each holds the pair's operation while it runs."""

    def __init__(self, state: SystemState, generations: Generations, judge: Judge) -> None:
        self._state = state
        self._generations = generations
        self._judge = judge

    # --- create ----------------------------------------------------------------------------------

    def create(self, pvol: VolumeId, svol: VolumeId, *, chunk_bytes: int) -> PairId:
        """Make a local pair and begin its initial copy.

        Raises:
            RefusedError, InvalidArgumentError, NotFoundError: nothing has changed.
        """
        state = self._state
        with state.control:
            state.check_open()
            self._judge.check_create_local(pvol, svol, chunk_bytes)
            state.check_leases(f"create a local pair {pvol} → {svol}", [pvol, svol], None)
            pair_id = make_pair_id(state.system_id, state.table.next_pair_number())
        with state.operation("create", [pair_id]):
            source, target = self._create_rows(pair_id, pvol, svol, chunk_bytes)
            self._run(source, target)
        return pair_id

    def _create_rows(
        self, pair_id: PairId, pvol: VolumeId, svol: VolumeId, chunk_bytes: int
    ) -> tuple[Mirror, Mirror]:
        """Make both rows durable and live, in one tree, everything pending."""
        state = self._state
        with state.control:
            self._judge.check_create_local(pvol, svol, chunk_bytes)
            rows = self._new_rows(pair_id, pvol, svol, chunk_bytes)
            source, target = self._open_mirrors(rows)
            try:
                with state.db.transaction():
                    for row in rows:
                        state.table.insert(row)
            except BaseException:
                for one in (source, target):
                    one.close()
                    state.store.remove(one.row.row_key)
                raise
            for one in (source, target):
                state.mirrors[one.key] = one
            state.trees.join(state.volume(pvol).core, state.volume(svol).core)
            source.mark_all()
            state.refence({pvol, svol})
        return source, target

    def _new_rows(
        self, pair_id: PairId, pvol: VolumeId, svol: VolumeId, chunk_bytes: int
    ) -> tuple[Row, Row]:
        source = Row(
            pair_id=pair_id,
            copy_type=CopyType.LOCAL,
            volume_id=pvol,
            pair_system_id=self._state.system_id,
            mirror_volume_id=svol,
            primary=Primary.YES,
            status=PairStatus.COPY,
            row_key=new_key(),
            chunk_bytes=chunk_bytes,
            pending_union=True,
        )
        target = replace(
            source,
            volume_id=svol,
            mirror_volume_id=pvol,
            primary=Primary.NO,
            row_key=new_key(),
            pending_union=False,
        )
        return source, target

    def _open_mirrors(self, rows: Sequence[Row]) -> list[Mirror]:
        state = self._state
        made: list[Mirror] = []
        try:
            for row in rows:
                live = state.volume(row.volume_id)
                link = LinkCore(live.core, chunk_bytes=row.chunk_bytes, shares_marks=row.is_primary)
                try:
                    file = state.store.create(row, live.record.key, live.record.size_bytes)
                except BaseException:
                    link.close()
                    raise
                made.append(Mirror(row, link, file))
        except BaseException:
            for one in made:
                one.close()
                state.store.remove(one.row.row_key)
            raise
        return made

    # --- copies ----------------------------------------------------------------------------------

    def resume_copy(self, pair_id: PairId) -> CopyJob:
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
            return self._run(pvol, svol)
        return self._run(svol, pvol)

    def _run(self, source: Mirror, target: Mirror) -> CopyJob:
        """Forward and copy out of `source`, whose row holds the union. Rows are in COPY."""
        state = self._state
        target.link.idle()
        source.link.forward(target.link)
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
            if error is not None and not state.closing:
                self.refresh()

        job = CopyJob(what=what, work=copying(source.link, finish), ended=ended)
        with state.control:
            source.job, source.failed = job, False
        job.start()
        return job

    def _finish_forward(self, source: Mirror, target: Mirror) -> None:
        source.link.settle()
        target.link.clean()
        state = self._state
        with state.control:
            columns = {"status": PairStatus.DUPLEX, "target_consistent": True}
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
            )

    def resync_forward(self, pair_id: PairId, *, lease: WorkflowId | None = None) -> CopyJob | None:
        """Copy what is pending on either side from the PVOL to the SVOL (460).

        The SVOL's generation is given up. None: it was DUPLEX already.

        Raises:
            RefusedError: the matrix, or the generation is pinned or protected.
        """
        state = self._state
        self.refresh()
        with state.operation("resync", [pair_id], lease=lease):
            pvol, svol = state.sides(pair_id)
            decision = self._judge.local(Command.RESYNC_FORWARD, pvol, svol)
            if not decision:
                running = pvol.row.status is PairStatus.COPY
                return self.resume_copy(pair_id) if running else None
            doing = f"resync pair {pair_id}"
            with state.control:  # a view may not pin the generation between check and commit
                generation = self._generations.check_may_give_up(svol.row.volume_id, doing)
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
            return self._run(pvol, svol)

    def resync_reverse(self, pair_id: PairId, *, lease: WorkflowId | None = None) -> CopyJob:
        """Copy what is pending on either side from the SVOL back to the PVOL (640, 650).

        Sibling mirrors that are DUPLEX are split first, as one generation of cause protect.

        Raises:
            RefusedError: the matrix; nothing has changed but, perhaps, the protective split.
        """
        state = self._state
        self.refresh()
        with state.operation("resync", [pair_id], lease=lease):
            pvol, svol = state.sides(pair_id)
            if not self._judge.local(Command.RESYNC_REVERSE, pvol, svol):
                return self.resume_copy(pair_id)
            self.protect(pvol.row.volume_id, but=pair_id, lease=lease)
            with state.control:
                # Again: the world may have moved while the siblings were split.
                self._judge.local(Command.RESYNC_REVERSE, pvol, svol)
                columns = {
                    "status": PairStatus.COPY,
                    "cause": None,
                    "direction": Direction.REVERSE,
                    "target_consistent": False,
                }
                state.commit(
                    replace(pvol.row, pending_union=False, epoch_start=0, **columns),  # type: ignore[arg-type]
                    replace(svol.row, pending_union=True, **columns),  # type: ignore[arg-type]
                )
            # The fence is closed: nothing is marked any more. Union into the copying side's row.
            svol.link.pending.update(pvol.pending())
            return self._run(svol, pvol)

    # --- splits ----------------------------------------------------------------------------------

    def split(
        self,
        pair_ids: Sequence[PairId],
        *,
        cause: GenerationCause = GenerationCause.SPLIT,
        label: str = "",
        lease: WorkflowId | None = None,
        extra: Sequence[CutItem] = (),
    ) -> Generation | None:
        """Split local pairs at one point (INV-6) into one generation.

        Args:
            pair_ids: pairs in DUPLEX; those already SPLIT are left as they are.
            cause: what the catalogue says.
            label: free text.
            lease: the workflow on whose behalf.
            extra: further items of the same cut.

        Returns:
            The generation, complete; None when all pairs were SPLIT already.

        Raises:
            RefusedError: one of them can't be split; none was.
        """
        state = self._state
        self.refresh()
        with state.operation("split", list(pair_ids), lease=lease):
            sides = [state.sides(pair_id) for pair_id in dict.fromkeys(pair_ids)]
            split = [one for one in sides if self._judge.local(Command.SPLIT, *one)]
            for one in [one for one in split if not self._is_duplex(*one)]:
                self._stop(*one)
                split.remove(one)
            if not split:
                return None
            if not all(self._judge.local_makes_generation(*one) for one in split):
                self.cut(split, extra)
                self._commit_split(split, SplitCause.REQUESTED, consistent=False)
                return None
            generation = self.intend(split, cause=cause, label=label)
            try:
                self.cut(split, extra)
            except BaseException:
                self._generations.change(generation.generation_id, state=GenerationState.FAILED)
                raise
            return self.complete(split, generation.generation_id, cause)

    def _is_duplex(self, pvol: Mirror, svol: Mirror) -> bool:
        """End the pair's copy, which may come to its end meanwhile; return whether it is DUPLEX."""
        for one in (pvol, svol):
            if one.job:
                one.job.close()
        return pvol.row.status is PairStatus.DUPLEX

    def _stop(self, pvol: Mirror, svol: Mirror) -> None:
        """Split a pair that isn't DUPLEX: a copy stops where it is; an automatic resume is off."""
        consistent = pvol.row.target_consistent
        pvol.link.mark()
        svol.link.mark()
        self._commit_split([(pvol, svol)], SplitCause.REQUESTED, consistent=consistent)

    def _commit_split(
        self, split: Sequence[tuple[Mirror, Mirror]], cause: SplitCause, *, consistent: bool
    ) -> None:
        with self._state.control:
            for pvol, svol in split:
                svol.link.mark()
                self._state.commit(
                    *(
                        replace(
                            one.row,
                            status=PairStatus.SPLIT,
                            cause=cause,
                            target_consistent=consistent,
                        )
                        for one in (pvol, svol)
                    )
                )

    def intend(
        self,
        split: Sequence[tuple[Mirror, Mirror]],
        *,
        cause: GenerationCause,
        label: str = "",
        attempt_id: str = "",
        generation_id: GenerationId | None = None,
    ) -> Generation:
        """Write the generation's row, durable before the cut."""
        return self._generations.intend(
            [svol for _, svol in split],
            cause=cause,
            label=label,
            attempt_id=attempt_id,
            generation_id=generation_id,
        )

    def cut(
        self, split: Sequence[tuple[Mirror, Mirror]], extra: Sequence[CutItem] = ()
    ) -> tuple[list[int], float]:
        """450: split the links at one point. Returns the extra items' numbers, and ms closed."""
        items = [CutItem(verb=CutVerb.SPLIT, on=pvol.link) for pvol, _ in split]
        numbers, closed_ms = group_cut(
            [*items, *extra], timeout_s=self._state.options.ack_timeout_s, wake=self._state.wake
        )
        return numbers[len(items) :], closed_ms

    def complete(
        self,
        split: Sequence[tuple[Mirror, Mirror]],
        generation_id: GenerationId,
        cause: GenerationCause,
        *,
        state_after: GenerationState = GenerationState.COMPLETE,
    ) -> Generation:
        """Make the SVOLs durable and commit rows and generation together; after the hold.

        Raises:
            DeviceError: an SVOL couldn't be made durable: the generation failed, the pairs are
                SPLIT, device_error.
        """
        state = self._state
        try:
            for pvol, svol in split:
                svol.link.mark()
                pvol.link.settle()
        except PyrepError:
            with state.control:
                failed = {"status": PairStatus.SPLIT, "cause": SplitCause.DEVICE_ERROR}
                state.commit(
                    *(
                        replace(one.row, target_consistent=False, **failed)  # type: ignore[arg-type]
                        for pair in split
                        for one in pair
                    ),
                    first=lambda: self._generations.change(
                        generation_id, state=GenerationState.FAILED
                    ),
                )
            raise
        because = SplitCause.PROTECT if cause is GenerationCause.PROTECT else SplitCause.REQUESTED
        with state.control:
            columns = {"status": PairStatus.SPLIT, "cause": because, "target_consistent": True}
            state.commit(
                *(replace(one.row, **columns) for pair in split for one in pair),  # type: ignore[arg-type]
                first=lambda: self._generations.change(generation_id, state=state_after),
            )
        return self._generations.get(generation_id)

    def protect(
        self,
        volume_id: VolumeId,
        *,
        but: PairId | None = None,
        lease: WorkflowId | None = None,
    ) -> Generation | None:
        """Before the first byte of a copy reaches a volume: keep one consistent copy of it.

        Local copies out of the volume are waited for; its DUPLEX mirrors are then split.
        """
        state = self._state
        pair_ids = []
        for one in state.local_svol_mirrors(volume_id):
            if one.row.pair_id == but:
                continue
            self._await_copy(one)
            if one.row.status is PairStatus.DUPLEX:
                pair_ids.append(one.row.pair_id)
        if not pair_ids:
            complete = [one for one in state.catalogue.of_source(volume_id) if one.is_complete]
            _log.info("protect.none volume=%s complete_generations=%d", volume_id, len(complete))
            return None
        return self.split(
            pair_ids, cause=GenerationCause.PROTECT, label="before a copy", lease=lease
        )

    def _await_copy(self, mirror: Mirror) -> None:
        with self._state.control:
            job = mirror.job
        if job:
            job.wait()

    def await_copies(self, volume_id: VolumeId, doing: str) -> None:
        """Wait for local copies out of a volume that is about to be copied into.

        Raises:
            RefusedError: one has stopped half-way, and would go on from inconsistent data.
        """
        for one in self._state.local_svol_mirrors(volume_id):
            self._await_copy(one)
            if one.row.status is PairStatus.COPY and one.row.direction is Direction.FORWARD:
                raise RefusedError(
                    f"{doing}: local pair {one.row.pair_id} is copying out of it",
                    hint="resync that pair, or stop it with pair.split()",
                )

    # --- dissolve and repair ---------------------------------------------------------------------

    def dissolve(self, pair_id: PairId, *, lease: WorkflowId | None = None) -> None:
        """End the pair: both volumes go on by themselves, with what they hold.

        Raises:
            RefusedError: the matrix, or its generation is pinned or protected.
        """
        state = self._state
        self.refresh()
        with state.operation("dissolve", [pair_id], lease=lease):
            pvol, svol = state.sides(pair_id)
            self._judge.local(Command.DISSOLVE, pvol, svol)
            with state.control:
                generation = self._generations.check_may_give_up(
                    svol.row.volume_id, f"dissolve pair {pair_id}"
                )
                with state.db.transaction():
                    self._generations.give_up(generation, svol.row.volume_id)
                    for one in (pvol, svol):
                        state.table.remove(*one.key)
                for one in (pvol, svol):
                    del state.mirrors[one.key]
                    one.close()
                    state.store.remove(one.row.row_key)
                state.trees.part([state.volume(svol.row.volume_id).core])
                state.refence({pvol.row.volume_id, svol.row.volume_id})

    def _note_broken(self, source: Mirror, target: Mirror) -> None:
        """A link ended its work because a side's storage failed: SPLIT, device_error.

        The target stays consistent if it was the source that failed.
        """
        state = self._state
        source.failed = False
        consistent = source.row.target_consistent and source.link.info().source_failed
        source.link.mark()
        target.link.mark()
        with state.control:
            columns = {
                "status": PairStatus.SPLIT,
                "cause": SplitCause.DEVICE_ERROR,
                "target_consistent": consistent,
            }
            state.commit(
                replace(source.row, pending_union=False, **columns),  # type: ignore[arg-type]
                replace(target.row, **columns),  # type: ignore[arg-type]
            )

    def resume_unclean(self) -> None:
        """Resync what an unclean end has split, as soon as it may be."""
        state = self._state
        with state.control:
            found = [one.row for one in state.mirrors.values() if one.row.is_primary]
        for row in found:
            if not row.is_remote and resumes_unclean(row):
                with contextlib.suppress(RefusedError, BusyError, NotFoundError):
                    self.resync_forward(row.pair_id)

    def refresh(self) -> None:
        """Notice links that broke since the last look; not those that a command is busy with."""
        state = self._state
        with state.control:
            if state.closing:
                return
            broken = [one.row.pair_id for one in state.mirrors.values() if _is_broken(one)]
        for pair_id in broken:
            with (
                contextlib.suppress(BusyError, NotFoundError),
                state.operation("mark", [pair_id], lease=ANY_LEASE),
            ):
                pvol, svol = state.sides(pair_id)
                source, target = (pvol, svol) if pvol.row.is_source else (svol, pvol)
                if _is_broken(source):
                    self._note_broken(source, target)

    def note_all_broken(self) -> None:
        """Notice, at the end, what broke since the last look: no command runs any more."""
        state = self._state
        for source in list(state.mirrors.values()):
            if _is_broken(source):
                row = source.row
                self._note_broken(source, state.mirrors[row.pair_id, row.mirror_volume_id])


def resumes_unclean(row: Row) -> bool:
    """Whether an unclean end has split this pair, and a forward copy mends it."""
    return row.cause is SplitCause.UNCLEAN and row.direction is Direction.FORWARD


def _is_broken(mirror: Mirror) -> bool:
    row = mirror.row
    if row.is_remote or not row.is_source or row.status is PairStatus.SPLIT:
        return False
    if mirror.job is not None:
        return False  # it has yet to find out
    info = mirror.link.info()
    return mirror.failed or (info.mode is LinkMode.FORWARD and bool(info.broken))
