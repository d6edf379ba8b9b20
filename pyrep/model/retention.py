"""Retention: which generations are kept and which are given up, decided from times and marks alone.

Boundaries are natural ones: an hour, a day, an ISO week, a month, a year of the policy's time zone,
not "24 hours ago". Of each such period the newest generation stands for it; those of
a repair stand for none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.model.generation import Generation, GenerationState, always_kept
from pyrep.model.ids import GenerationId

__all__ = [
    "NextSvol",
    "RetentionDecision",
    "RetentionPlan",
    "RetentionPolicy",
    "plan_retention",
]


class NextSvol(StrEnum):
    """When the SVOL of a volume's next backup is brought to DUPLEX.

    `AT_BACKUP`: by the next backup itself. `ALWAYS`: in the background, right after a backup, so
    that the next one only has to wait for what was written meanwhile.
    """

    AT_BACKUP = "at_backup"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """What to keep; a generation that any rule keeps is kept.

    Attributes:
        keep_last: the newest ones, so many.
        keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly: the newest one of each of
            the last so many hours (days, ISO weeks, ...) that have any.
        keep_within: all that are younger.
        keep_labels: all with one of these labels.
        minimum: complete generations always kept, the newest ones; at least 1. One that protected
            a volume from a copy counts only where there are too few others. Backups don't reuse
            their SVOLs either, unless asked to (`reuse_last`).
        forget_after: age at which the row of a generation that failed or was given up leaves the
            catalogue; None: never.
        zone: name of the time zone whose boundaries count.

    Raises:
        InvalidArgumentError: a value isn't of its kind, a number is negative, the minimum is 0, the
            zone isn't known.
    """

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within: timedelta = timedelta(0)
    keep_labels: tuple[str, ...] = ()
    minimum: int = 1
    forget_after: timedelta | None = None
    zone: str = "UTC"

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(one.default, int) and (not isinstance(value, int) or value < 0):
                raise InvalidArgumentError(f"retention: {one.name} can't be {value!r}")
        for name in ("keep_within", "forget_after"):
            age = getattr(self, name)
            if age is not None and (not isinstance(age, timedelta) or age < timedelta(0)):
                raise InvalidArgumentError(f"retention: {name} can't be {age}")
        labels: object = self.keep_labels
        # One text would be kept as its letters, and the generations of that label given up.
        if not isinstance(labels, (tuple, list)) or not all(isinstance(x, str) for x in labels):
            raise InvalidArgumentError(
                f"retention: keep_labels can't be {labels!r}", hint="a tuple: keep_labels=('a',)"
            )
        if self.minimum < 1:
            raise InvalidArgumentError(
                "retention: minimum can't be 0", hint="the last complete generation is always kept"
            )
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
            raise InvalidArgumentError(
                f"retention: there is no time zone {self.zone!r}",
                hint="use a name such as UTC or Europe/Vienna",
            ) from error

    @property
    def has_rules(self) -> bool:
        """Whether anything but the minimum is asked for."""
        counts = (self.keep_last, self.keep_hourly, self.keep_daily, self.keep_weekly)
        others = (self.keep_monthly, self.keep_yearly, self.keep_within, self.keep_labels)
        return any(counts) or any(others)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionDecision:
    """What becomes of one generation, and why.

    Attributes:
        generation_id: the generation.
        taken_at: its time, in the policy's zone.
        kept: whether it is kept.
        reasons: why it is kept, all of them; or why it is given up.
    """

    generation_id: GenerationId
    taken_at: datetime
    kept: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        verb = "keep" if self.kept else "give up"
        when = self.taken_at.isoformat(sep=" ", timespec="seconds")
        return f"{verb} {self.generation_id} ({when}): {', '.join(self.reasons)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPlan:
    """What becomes of every generation, newest first. `str` has a line for each."""

    decisions: tuple[RetentionDecision, ...]

    @property
    def kept(self) -> tuple[GenerationId, ...]:
        """Those that are kept, newest first."""
        return tuple(one.generation_id for one in self.decisions if one.kept)

    @property
    def given_up(self) -> tuple[GenerationId, ...]:
        """Those that are given up, newest first."""
        return tuple(one.generation_id for one in self.decisions if not one.kept)

    def __str__(self) -> str:
        return "\n".join(str(one) for one in self.decisions)


_ENDED = {GenerationState.FAILED, GenerationState.GIVEN_UP}

_Key = Callable[[datetime], tuple[object, ...]]


def plan_retention(
    generations: Iterable[Generation], policy: RetentionPolicy, now: datetime
) -> RetentionPlan:
    """Decide for each generation of one volume whether it is kept.

    Those that failed or were given up already aren't in the plan. One that is being taken or waits
    for its confirmation is kept and counts for no rule: only complete ones can be relied on.

    Args:
        generations: in any order.
        policy: the rules.
        now: with a time zone; `keep_within` counts from here.

    Raises:
        InvalidArgumentError: `now` has no time zone.
        RefusedError: the policy has no rule: it would give up all that it may.
    """
    if now.tzinfo is None:
        raise InvalidArgumentError("retention: now has no time zone", hint="pass a time in UTC")
    if not policy.has_rules:
        raise RefusedError(
            "the retention policy keeps nothing: it would give up every generation that it may",
            hint="set a rule, such as keep_last or keep_daily",
        )
    zone = ZoneInfo(policy.zone)
    now = now.astimezone(UTC)
    known = sorted(
        (one for one in generations if one.state not in _ENDED),
        # In UTC: times of one zone compare by the clock's face, which shows an hour twice.
        key=lambda one: (one.taken_at.astimezone(UTC), one.generation_id),
        reverse=True,
    )
    complete = [one for one in known if one.is_backup]
    reasons: dict[GenerationId, list[str]] = {one.generation_id: [] for one in known}
    for one in known:
        reasons[one.generation_id] += _marks_of(one, policy)
        if (
            one.is_complete
            and policy.keep_within
            and now - one.taken_at.astimezone(UTC) < policy.keep_within
        ):
            reasons[one.generation_id].append(f"within {policy.keep_within}")
    for name, number, key in _periods(policy):
        for rank, one in enumerate(_newest_of_each(complete, zone, key)[:number], start=1):
            reasons[one.generation_id].append(f"{name} {rank} of {number}")
    for one in always_kept(known, policy.minimum):
        if not reasons[one.generation_id]:
            reasons[one.generation_id].append(f"minimum of {policy.minimum}")
    return RetentionPlan(
        decisions=tuple(
            RetentionDecision(
                generation_id=one.generation_id,
                taken_at=one.taken_at.astimezone(zone),
                kept=bool(reasons[one.generation_id]),
                reasons=tuple(reasons[one.generation_id] or ["no rule keeps it"]),
            )
            for one in known
        )
    )


def _marks_of(generation: Generation, policy: RetentionPolicy) -> list[str]:
    """Return what keeps a generation whatever its age."""
    reasons = []
    if not generation.is_complete:
        reasons.append(f"it is {generation.state}")
    if generation.protected:
        reasons.append("protected")
    if generation.pins:
        reasons.append(f"in use by {' and '.join(generation.pins)}")
    if generation.label in policy.keep_labels:
        reasons.append(f"label {generation.label!r}")
    return reasons


def _periods(policy: RetentionPolicy) -> Sequence[tuple[str, int, _Key]]:
    return (
        ("last", policy.keep_last, lambda _at: (object(),)),  # each for itself
        # The offset tells apart the two hours of one name when summer time ends.
        ("hourly", policy.keep_hourly, lambda at: (at.date(), at.hour, at.utcoffset())),
        ("daily", policy.keep_daily, lambda at: (at.date(),)),
        ("weekly", policy.keep_weekly, lambda at: at.isocalendar()[:2]),
        ("monthly", policy.keep_monthly, lambda at: (at.year, at.month)),
        ("yearly", policy.keep_yearly, lambda at: (at.year,)),
    )


def _newest_of_each(
    newest_first: Sequence[Generation], zone: ZoneInfo, key: _Key
) -> list[Generation]:
    """Return the newest generation of each period that has any, newest first."""
    found: dict[tuple[object, ...], Generation] = {}
    for one in newest_first:
        found.setdefault(key(one.taken_at.astimezone(zone)), one)
    return list(found.values())
