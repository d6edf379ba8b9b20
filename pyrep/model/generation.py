"""Generations: the immutable content of SVOLs at one point in time, and which may be reused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.model.ids import GenerationId, PairId, SystemId, VolumeId

__all__ = [
    "Generation",
    "GenerationCause",
    "GenerationMember",
    "GenerationState",
    "choose_reuse",
]


class GenerationState(StrEnum):
    """How far a generation is, and whether it may be relied on: only `COMPLETE` may."""

    TAKING = "taking"
    UNCONFIRMED = "unconfirmed"
    COMPLETE = "complete"
    GIVEN_UP = "given_up"
    FAILED = "failed"


class GenerationCause(StrEnum):
    """What made a generation: a backup, a split asked for, or the split that protects a copy.

    REPAIR protects the copy that repairs a pair whose volumes were found to differ: it holds what
    differed. If it was the PVOL that had rotted, it is the only one that still has the right bytes;
    else it has the wrong ones. It doesn't stand for a backup.
    """

    BACKUP = "backup"
    SPLIT = "split"
    PROTECT = "protect"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationMember:
    """One volume's part in a generation.

    Attributes:
        source: the volume that was split from, in the generation's home system.
        origin_system: the system whose hosts write the data: the remote PVOL's; the home itself
            when `source` isn't the target of a remote pair.
        origin_volume: the volume's id there (`source` itself at home).
        svol: the volume that holds the content.
        pair_id: the local pair source → svol.
    """

    source: VolumeId
    origin_system: SystemId
    origin_volume: VolumeId
    svol: VolumeId
    pair_id: PairId


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A row of the catalogue: what was kept, when, and what keeping it did to the mirror (INV-7).

    Attributes:
        generation_id: its id.
        attempt_id: names one attempt; a late answer to an older attempt has no effect.
        label: free text of the user, may be empty.
        cause: what made it.
        state: how far it is.
        taken_at: the point's time, with its time zone.
        home: the system whose SVOLs hold it.
        members: one per volume, all at one point (INV-6).
        hold_ms: how long records were held back (420 to 470); None if nothing was held.
        queued_max_bytes: most bytes queued in the hold; None if nothing was held.
        remote_before: status of each remote pair before the backup.
        remote_during: the worst status of each while it ran.
        remote_after: status of each after it.
        protected: kept from reuse on purpose.
        pins: holders (views, exports, workflows) that keep it from reuse.
        annotations: key and value pairs of the user, by key.
        given_up_at: when its content was given up; None while it is kept (and if that was before
            such times were noted).

    Raises:
        InvalidArgumentError: `taken_at` has no time zone.
    """

    generation_id: GenerationId
    attempt_id: str
    label: str
    cause: GenerationCause
    state: GenerationState
    taken_at: datetime
    home: SystemId
    members: tuple[GenerationMember, ...]
    hold_ms: float | None = None
    queued_max_bytes: int | None = None
    remote_before: tuple[tuple[PairId, str], ...] = ()
    remote_during: tuple[tuple[PairId, str], ...] = ()
    remote_after: tuple[tuple[PairId, str], ...] = ()
    protected: bool = False
    pins: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    given_up_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.taken_at.tzinfo is None:
            raise InvalidArgumentError(
                f"generation {self.generation_id}: taken_at has no time zone",
                hint="pass a time in UTC",
            )

    @property
    def is_complete(self) -> bool:
        """Whether it is flushed, committed and confirmed."""
        return self.state is GenerationState.COMPLETE

    @property
    def is_backup(self) -> bool:
        """Whether it counts where so many complete ones are kept: all but those of a repair."""
        return self.is_complete and self.cause is not GenerationCause.REPAIR

    def without(self, svol: VolumeId) -> tuple[GenerationMember, ...] | None:
        """Return the members left when an SVOL is overwritten; None: a volume would have none."""
        left = tuple(member for member in self.members if member.svol != svol)
        sources = {member.source for member in self.members}
        return left if sources == {member.source for member in left} else None


def always_kept(generations: Iterable[Generation], minimum: int) -> list[Generation]:
    """Return those that a minimum keeps, newest first: backups and splits that were asked for.

    Where these are too few, the newest of those that protected a volume from a copy fill it up:
    they must not push the last backup out, and are better than nothing. Those of a repair never.
    """
    known = sorted(
        (one for one in generations if one.is_backup),
        # In UTC: times of one zone compare by the clock's face, which shows an hour twice.
        key=lambda one: (one.taken_at.astimezone(UTC), one.generation_id),
        reverse=True,
    )
    asked_for = [one for one in known if one.cause is not GenerationCause.PROTECT]
    protective = [one for one in known if one.cause is GenerationCause.PROTECT]
    return (asked_for + protective)[:minimum]


_REUSABLE = {GenerationState.COMPLETE, GenerationState.FAILED, GenerationState.UNCONFIRMED}


def choose_reuse(
    generations: Iterable[Generation], *, reuse_last: bool, minimum: int = 1
) -> Generation:
    """Return the generation of one source volume whose SVOL the next backup takes.

    It is the oldest that is complete, failed or unconfirmed, not pinned and not protected. The
    newest complete ones are kept, as many as the minimum (`always_kept`); with
    `reuse_last` the oldest of these is taken when there is no other.

    Args:
        generations: all generations of one source volume, in any order.
        reuse_last: whether one of the last complete generations may be given up.
        minimum: how many complete ones are kept otherwise.

    Raises:
        RefusedError: none may be reused; the message says what keeps each kind.
    """
    known = sorted(generations, key=lambda one: (one.taken_at, one.generation_id))
    free = [one for one in known if one.state in _REUSABLE and not one.pins and not one.protected]
    kept = always_kept(known, minimum)
    for candidate in free:
        if candidate not in kept:
            return candidate
    last = [one for one in free if one in kept]
    if not last:
        raise RefusedError(f"no generation may be reused: {_what_keeps(known)}", hint=_HINT)
    if not reuse_last:
        raise RefusedError(
            f"no generation may be reused but {last[0].generation_id}, {_place(last, minimum)}",
            hint=f"{_HINT}, or allow it with reuse_last=True",
        )
    return last[0]


def _place(last: list[Generation], minimum: int) -> str:
    if minimum == 1:
        return "the last complete one"
    return f"one of the last {len(last)} complete ones, of which {minimum} are kept"


_HINT = "create one more local pair of the source volume"


def _what_keeps(generations: list[Generation]) -> str:
    """Return a short account of why each generation stays, for a message."""
    reasons = []
    for one in generations:
        if one.state not in _REUSABLE:
            reasons.append(f"{one.generation_id} is {one.state.value}")
        elif one.pins:
            reasons.append(f"{one.generation_id} is in use by {', '.join(one.pins)}")
        elif one.protected:
            reasons.append(f"{one.generation_id} is protected")
    return "; ".join(reasons) or "there is none"
