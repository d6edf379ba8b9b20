"""The primary's copies of catalogue rows follow what their holder does with the generations."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pyrep import NextSvol, RetentionPolicy, StorageSystem, connect, refresh_generations, restore
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.model import GenerationId, GenerationState, SystemId
from pyrep.workflows.codec import generation_to
from unit.workflows.sites import SIZE, WAIT_S, BoomError, Sites

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


def test_a_holder_that_doesnt_answer_delays_nobody_and_is_asked_by_one_alone(
    raw: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = raw.take("one").generation_id
    raw.b.kept(taken).protect()
    ask, go, asked = StorageSystem.ask, threading.Event(), list[str]()

    def dead(system: StorageSystem, peer: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        asked.append(peer)
        if peer == "100b":
            assert go.wait(WAIT_S)
        return ask(system, peer, verb, body)

    with StorageSystem.create(raw.base / "c", "100c") as other:
        connect(raw.a, other)
        monkeypatch.setattr(StorageSystem, "ask", dead)
        assert refresh_generations(raw.a, wait_s=0.1) == ("100b",)
        assert refresh_generations(raw.a, wait_s=0.1) == ("100b",)
        assert asked.count("100b") == 1
        assert "100c" in asked
        assert not raw.a.generation(taken).protected
        go.set()
        # The answer to an older question isn't taken for the one to this.
        assert refresh_generations(raw.a, wait_s=WAIT_S) == ()
        assert raw.a.generation(taken).protected
    assert not raw.a.state.asking


def test_an_answer_that_fails_in_a_way_nobody_knows_is_none(
    raw: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.take("one")

    def broken(*_: object) -> None:
        raise BoomError("boom")

    monkeypatch.setattr(StorageSystem, "ask", broken)
    assert refresh_generations(raw.a, wait_s=WAIT_S) == ("100b",)
    assert not raw.a.state.asking


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
    for verb, body in (("generations.read", asked), ("generations.list", {"after": ""})):
        told = raw.a.ask("100b", verb, body)["generations"]
        assert [one["generation_id"] for one in told] == [taken], verb


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


# --- a system that was made anew ------------------------------------------------------------------


def _anew(raw: Sites) -> StorageSystem:
    """Lose 100a; make another one of its id, which 100b lets in, as it has no pair with the old."""
    raw.a.close()
    for one in raw.b.pairs():
        if one.row.is_remote:
            one.dissolve(without_peer=True)
    raw.a = StorageSystem.create(raw.base / "new", "100a", options=raw.options_a())
    raw.path = connect(raw.a, raw.b)
    return raw.a


def test_a_system_made_anew_learns_what_is_held_of_its_volumes_and_of_no_others(raw: Sites) -> None:
    first, second, third = (raw.take(label).generation_id for label in ("one", "two", "three"))
    assert raw.b.generation(first).state is GenerationState.GIVEN_UP
    raw.b.kept(second).pin("auditor")
    raw.b.create_volume("205b", 1 << 20)
    raw.b.create_volume("206b", 1 << 20)
    own = raw.b.create_local_pair("205b", "206b")
    own.wait()
    own.split()
    new = _anew(raw)
    assert new.list_generations() == ()

    assert refresh_generations(new) == ()
    assert [one.generation_id for one in new.list_generations()] == [second, third]
    learned = new.generation(third)
    assert learned == raw.b.generation(third)
    assert new.generation(second).pins == ()  # the holder's own business


def test_a_system_made_anew_restores_from_a_generation_before_its_first_backup(
    raw: Sites,
) -> None:
    data = b"before the loss" * 1000
    raw.pvol.pwrite(data, 4096)
    raw.pvol.flush()
    taken = raw.take("one").generation_id
    new = _anew(raw)
    new.create_volume("105a", SIZE)
    pair = new.create_remote_pair("105a", "100b", "105b")
    pair.wait(timeout_s=WAIT_S)
    assert new.list_generations() == ()

    report = restore(new, taken, "105a", whole=True)
    assert report.figure == 6
    assert new.volume("105a").pread(len(data), 4096) == data


def test_a_generation_that_nobody_has_is_still_refused_as_unknown(raw: Sites) -> None:
    with pytest.raises(NotFoundError, match="no generation g-none"):
        restore(raw.a, "g-none", "105a", whole=True)


def test_what_was_split_at_the_secondary_is_known_at_the_primary_too(raw: Sites) -> None:
    made = raw.local("106b").split(label="by hand")
    assert made is not None
    assert refresh_generations(raw.a) == ()
    assert raw.a.generation(made.generation_id).label == "by hand"


def test_a_peer_tells_only_of_what_it_holds_of_the_asking_systems_volumes(
    raw: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could have others restored from, or another holder's row replaced."""
    taken = raw.take("one")
    model = raw.a.generation(taken.generation_id)
    (member,) = model.members
    strange = [
        replace(model, generation_id=GenerationId("g-other-home"), home=SystemId("100c")),
        replace(
            model,
            generation_id=GenerationId("g-other-origin"),
            members=(replace(member, origin_system=SystemId("100c")),),
        ),
        replace(model, generation_id=GenerationId("g-taking"), state=GenerationState.TAKING),
    ]
    ask = StorageSystem.ask

    def lie(system: StorageSystem, peer: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = ask(system, peer, verb, body)
        if verb == "generations.list":
            answer["generations"] = [*answer["generations"], *map(generation_to, strange)]
        return answer

    monkeypatch.setattr(StorageSystem, "ask", lie)
    refresh_generations(raw.a)
    assert raw.a.list_generations() == (model,)


def test_many_are_listed_by_pages_and_a_list_without_an_end_is_cut_off(
    raw: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrep.workflows.copies._AT_ONCE", 2)
    model = raw.take("one")
    names = [f"g{number}" for number in range(5)]
    for name in names:
        raw.b.state.catalogue.add(replace(model, generation_id=GenerationId(name), pins=()))
    assert refresh_generations(raw.a) == ()
    assert {one.generation_id for one in raw.a.list_generations()} == {*names, model.generation_id}

    ask = StorageSystem.ask

    def again(system: StorageSystem, peer: str, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        return ask(system, peer, verb, {**body, "after": ""} if "after" in body else body)

    monkeypatch.setattr(StorageSystem, "ask", again)
    assert refresh_generations(raw.a) == ("100b",)


@pytest.mark.parametrize("after", [5, None, ["g"]])
def test_a_list_after_no_id_is_refused(raw: Sites, after: object) -> None:
    with pytest.raises(InvalidArgumentError, match="after an id"):
        raw.a.ask("100b", "generations.list", {"after": after})
