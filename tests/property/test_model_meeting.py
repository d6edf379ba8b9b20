"""Meetings: every two sides have an outcome, and none copies over what only one side has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyrep.model import Direction, Lineage, MetSide, Relation, meet, meeting_refusal

ids = st.integers(0, 6)
lineages = st.builds(
    Lineage,
    current=ids,
    common=ids,
    written=st.booleans(),
    history=st.lists(ids, max_size=4).map(tuple),
    age=st.integers(0, 6),
)
sides = st.builds(MetSide, lineage=lineages, pending=st.booleans(), whole=st.booleans())


@given(primary=sides, secondary=sides)
def test_any_two_sides_have_an_outcome(primary: MetSide, secondary: MetSide) -> None:
    meeting = meet(primary, secondary)
    assert meeting.reason
    apart = meeting.relation in {Relation.SPLIT_BRAIN, Relation.UNRELATED}
    assert apart == (meeting.direction is None)


@given(primary=sides, secondary=sides)
def test_nothing_that_only_a_whole_secondary_has_is_overwritten_by_itself(
    primary: MetSide, secondary: MetSide
) -> None:
    meeting = meet(primary, secondary)
    if secondary.lineage.written and secondary.whole:
        refusal = meeting_refusal(meeting, Direction.FORWARD, gives_up=False)
        assert refusal is not None


@given(primary=sides, secondary=sides)
def test_bits_are_used_only_where_both_know_what_they_count_from(
    primary: MetSide, secondary: MetSide
) -> None:
    here, there = primary.lineage, secondary.lineage
    if meet(primary, secondary).bits_suffice and (here.current or there.current):
        names = {here.point, here.current} & {there.current, there.common} - {0}
        assert any(abs(here.age_of(one) - there.age_of(one)) <= 1 for one in names)


steps = st.sampled_from([(0, 0), (0, 1), (2, 1), (2, 2)])
"""Ages of a primary and its secondary, from one whole ageing to the next."""


@given(
    base=st.integers(0, 1000),
    step=steps,
    written=st.tuples(st.booleans(), st.booleans()),
    pending=st.tuples(st.booleans(), st.booleans()),
)
def test_two_sides_that_part_at_any_step_of_an_ageing_count_from_the_same(
    base: int, step: tuple[int, int], written: tuple[bool, bool], pending: tuple[bool, bool]
) -> None:
    here, there = (Lineage(current=9, age=2 * base + one) for one in step)
    if written[0]:
        here = here.diverged(10)
    if written[1]:
        there = there.diverged(11)
    sides = (MetSide(lineage=here, pending=pending[0]), MetSide(lineage=there, pending=pending[1]))
    meeting = meet(*sides)
    assert meeting.key == 9
    # A copy forward that begins, and that its source then hasn't begun.
    target = there.as_target(12, meeting.key)
    assert meet(sides[0], MetSide(lineage=target, whole=False)).key == 9
    # The same back.
    target = here.as_target(13, meeting.key)
    assert meet(MetSide(lineage=target, whole=False), sides[1]).key == 9


@given(base=st.integers(1, 1000), step=steps, behind=st.integers(1, 1000), parted=st.booleans())
def test_a_copy_of_either_side_from_before_an_ageing_is_an_old_copy(
    base: int, step: tuple[int, int], behind: int, parted: bool
) -> None:
    """Of the secondary in full; the primary's never by itself, and by name alone if it has bits."""
    now = [Lineage(current=9, age=2 * base + one, history=(8,)) for one in step]
    if parted:
        now[0] = now[0].diverged(10)
    was = [Lineage(current=9, age=max(0, 2 * (base - behind) + one)) for one in (0, 1)]
    there = meet(MetSide(lineage=now[0]), MetSide(lineage=was[0]))
    if step != (0, 0):  # its first step is the one that makes the next copy of the secondary tell
        assert (there.relation, there.direction) == (Relation.FULL, Direction.FORWARD)
    if step == (2, 2):
        assert meet(MetSide(lineage=now[0]), MetSide(lineage=was[1])).key == 0
    here = meet(MetSide(lineage=was[0]), MetSide(lineage=now[1]))
    if step == (2, 2):
        assert (here.relation, here.direction) == (Relation.FULL, Direction.REVERSE)
        parted_since = MetSide(lineage=was[0].diverged(14), pending=True)
        assert meet(parted_since, MetSide(lineage=now[1])).relation is Relation.SPLIT_BRAIN


def test_each_beginning_and_end_of_a_copy_has_a_name_that_is_new_again() -> None:
    old = Lineage(current=9, age=6)
    parted = old.diverged(10)
    assert (parted.point, parted.age, parted.age_of(10)) == (9, 6, 0)
    assert parted.as_source(11, 12).age == 0
    target = old.as_target(11, 9)
    assert (target.age_of(9), target.age_of(11)) == (6, 0)
    assert (target.confirmed().point, target.confirmed().age) == (11, 0)
    assert parted.in_sync(10).age == 0


@given(primary=sides, secondary=sides)
def test_a_named_side_is_always_enough(primary: MetSide, secondary: MetSide) -> None:
    meeting = meet(primary, secondary)
    for direction in Direction:
        assert meeting_refusal(meeting, direction, gives_up=False, discards=direction) is None
