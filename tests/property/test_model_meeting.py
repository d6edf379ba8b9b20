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
        refusal = meeting_refusal(meeting, Direction.FORWARD, by_itself=True)
        assert refusal is not None


@given(primary=sides, secondary=sides)
def test_bits_are_used_only_where_both_know_what_they_count_from(
    primary: MetSide, secondary: MetSide
) -> None:
    here, there = primary.lineage, secondary.lineage
    if meet(primary, secondary).bits_suffice and (here.current or there.current):
        assert {here.point, here.current} & {there.current, there.common} - {0}


@given(primary=sides, secondary=sides)
def test_a_named_side_is_always_enough(primary: MetSide, secondary: MetSide) -> None:
    meeting = meet(primary, secondary)
    for direction in Direction:
        assert meeting_refusal(meeting, direction, by_itself=False, discards=direction) is None
