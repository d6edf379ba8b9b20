from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.model.generation import Generation, GenerationCause, GenerationState
from pyrep.model.ids import GenerationId, SystemId
from pyrep.model.retention import RetentionPlan, RetentionPolicy, plan_retention

NOW = datetime(2024, 5, 15, 12, tzinfo=UTC)  # a Wednesday


def at(when: datetime, name: str = "", **columns: object) -> Generation:
    return replace(
        Generation(
            generation_id=GenerationId(name or f"{when:%m%d-%H%M}"),
            attempt_id="1",
            label="",
            cause=GenerationCause.BACKUP,
            state=GenerationState.COMPLETE,
            taken_at=when,
            home=SystemId("100b"),
            members=(),
        ),
        **columns,  # type: ignore[arg-type]
    )


def every(hours: int, count: int) -> list[Generation]:
    return [at(NOW - timedelta(hours=hours * number), f"g{number}") for number in range(count)]


def reasons(plan: RetentionPlan) -> dict[str, str]:
    return {one.generation_id: ", ".join(one.reasons) for one in plan.decisions}


def test_the_newest_are_kept_and_each_generation_has_its_reason() -> None:
    plan = plan_retention(every(1, 4), RetentionPolicy(keep_last=2), NOW)

    assert str(plan).splitlines() == [
        "keep g0 (2024-05-15 12:00:00+00:00): last 1 of 2",
        "keep g1 (2024-05-15 11:00:00+00:00): last 2 of 2",
        "give up g2 (2024-05-15 10:00:00+00:00): no rule keeps it",
        "give up g3 (2024-05-15 09:00:00+00:00): no rule keeps it",
    ]
    assert (plan.kept, plan.given_up) == (("g0", "g1"), ("g2", "g3"))


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (RetentionPolicy(keep_hourly=2), ["0515-1150", "0515-1059"]),
        (RetentionPolicy(keep_daily=2), ["0515-1150", "0514-2359"]),
        (RetentionPolicy(keep_weekly=2), ["0515-1150", "0512-2300"]),
        (RetentionPolicy(keep_monthly=2), ["0515-1150", "0430-2300"]),
        (RetentionPolicy(keep_yearly=2), ["0515-1150", "1231-2300"]),
        (RetentionPolicy(keep_within=timedelta(hours=1)), ["0515-1150", "0515-1110"]),
    ],
)
def test_of_each_natural_period_the_newest_is_kept(
    policy: RetentionPolicy, kept: list[str]
) -> None:
    days = [
        datetime(2024, 5, 15, 11, 50, tzinfo=UTC),
        datetime(2024, 5, 15, 11, 10, tzinfo=UTC),
        datetime(2024, 5, 15, 10, 59, tzinfo=UTC),
        datetime(2024, 5, 14, 23, 59, tzinfo=UTC),
        datetime(2024, 5, 14, 0, 0, tzinfo=UTC),
        datetime(2024, 5, 12, 23, 0, tzinfo=UTC),  # the Sunday of the week before
        datetime(2024, 4, 30, 23, 0, tzinfo=UTC),
        datetime(2023, 12, 31, 23, 0, tzinfo=UTC),
    ]

    assert list(plan_retention([at(one) for one in days], policy, NOW).kept) == kept


def test_a_period_without_a_generation_uses_up_no_place() -> None:
    far = [at(NOW - timedelta(days=days), f"d{days}") for days in (0, 100, 300)]

    assert plan_retention(far, RetentionPolicy(keep_daily=2), NOW).kept == ("d0", "d100")


def test_boundaries_are_those_of_the_named_zone() -> None:
    late = at(datetime(2024, 5, 14, 23, 30, tzinfo=UTC), "late")  # already the 15th in Vienna
    noon = at(NOW, "noon")

    def kept(zone: str) -> tuple[str, ...]:
        policy = RetentionPolicy(keep_daily=9, zone=zone)
        return plan_retention([late, noon], policy, NOW).kept

    assert kept("UTC") == ("noon", "late")
    assert kept("Europe/Vienna") == ("noon",)


def test_the_hour_that_comes_twice_when_summer_time_ends_is_two_hours() -> None:
    zone = ZoneInfo("Europe/Vienna")
    first = at(datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=0), "first")
    again = at(datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=1), "again")

    plan = plan_retention(
        [first, again], RetentionPolicy(keep_hourly=9, zone="Europe/Vienna"), first.taken_at
    )

    assert plan.kept == ("again", "first")


