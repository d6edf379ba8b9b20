"""The laws of retention, whatever the generations and the policy."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pyrep.model.generation import Generation, GenerationCause, GenerationState
from pyrep.model.ids import GenerationId, SystemId
from pyrep.model.retention import RetentionPlan, RetentionPolicy, plan_retention

NOW = datetime(2024, 11, 3, 12, tzinfo=UTC)
RULES = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
LABELS = ("", "gold", "lead")

ages = st.one_of(
    st.integers(-60, 600).map(lambda minutes: timedelta(minutes=minutes)),
    st.integers(0, 900).map(lambda days: timedelta(days=days)),
)


@st.composite
def catalogues(draw: st.DrawFn) -> list[Generation]:
    drawn = draw(
        st.lists(
            st.tuples(
                ages,
                st.sampled_from([GenerationState.COMPLETE] * 4 + list(GenerationState)),
                st.sampled_from(LABELS),
                st.sampled_from([False, False, False, True]),
                st.sampled_from([(), (), (), ("view-1",)]),
            ),
            max_size=25,
        )
    )
    return [
        Generation(
            generation_id=GenerationId(f"g{number}"),
            attempt_id="1",
            label=label,
            cause=GenerationCause.BACKUP,
            state=state,
            taken_at=NOW - age,
            home=SystemId("100b"),
            members=(),
            protected=protected,
            pins=pins,
        )
        for number, (age, state, label, protected, pins) in enumerate(drawn)
    ]


policies = st.builds(
    RetentionPolicy,
    **{name: st.integers(0, 4) for name in RULES},
    keep_within=st.sampled_from([timedelta(0), timedelta(hours=3), timedelta(days=40)]),
    keep_labels=st.sampled_from([(), ("gold",)]),
    minimum=st.integers(1, 4),
    zone=st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Asia/Kathmandu"]),
).filter(lambda policy: policy.has_rules)


def plan(generations: list[Generation], policy: RetentionPolicy) -> RetentionPlan:
    return plan_retention(generations, policy, NOW)


@given(catalogues(), policies)
def test_all_that_holds_content_is_decided_once_with_a_reason(
    generations: list[Generation], policy: RetentionPolicy
) -> None:
    made = plan(generations, policy)
    ended = {GenerationState.FAILED, GenerationState.GIVEN_UP}
    assert sorted(one.generation_id for one in made.decisions) == sorted(
        one.generation_id for one in generations if one.state not in ended
    )
    assert all(one.reasons for one in made.decisions)


@given(catalogues(), policies)
def test_never_fewer_complete_ones_than_the_minimum_and_never_what_is_marked(
    generations: list[Generation], policy: RetentionPolicy
) -> None:
    kept = set(plan(generations, policy).kept)
    complete = [one for one in generations if one.is_complete]
    left = [one for one in complete if one.generation_id in kept]
    assert len(left) >= min(policy.minimum, len(complete))
    for one in complete:
        marked = one.protected or one.pins or one.label in policy.keep_labels
        assert not marked or one.generation_id in kept


@given(catalogues(), policies)
def test_planning_again_after_giving_up_gives_up_nothing_more(
    generations: list[Generation], policy: RetentionPolicy
) -> None:
    gone = set(plan(generations, policy).given_up)
    left = [
        replace(one, state=GenerationState.GIVEN_UP) if one.generation_id in gone else one
        for one in generations
    ]
    assert plan(left, policy).given_up == ()


@given(catalogues(), policies, st.sampled_from([*RULES, "minimum"]), st.integers(1, 3))
def test_a_policy_that_keeps_more_keeps_all_that_the_other_kept(
    generations: list[Generation], policy: RetentionPolicy, rule: str, more: int
) -> None:
    wider = replace(policy, **{rule: getattr(policy, rule) + more})
    assert set(plan(generations, policy).kept) <= set(plan(generations, wider).kept)
    longer = replace(policy, keep_within=policy.keep_within + timedelta(days=more))
    assert set(plan(generations, policy).kept) <= set(plan(generations, longer).kept)


@given(catalogues(), policies, st.data())
def test_protecting_one_gives_up_no_other(
    generations: list[Generation], policy: RetentionPolicy, data: st.DataObject
) -> None:
    if not generations:
        return
    chosen = data.draw(st.integers(0, len(generations) - 1))
    protected = list(generations)
    protected[chosen] = replace(generations[chosen], protected=True)
    assert set(plan(protected, policy).given_up) <= set(plan(generations, policy).given_up)


@given(catalogues(), policies, st.integers(0, 99))
def test_the_order_given_does_not_matter(
    generations: list[Generation], policy: RetentionPolicy, seed: int
) -> None:
    shuffled = list(generations)
    random.Random(seed).shuffle(shuffled)
    assert plan(shuffled, policy) == plan(generations, policy)
