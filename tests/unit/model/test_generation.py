from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.model.generation import (
    Generation,
    GenerationCause,
    GenerationState,
    always_kept,
    choose_reuse,
)
from pyrep.model.ids import GenerationId, SystemId

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def generation(
    number: int,
    state: GenerationState = GenerationState.COMPLETE,
    *,
    pins: tuple[str, ...] = (),
    protected: bool = False,
) -> Generation:
    return Generation(
        generation_id=GenerationId(f"g{number}"),
        attempt_id="1",
        label="",
        cause=GenerationCause.BACKUP,
        state=state,
        taken_at=NOON + timedelta(hours=number),
        home=SystemId("100b"),
        members=(),
        pins=pins,
        protected=protected,
    )


def test_the_oldest_generation_is_reused_whatever_the_order_given() -> None:
    assert choose_reuse([generation(3), generation(1), generation(2)], reuse_last=False) == (
        generation(1)
    )


def test_pinned_and_protected_generations_are_passed_over() -> None:
    known = [generation(1, pins=("view 1",)), generation(2, protected=True), generation(3)]
    assert choose_reuse([*known, generation(4)], reuse_last=False) == generation(3)


@pytest.mark.parametrize("state", [GenerationState.FAILED, GenerationState.UNCONFIRMED])
def test_what_never_became_complete_is_free_for_reuse(state: GenerationState) -> None:
    known = [generation(1), generation(2, state)]
    assert choose_reuse(known, reuse_last=False) == generation(2, state)


@pytest.mark.parametrize("state", [GenerationState.TAKING, GenerationState.GIVEN_UP])
def test_what_is_being_taken_or_was_given_up_is_not_chosen(state: GenerationState) -> None:
    with pytest.raises(RefusedError, match=f"g1 is {state.value}"):
        choose_reuse([generation(1, state)], reuse_last=True)


def test_the_last_complete_generation_is_kept() -> None:
    known = [generation(1), generation(2, GenerationState.TAKING)]
    with pytest.raises(RefusedError, match="g1, the last complete one") as caught:
        choose_reuse(known, reuse_last=False)
    assert "reuse_last=True" in str(caught.value.hint)
    assert choose_reuse(known, reuse_last=True) == generation(1)


def test_the_last_complete_generation_goes_only_when_there_is_no_other() -> None:
    known = [generation(1), generation(2, GenerationState.FAILED)]
    assert choose_reuse(known, reuse_last=True) == generation(2, GenerationState.FAILED)


def test_as_many_complete_ones_are_kept_as_the_minimum_says() -> None:
    known = [generation(1), generation(2), generation(3)]
    assert choose_reuse(known, reuse_last=False, minimum=2) == generation(1)
    with pytest.raises(RefusedError, match="g2, one of the last 2 complete ones"):
        choose_reuse(known[1:], reuse_last=False, minimum=2)
    assert choose_reuse(known[1:], reuse_last=True, minimum=2) == generation(2)
    failed = [*known[1:], generation(4, GenerationState.FAILED)]
    assert choose_reuse(failed, reuse_last=False, minimum=2) == failed[-1]


def test_what_protected_a_volume_from_a_copy_never_pushes_the_last_backup_out() -> None:
    backup, later = generation(1), replace(generation(2), cause=GenerationCause.PROTECT)
    assert choose_reuse([backup, later], reuse_last=False) == later
    with pytest.raises(RefusedError, match="g2, the last complete one"):
        choose_reuse([later], reuse_last=False)
    assert always_kept([later, backup], 1) == [backup]
    assert always_kept([later, backup], 2) == [backup, later]


def test_allowing_the_last_one_does_not_allow_a_pinned_one() -> None:
    with pytest.raises(RefusedError, match="g1 is in use by view 1") as caught:
        choose_reuse([generation(1, pins=("view 1",))], reuse_last=True)
    assert "reuse_last" not in str(caught.value.hint)


def test_with_no_generation_there_is_none_to_reuse() -> None:
    with pytest.raises(RefusedError, match="there is none"):
        choose_reuse([], reuse_last=True)


def test_a_point_in_time_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="time zone"):
        replace(generation(1), taken_at=NOON.replace(tzinfo=None))