_MARKED: list[tuple[int, str, dict[str, object]]] = [
    (1, "new", {}),
    (700, "protected", {"protected": True}),
    (800, "pinned", {"pins": ("view-1", "w2")}),
    (900, "labelled", {"label": "gold"}),
    (950, "other", {"label": "Gold"}),
]


def test_what_is_protected_pinned_or_labelled_is_kept_whatever_its_age() -> None:
    old = [at(NOW - timedelta(days=days), name, **columns) for days, name, columns in _MARKED]

    found = reasons(plan_retention(old, RetentionPolicy(keep_last=1, keep_labels=("gold",)), NOW))

    assert found == {
        "new": "last 1 of 1",
        "protected": "protected",
        "pinned": "in use by view-1 and w2",
        "labelled": "label 'gold'",
        "other": "no rule keeps it",
    }


def test_only_complete_generations_count_for_rules() -> None:
    known = [
        at(NOW, "taking", state=GenerationState.TAKING),
        at(NOW - timedelta(hours=1), "unconfirmed", state=GenerationState.UNCONFIRMED),
        at(NOW - timedelta(hours=2), "failed", state=GenerationState.FAILED),
        at(NOW - timedelta(hours=3), "given", state=GenerationState.GIVEN_UP),
        at(NOW - timedelta(hours=4), "good"),
    ]

    found = reasons(plan_retention(known, RetentionPolicy(keep_last=1), NOW))

    assert found == {
        "taking": "it is taking",
        "unconfirmed": "it is unconfirmed",
        "good": "last 1 of 1",
    }


def test_the_newest_complete_ones_are_kept_by_the_minimum() -> None:
    policy = RetentionPolicy(keep_within=timedelta(minutes=1), minimum=2)
    later = NOW + timedelta(days=9)

    found = reasons(plan_retention(every(1, 3), policy, later))

    assert found == {"g0": "minimum of 2", "g1": "minimum of 2", "g2": "no rule keeps it"}


def test_the_minimum_keeps_the_last_backup_beside_what_protected_its_volume_later() -> None:
    older, backup = at(NOW - timedelta(days=9), "older"), at(NOW - timedelta(days=8), "backup")
    later = at(NOW - timedelta(days=7), "later", cause=GenerationCause.PROTECT)
    policy = RetentionPolicy(keep_within=timedelta(days=1))
    assert plan_retention([older, backup, later], policy, NOW).kept == ("backup",)
    assert plan_retention([later], policy, NOW).kept == ("later",)


def test_a_policy_without_a_rule_is_refused() -> None:
    with pytest.raises(RefusedError, match="keeps nothing") as caught:
        plan_retention(every(1, 3), RetentionPolicy(minimum=3), NOW)
    assert "keep_last" in str(caught.value.hint)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="time zone"):
        plan_retention([], RetentionPolicy(keep_last=1), datetime(2024, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "columns",
    [
        {"keep_last": -1},
        {"keep_within": timedelta(-1)},
        {"forget_after": timedelta(-1)},
        {"minimum": 0},
        {"zone": "Europe/Nowhere"},
        {"zone": "../etc/passwd"},
        {"zone": ""},
    ],
)
def test_a_policy_that_cannot_be_is_refused(columns: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        RetentionPolicy(**columns)  # type: ignore[arg-type]


def test_one_label_without_a_tuple_is_refused_and_not_taken_for_its_letters() -> None:
    labels: object
    for labels in ("audit", None, (1,)):
        with pytest.raises(InvalidArgumentError, match="keep_labels") as caught:
            RetentionPolicy(keep_labels=labels)  # type: ignore[arg-type]
        assert "keep_labels=('a',)" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "columns",
    [
        {"keep_last": "3"},
        {"keep_daily": 1.5},
        {"minimum": None},
        {"keep_within": 30},
        {"forget_after": 3},
        {"zone": None},
    ],
)
def test_values_of_another_kind_are_refused_before_they_are_stored(
    columns: dict[str, object],
) -> None:
    with pytest.raises(InvalidArgumentError, match="retention"):
        RetentionPolicy(**columns)  # type: ignore[arg-type]
