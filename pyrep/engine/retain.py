"""Retention at work: plans made, generations given up, rows of ended ones forgotten."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pyrep.engine.generations import Generations
from pyrep.engine.state import SystemState
from pyrep.errors import BusyError, RefusedError
from pyrep.model import (
    Generation,
    GenerationId,
    GenerationState,
    RetentionDecision,
    RetentionPlan,
    VolumeId,
    plan_retention,
)

__all__ = ["Retention", "RetentionReport"]

_log = logging.getLogger(__name__)

_ENDED = {GenerationState.FAILED, GenerationState.GIVEN_UP}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport:
    """What retention decided, and did unless it was a dry run.

    Attributes:
        dry_run: whether nothing was done.
        plans: per volume, what becomes of each of its generations and why.
        given_up: generations given up (dry run: that would be).
        forgotten: rows of ended generations that left the catalogue (dry run: that would).
        left: generations that were to be given up and couldn't be, with the reason.
    """

    dry_run: bool
    plans: tuple[tuple[VolumeId, RetentionPlan], ...]
    given_up: tuple[GenerationId, ...]
    forgotten: tuple[GenerationId, ...]
    left: tuple[tuple[GenerationId, str], ...] = ()

    def __str__(self) -> str:
        lines = [line for volume, plan in self.plans for line in (f"volume {volume}", str(plan))]
        lines += [f"left {generation_id}: {why}" for generation_id, why in self.left]
        return "\n".join(lines)


class Retention:
    """Applies the retention policies of a system's volumes to the generations that it holds."""

    def __init__(self, state: SystemState, generations: Generations) -> None:
        self._state = state
        self._generations = generations

    def apply(
        self, volumes: Sequence[VolumeId], *, dry_run: bool, now: datetime | None
    ) -> RetentionReport:
        """Do `StorageSystem.apply_retention`."""
        now = now or datetime.now(UTC)
        with self._state.control:
            self._state.check_open()
            asked = volumes or self._with_policy()
            plans = self._plans(asked, now)
            old = self._old(now)
        doomed = list(dict.fromkeys(one for plan in plans.values() for one in plan.given_up))
        left: list[tuple[GenerationId, str]] = []
        forgotten: list[GenerationId] = list(old)
        if not dry_run:
            for generation_id in doomed:
                try:
                    self._give_up(generation_id, asked, now)
                except (BusyError, RefusedError) as error:
                    left.append((generation_id, str(error)))
            forgotten = self._forget(old)
        gone = {generation_id for generation_id, _ in left}
        return RetentionReport(
            dry_run=dry_run,
            plans=tuple(plans.items()),
            given_up=tuple(one for one in doomed if one not in gone),
            forgotten=tuple(forgotten),
            left=tuple(left),
        )

    def _with_policy(self) -> list[VolumeId]:
        """Return the volumes that have generations here and a policy."""
        sources = {
            member.source
            for one in self._state.catalogue.all()
            if one.home == self._state.system_id and one.state not in _ENDED
            for member in one.members
        }
        return [
            one
            for one in sorted(sources)
            if self._state.policies.effective(one).retention is not None
        ]

    def _plans(self, volumes: Iterable[VolumeId], now: datetime) -> dict[VolumeId, RetentionPlan]:
        """Plan each volume; a generation of several goes only if none of them keeps it."""
        plans = {one: self._plan(one, now) for one in volumes}
        return {one: self._kept_by_others(one, plan, plans, now) for one, plan in plans.items()}

    def _plan(self, volume: VolumeId, now: datetime) -> RetentionPlan:
        self._state.volume(volume)
        policy = self._state.policies.effective(volume).retention
        if policy is None:
            raise RefusedError(
                f"cannot apply retention to volume {volume}: it has no policy",
                hint="set one: set_policy(retention=RetentionPolicy(...))",
            )
        if not policy.has_rules:
            raise RefusedError(
                f"cannot apply retention to volume {volume}: its policy keeps nothing, every "
                f"generation that may be would be given up",
                hint="set a rule, such as keep_last or keep_daily",
            )
        return plan_retention(self._state.catalogue.of_source(volume), policy, now)

    def _kept_by_others(
        self,
        volume: VolumeId,
        plan: RetentionPlan,
        plans: dict[VolumeId, RetentionPlan],
        now: datetime,
    ) -> RetentionPlan:
        decisions = []
        for one in plan.decisions:
            keepers = [] if one.kept else self._keepers(volume, one, plans, now)
            if keepers:
                reason = f"kept for volume {' and '.join(keepers)}"
                one = replace(one, kept=True, reasons=(reason,))  # noqa: PLW2901
            decisions.append(one)
        return RetentionPlan(decisions=tuple(decisions))

    def _keepers(
        self,
        volume: VolumeId,
        decision: RetentionDecision,
        plans: dict[VolumeId, RetentionPlan],
        now: datetime,
    ) -> list[VolumeId]:
        """Return the other volumes of a generation that keep it; one without a policy does."""
        generation = self._generations.get(decision.generation_id)
        others = {member.source for member in generation.members} - {volume}
        keepers = []
        for other in sorted(others):
            plan = plans.get(other)
            if plan is None and self._state.policies.effective(other).retention is not None:
                plan = self._plan(other, now)
            if plan is None or decision.generation_id in plan.kept:
                keepers.append(other)
        return keepers

    def _give_up(
        self, generation_id: GenerationId, asked: Sequence[VolumeId], now: datetime
    ) -> None:
        """Give one generation up, if that is still the plan: its SVOLs are free then.

        Raises:
            BusyError, RefusedError: it is still there.
        """
        state = self._state
        members = self._generations.get(generation_id).members
        doing = f"give up generation {generation_id}"
        with state.operation(doing, [one.pair_id for one in members]), state.control:
            plans = self._plans(asked, now)  # another may have been given up meanwhile
            if not any(generation_id in plan.given_up for plan in plans.values()):
                raise RefusedError(
                    f"cannot {doing}: the plan has changed meanwhile",
                    hint="the next round decides anew",
                )
            for member in members:
                self._generations.check_may_give_up(member.svol, doing)
            state.commit(first=lambda: self._generations.end(generation_id))
            state.refence([one.svol for one in members])
        _log.info("retention.given_up generation=%s", generation_id)

    def _old(self, now: datetime) -> list[GenerationId]:
        """Return the ended generations that every one of their volumes' policies forgets by now."""
        return [
            one.generation_id
            for one in self._state.catalogue.all()
            if one.home == self._state.system_id
            and one.state in _ENDED
            and not one.pins
            and all(self._forgets(one, member.source, now) for member in one.members)
        ]

    def _forgets(self, generation: Generation, volume: VolumeId, now: datetime) -> bool:
        policy = self._state.policies.effective(volume).retention
        age: timedelta | None = policy.forget_after if policy else None
        ended_at = generation.given_up_at or generation.taken_at
        return age is not None and now - ended_at > age

    def _forget(self, generation_ids: Iterable[GenerationId]) -> list[GenerationId]:
        forgotten = []
        for generation_id in generation_ids:
            with self._state.control:
                self._state.catalogue.remove(generation_id)
            forgotten.append(generation_id)
        return forgotten
