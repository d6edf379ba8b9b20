"""The primary's copies of catalogue rows follow what their holder does with the generations."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from pyrep import NextSvol, RetentionPolicy, refresh_generations
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.model import GenerationState, SystemId
from unit.workflows.sites import Sites

Build = Callable[..., Sites]


@pytest.fixture
def raw(build: Build) -> Sites:
    return build()


def test_a_backup_that_takes_an_older_ones_svol_ends_the_primarys_copy_of_it(raw: Sites) -> None:
    first, second, third = (raw.take(label) for label in ("one", "two", "three"))

    assert raw.b.generation(first.generation_id).state is GenerationState.GIVEN_UP
    assert raw.a.generation(first.generation_id) == raw.b.generation(first.generation_id)
    assert raw.a.generation(first.generation_id).given_up_at is not None
    assert [raw.a.generation(one.generation_id).state for one in (second, third)] == [
        GenerationState.COMPLETE
    ] * 2


def test_marks_that_the_holder_sets_are_told_when_they_are_asked_for(raw: Sites) -> None:
    taken = raw.take("one").generation_id
    raw.b.kept(taken).protect()
    raw.b.kept(taken).rename("kept")
    assert not raw.a.generation(taken).protected

    assert refresh_generations(raw.a) == ()
    assert raw.a.generation(taken) == raw.b.generation(taken)
    assert (raw.a.generation(taken).label, raw.a.generation(taken).protected) == ("kept", True)


def test_what_the_holder_has_forgotten_is_forgotten(raw: Sites) -> None:
    first, second, _ = (raw.take(label).generation_id for label in ("one", "two", "three"))
    kept = RetentionPolicy(keep_last=2, forget_after=timedelta(0))
    raw.b.set_policy("105b", next_svol=NextSvol.AT_BACKUP, retention=kept)
    raw.b.apply_retention()
    with pytest.raises(NotFoundError):
        raw.b.generation(first)

    assert refresh_generations(raw.a) == ()
    with pytest.raises(NotFoundError):
        raw.a.generation(first)
    assert raw.a.generation(second).state is GenerationState.COMPLETE


def test_without_the_path_what_was_last_heard_stays_and_the_holder_is_named(raw: Sites) -> None:
    taken = raw.take("one").generation_id
    raw.b.kept(taken).protect()
    raw.path.cut()

    assert refresh_generations(raw.a) == ("100b",)
    assert not raw.a.generation(taken).protected
    raw.reconnect()
    assert refresh_generations(raw.a) == ()
    assert raw.a.generation(taken).protected


def test_a_holder_asks_nobody_about_its_own(raw: Sites) -> None:
    raw.take("one")
    raw.path.cut()
    assert refresh_generations(raw.b) == ()


def test_a_peer_is_told_only_of_generations_of_its_own_volumes(raw: Sites) -> None:
    raw.b.create_volume("205b", 1 << 20)
    raw.b.create_volume("206b", 1 << 20)
    own = raw.b.create_local_pair("205b", "206b")
    own.wait()
    generation = own.split()
    assert generation is not None
    taken = raw.take("one").generation_id

    asked = {"ids": [generation.generation_id, taken, "g-none"]}
    told = raw.a.ask("100b", "generations.read", asked)["generations"]
    assert [one["generation_id"] for one in told] == [taken]


@pytest.mark.parametrize("ids", ["g1", None, ["g"] * 201])
def test_a_question_of_another_shape_is_refused(raw: Sites, ids: object) -> None:
    with pytest.raises(InvalidArgumentError, match="list of ids"):
        raw.a.ask("100b", "generations.read", {"ids": ids})


def test_one_holder_alone_can_be_asked(raw: Sites) -> None:
    taken = raw.take("one").generation_id
    raw.b.kept(taken).protect()
    assert refresh_generations(raw.a, home=SystemId("100c")) == ()
    assert not raw.a.generation(taken).protected
    assert refresh_generations(raw.a, home=SystemId("100b")) == ()
    assert raw.a.generation(taken).protected
