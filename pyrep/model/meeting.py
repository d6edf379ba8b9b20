"""What two sides of a remote pair make of each other's data identifiers when they meet. Pure.

`meet` is total: any two sides have an outcome, and none copies over what only one side has without
being told so. docs/identifiers.md has its table.

Source: field notes (DRBD's outcomes); issue "two sites", point 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyrep.model.lineage import AGE_APART, Lineage
from pyrep.model.pair import Direction

__all__ = ["Meeting", "MetSide", "Relation", "meet", "meeting_refusal"]

_FORWARD, _REVERSE = Direction.FORWARD, Direction.REVERSE


class Relation(StrEnum):
    """How the contents of two sides are related.

    NOTHING: they are equal. BITMAP: what differs is in the union of both sides' bits. FULL: one is
    an old copy, put back: the bits say too little, all has to be copied. SPLIT_BRAIN: each side has
    something that the other never had. UNRELATED: they never had anything in common.
    """

    NOTHING = "nothing"
    BITMAP = "bitmap"
    FULL = "full"
    SPLIT_BRAIN = "split brain"
    UNRELATED = "unrelated"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetSide:
    """One side, as it comes.

    Attributes:
        lineage: its identifiers.
        pending: whether its row has pending bits.
        whole: whether its content is consistent: no copy has left it half-way.
    """

    lineage: Lineage
    pending: bool = False
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """What comes of it.

    Attributes:
        relation: see `Relation`.
        direction: which way the copy that loses nothing goes; None: there is none.
        key: the identifier by which both sides' bits belong together; 0: they don't.
        reason: why, for people.
    """

    relation: Relation
    direction: Direction | None
    key: int
    reason: str

    @property
    def bits_suffice(self) -> bool:
        """Whether the union of both sides' bits covers what differs; else all is copied."""
        return self.key != 0 or self.relation in {Relation.NOTHING, Relation.BITMAP}


def meet(primary: MetSide, secondary: MetSide) -> Meeting:
    """Return how the PVOL's and the SVOL's contents are related.

    The primary takes a new identifier whenever the pair is split, written to or not, so that its
    bits decide whether it was written to. The secondary takes one when it is first written to.
    """
    here, there = primary.lineage, secondary.lineage
    wrote = (here.written and primary.pending, there.written)
    if not here.current and not there.current:  # rows of 0.1.0, which had no identifiers
        return _matched(0, primary, secondary, wrote)
    ours = {here.point, here.current} - {0}
    theirs = {there.current, there.common} - {0}
    keys = {one for one in ours & theirs if abs(here.age_of(one) - there.age_of(one)) <= AGE_APART}
    if keys:
        key = here.point if here.point in keys else next(iter(keys))
        return _matched(key, primary, secondary, wrote)
    return _unmatched(primary, secondary, wrote)


def _matched(key: int, primary: MetSide, secondary: MetSide, wrote: tuple[bool, bool]) -> Meeting:
    def bitmap(direction: Direction, reason: str) -> Meeting:
        return Meeting(relation=Relation.BITMAP, direction=direction, key=key, reason=reason)

    if not primary.whole and secondary.whole:
        return bitmap(_REVERSE, "a copy back has left the PVOL half-way")
    if not secondary.whole and primary.whole:
        return bitmap(_FORWARD, "a copy has left the SVOL half-way")
    by_pvol, by_svol = wrote
    if by_pvol and by_svol:
        return Meeting(
            relation=Relation.SPLIT_BRAIN,
            direction=None,
            key=key,
            reason="both sides were written to since they were equal",
        )
    if by_svol:
        return bitmap(_REVERSE, "only the SVOL was written to since they were equal")
    if by_pvol:
        return bitmap(_FORWARD, "only the PVOL was written to since they were equal")
    if primary.pending or secondary.pending:
        return bitmap(_FORWARD, "neither side was written to since they were equal, a crash apart")
    return Meeting(
        relation=Relation.NOTHING,
        direction=_FORWARD,
        key=key,
        reason="neither side was written to since they were equal",
    )


def _unmatched(primary: MetSide, secondary: MetSide, wrote: tuple[bool, bool]) -> Meeting:
    here, there = primary.lineage, secondary.lineage
    svol_is_old, pvol_is_old = _is_old(there, here), _is_old(here, there)
    if svol_is_old and not pvol_is_old and not wrote[1] and primary.whole:
        return _full(_FORWARD, "the SVOL's is an old copy that was put back")
    if pvol_is_old and not svol_is_old and not wrote[0] and secondary.whole:
        return _full(_REVERSE, "the PVOL's is an old copy that was put back")
    if svol_is_old or pvol_is_old or _all_of(here) & _all_of(there):
        return Meeting(
            relation=Relation.SPLIT_BRAIN,
            direction=None,
            key=0,
            reason="both sides have changed since they were last equal, and an old copy of one "
            "was put back",
        )
    return Meeting(
        relation=Relation.UNRELATED,
        direction=None,
        key=0,
        reason="their data identifiers have nothing in common",
    )


def _is_old(one: Lineage, other: Lineage) -> bool:
    """Whether a side is what the other has left behind: by its names, or by the age of one."""
    names = {one.point, one.current}
    younger = any(
        one.age_of(name) + AGE_APART < other.age_of(name)
        for name in names & {other.point, other.current} - {0}
    )
    return not one.current or bool(names & set(other.history)) or younger


def _full(direction: Direction, reason: str) -> Meeting:
    return Meeting(relation=Relation.FULL, direction=direction, key=0, reason=reason)


def _all_of(lineage: Lineage) -> set[int]:
    return {lineage.current, lineage.common, *lineage.history} - {0}


def meeting_refusal(
    meeting: Meeting,
    direction: Direction,
    *,
    gives_up: bool,
    discards: Direction | None = None,
) -> str | None:
    """Return why a copy in a direction may not begin, or None.

    Args:
        meeting: what `meet` said.
        direction: which way it would copy.
        gives_up: whoever asked named this direction, and gives up what only the target was written
            with. False: nobody asked, or nobody said which way.
        discards: the direction that follows from the side that was named as the one to discard.
    """
    if discards is direction or meeting.relation is Relation.NOTHING:
        return None
    if meeting.direction is direction:
        return None
    if meeting.relation is Relation.BITMAP:
        # Whoever names a direction names what is given up.
        return None if gives_up else meeting.reason
    return f"{meeting.relation}: {meeting.reason}"
