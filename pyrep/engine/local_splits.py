"""Splits of local pairs, each at one point (steps 450, 640), and the generations they make."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from pyrep._core import CutItem, CutVerb, group_cut
from pyrep.engine.caller import Caller
from pyrep.engine.cancel import Cancel
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import Judge
from pyrep.engine.generations import Generations
from pyrep.engine.local_breaks import LocalBreaks
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import (
    BusyError,
    CancelledError,
    DeviceError,
    PyrepError,
    RefusedError,
    TimedOutError,
)
from pyrep.model import (
    Direction,
    Generation,
    GenerationCause,
    GenerationId,
    GenerationState,
    PairId,
    PairStatus,
    Protect,
    Row,
    SplitCause,
    VolumeId,
    WorkflowId,
)
from pyrep.model.transitions import Command

__all__ = ["LocalSplits"]

_log = logging.getLogger(__name__)

_PROTECTIVE = {GenerationCause.PROTECT: "before a copy", GenerationCause.REPAIR: "before a repair"}
"""With the labels of the generations."""

_LOOK_S = 0.2
"""How often a wait for a copy looks whether its caller has given up."""


class LocalSplits:
    """Splits, asked for or protective. `split` holds the pairs' operation while it runs."""

    def __init__(
        self, state: SystemState, generations: Generations, judge: Judge, breaks: LocalBreaks
    ) -> None:
        self._state = state
        self._generations = generations
        self._judge = judge
        self._breaks = breaks

    def split(
        self,
        pair_ids: Sequence[PairId],
        *,
        cause: GenerationCause = GenerationCause.SPLIT,
        label: str = "",
        lease: WorkflowId | None = None,
        extra: Sequence[CutItem] = (),
        caller: Caller | None = None,
    ) -> Generation | None:
        """Split local pairs at one point (INV-6) into one generation.

        Args:
            pair_ids: pairs in DUPLEX; those already SPLIT are left as they are.
            cause: what the catalogue says.
            label: free text.
            lease: the workflow on whose behalf.
            extra: further items of the same cut.
            caller: who waits for it.

        Returns:
            The generation, complete; None when all pairs were SPLIT already.

        Raises:
            RefusedError: one of them can't be split; none was.
        """
        state = self._state
        caller = caller or Caller()
        self._breaks.refresh()
        with state.operation("split", list(pair_ids), lease=lease):
            sides = [state.sides(pair_id) for pair_id in dict.fromkeys(pair_ids)]
            split = [one for one in sides if self._judge.local(Command.SPLIT, *one)]
            caller.past("the split has begun")
            for one in [one for one in split if not self._is_duplex(*one)]:
                self._stop(*one)
                split.remove(one)
            if not split:
                return None
            caller.tell("making what was split durable")
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
        with self._state.control, self._cut_already(split):
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

    @staticmethod
    @contextmanager
    def _cut_already(split: Sequence[tuple[Mirror, Mirror]]) -> Iterator[None]:
        """What can't be written behind the cut is written by `LocalBreaks`, when it can be.

        Until then the pair is DUPLEX in the table, and marks.
        """
        try:
            yield
        except DeviceError:
            for pvol, _ in split:
                pvol.failed = True
            raise

    # --- the parts, for a backup -----------------------------------------------------------------

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
            with state.control, self._cut_already(split):
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
        because = SplitCause.PROTECT if cause in _PROTECTIVE else SplitCause.REQUESTED
        with state.control, self._cut_already(split):
            columns = {"status": PairStatus.SPLIT, "cause": because, "target_consistent": True}
            state.commit(
                *(replace(one.row, **columns) for pair in split for one in pair),  # type: ignore[arg-type]
                first=lambda: self._generations.change(generation_id, state=state_after),
            )
        return self._generations.get(generation_id)

    # --- before a copy into the volume -----------------------------------------------------------

    def protect(
        self,
        volume_id: VolumeId,
        *,
        how: Protect = Protect.REQUIRE,
        cause: GenerationCause = GenerationCause.PROTECT,
        but: PairId | None = None,
        lease: WorkflowId | None = None,
        cancel: Cancel | None = None,
        longest_s: float | None = None,
    ) -> Generation | None:
        """Before the first byte of a copy reaches a volume: keep one consistent copy of it.

        Local copies out of the volume are waited for, at most `Options.copy_wait_s`; its DUPLEX
        mirrors are then split, as `how` says. Those that aren't follow the copy, half-way until it
        has ended: `followers` has their rows.

        Args:
            volume_id: the volume that is about to be copied into.
            how: see `Protect`.
            cause: REPAIR: what it holds may be wrong, and so may be the generation.
            but: a pair that isn't split: the one that is copied.
            lease: the workflow on whose behalf.
            cancel: ends the wait.
            longest_s: how long this call waits, if not for `Options.copy_wait_s`.

        Raises:
            PyrepError: they couldn't be split, and `how` requires it; the copy mustn't begin.
            RefusedError, BusyError, CancelledError: a local copy out of the volume didn't end.
        """
        state = self._state
        pair_ids = []
        for one in state.local_svol_mirrors(volume_id):
            if one.row.pair_id == but:
                continue
            self._await_copy(one, f"cannot copy into {volume_id}", cancel, longest_s)
            if one.row.status is PairStatus.DUPLEX:
                pair_ids.append(one.row.pair_id)
        complete = len([one for one in state.catalogue.of_source(volume_id) if one.is_backup])
        if not pair_ids or how is Protect.OFF:
            _log.info(
                "protect.none volume=%s protect=%s complete_generations=%d",
                volume_id,
                how,
                complete,
            )
            return None
        try:
            return self.split(pair_ids, cause=cause, label=_PROTECTIVE[cause], lease=lease)
        except CancelledError:
            raise
        except PyrepError as error:
            if how is Protect.REQUIRE:
                raise
            _log.warning(
                "protect.failed volume=%s complete_generations=%d (%s), the copy begins all the "
                "same: %s",
                volume_id,
                complete,
                "one can be restored" if complete else "there is no consistent copy until it ends",
                error,
            )
            return None

    def followers(self, volume_id: VolumeId, *, whole: bool) -> list[Row]:
        """Return the rows of DUPLEX local mirrors as they are when what they follow is (not) whole.

        To be committed together with the row of the copy into the volume (INV-5: what isn't whole
        isn't served).
        """
        state = self._state
        return [
            replace(one.row, target_consistent=whole)
            for pvol in state.local_svol_mirrors(volume_id)
            if pvol.row.status is PairStatus.DUPLEX and pvol.row.target_consistent is not whole
            for one in state.sides(pvol.row.pair_id)
        ]

    def _await_copy(
        self,
        mirror: Mirror,
        doing: str,
        cancel: Cancel | None = None,
        longest_s: float | None = None,
    ) -> None:
        """Wait for the copy of a local pair, if one runs: `longest_s`, or `Options.copy_wait_s`.

        Raises:
            BusyError: it runs still.
            RefusedError: it is paused.
            CancelledError: the caller gave up waiting, or the copy was stopped.
        """
        with self._state.control:
            job = mirror.job
        left_s = self._state.options.copy_wait_s if longest_s is None else longest_s
        while job and not job.is_done:
            try:
                job.wait_unless_paused(doing, min(_LOOK_S, left_s))
            except TimedOutError as error:
                if cancel:
                    cancel.check(doing)
                left_s -= _LOOK_S
                if left_s <= 0:
                    raise BusyError(
                        f"{doing}: local pair {mirror.row.pair_id} is copying out of it still, "
                        f"after {self._state.options.copy_wait_s} s",
                        hint="wait until that copy has ended, or stop it: pair.split()",
                    ) from error
        if job:
            job.wait()

    def copying_out_of(self, volume_id: VolumeId) -> tuple[PairId, CopyJob] | None:
        """Return a local pair whose copy out of the volume runs, and that copy."""
        with self._state.control:
            for one in self._state.local_svol_mirrors(volume_id):
                if one.job is not None and not one.job.is_done:
                    return one.row.pair_id, one.job
        return None

    def await_copies(
        self, volume_id: VolumeId, doing: str, *, longest_s: float | None = None
    ) -> None:
        """Wait for local copies out of a volume that is about to be copied into.

        Each is waited for `Options.copy_wait_s` at most, or `longest_s`.

        Raises:
            RefusedError: one has stopped half-way, and would go on from inconsistent data.
            BusyError: one runs still.
        """
        for one in self._state.local_svol_mirrors(volume_id):
            self._await_copy(one, doing, longest_s=longest_s)
            if one.row.status is PairStatus.COPY and one.row.direction is Direction.FORWARD:
                raise RefusedError(
                    f"{doing}: local pair {one.row.pair_id} is copying out of it",
                    hint="resync that pair, or stop it with pair.split()",
                )
