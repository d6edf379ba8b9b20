from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from pyrep.errors import ExistsError, NotFoundError, RefusedError
from pyrep.meta.catalogue import Catalogue
from pyrep.meta.database import Database
from pyrep.meta.system import SystemRecord, SystemTable
from pyrep.model.generation import (
    Generation,
    GenerationCause,
    GenerationMember,
    GenerationState,
)
from pyrep.model.ids import GenerationId, PairId, SystemId, VolumeId, new_key

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)
HOME = SystemId("100b")


def member(source: str = "105b", svol: str = "106b") -> GenerationMember:
    return GenerationMember(
        source=VolumeId(source),
        origin_system=SystemId("100a"),
        origin_volume=VolumeId("105a"),
        svol=VolumeId(svol),
        pair_id=PairId("100b.1"),
    )


def generation(number: int, *members: GenerationMember) -> Generation:
    return Generation(
        generation_id=GenerationId(f"g{number}"),
        attempt_id="7",
        label="before the upgrade \udcff",
        cause=GenerationCause.BACKUP,
        state=GenerationState.COMPLETE,
        taken_at=NOON + timedelta(hours=number),
        home=HOME,
        members=members or (member(),),
        hold_ms=1.5,
        queued_max_bytes=1 << 40,
        remote_before=((PairId("100a.1"), "DUPLEX"),),
        remote_during=((PairId("100a.1"), "DUPLEX"), (PairId("100a.2"), "COPY")),
        remote_after=((PairId("100a.1"), "SPLIT"),),
        protected=True,
        annotations=(("ticket", "4711"), ("who", "ops")),
    )


@pytest.fixture
def catalogue(db: Database) -> Catalogue:
    SystemTable(db).set(
        SystemRecord(system_id=HOME, key=new_key(), clean=False, created_at=NOON, format=1)
    )
    return Catalogue(db)


def test_a_generation_comes_back_as_it_was_added(catalogue: Catalogue) -> None:
    added = replace(generation(1, member("b", "c"), member("a", "d")), pins=("view 1", "w2"))
    catalogue.add(added)
    assert catalogue.get(added.generation_id) == added


def test_a_generation_of_which_nothing_was_held_comes_back(catalogue: Catalogue) -> None:
    added = replace(
        generation(1), hold_ms=None, queued_max_bytes=None, remote_before=(), annotations=()
    )
    catalogue.add(added)
    assert catalogue.get(added.generation_id) == added


def test_generations_are_listed_oldest_first_whatever_their_time_zone(
    catalogue: Catalogue,
) -> None:
    east = timezone(timedelta(hours=9))
    for number in (3, 1, 2):
        one = generation(number)
        catalogue.add(replace(one, taken_at=one.taken_at.astimezone(east)))
    assert [one.generation_id for one in catalogue.all()] == ["g1", "g2", "g3"]


def test_those_held_are_of_one_home_and_of_the_states_asked_for(catalogue: Catalogue) -> None:
    theirs = replace(generation(4), home=SystemId("100c"))
    lost = replace(generation(3), state=GenerationState.GIVEN_UP)
    for one in (generation(2), generation(1), lost, theirs):
        catalogue.add(one)
    found = catalogue.held(HOME, {GenerationState.COMPLETE})
    assert found == (generation(1), generation(2))
    assert catalogue.held(HOME, set()) == ()


def test_members_and_pins_are_those_of_each_however_many_are_read(catalogue: Catalogue) -> None:
    made = [
        replace(generation(number, member(f"v{number}")), pins=(f"holder {number}",))
        for number in range(1, 260)
    ]
    for one in made:
        catalogue.add(one)
    assert catalogue.all() == tuple(made)
    few = replace(made[3], state=GenerationState.FAILED)
    catalogue.replace(few)
    assert catalogue.held(HOME, {GenerationState.FAILED}) == (few,)


def test_the_generations_of_a_source_are_those_with_a_part_of_it(catalogue: Catalogue) -> None:
    for one in (generation(2, member("a"), member("b")), generation(1, member("a"))):
        catalogue.add(one)
    assert [one.generation_id for one in catalogue.of_source(VolumeId("a"))] == ["g1", "g2"]
    assert [one.generation_id for one in catalogue.of_source(VolumeId("b"))] == ["g2"]
    assert catalogue.of_source(VolumeId("c")) == ()


def test_another_systems_generations_are_not_taken_for_this_ones(catalogue: Catalogue) -> None:
    # Both sites may call their volume the same; reusing by the other's list would give up the
    # wrong SVOL.
    theirs = replace(generation(1), home=SystemId("100c"))
    catalogue.add(theirs)
    assert catalogue.of_source(VolumeId("105b")) == ()
    assert catalogue.of_source(VolumeId("105b"), home=SystemId("100c")) == (theirs,)


def test_a_second_generation_of_an_id_is_refused(catalogue: Catalogue) -> None:
    catalogue.add(generation(1))
    with pytest.raises(ExistsError, match="g1"):
        catalogue.add(replace(generation(1), label="other"))
    assert catalogue.all() == (generation(1),)


def test_replacing_changes_state_and_members(catalogue: Catalogue) -> None:
    catalogue.add(generation(1, member("a"), member("b")))
    changed = replace(
        generation(1, member("c")), state=GenerationState.FAILED, protected=False, label=""
    )
    catalogue.replace(changed)
    assert catalogue.get(changed.generation_id) == changed
    assert catalogue.of_source(VolumeId("a")) == ()


def test_replacing_keeps_the_pins_that_were_set_meanwhile(catalogue: Catalogue) -> None:
    in_memory = generation(1)
    catalogue.add(in_memory)
    catalogue.pin(in_memory.generation_id, "view 1")
    catalogue.replace(replace(in_memory, protected=False))
    assert catalogue.get(in_memory.generation_id).pins == ("view 1",)


def test_a_pin_stays_until_its_holder_ends_it(catalogue: Catalogue) -> None:
    name = generation(1).generation_id
    catalogue.add(generation(1))
    for holder in ("view 1", "view 1", "w2"):
        catalogue.pin(name, holder)
    assert catalogue.get(name).pins == ("view 1", "w2")
    catalogue.unpin(name, "view 1")
    catalogue.unpin(name, "view 1")
    assert catalogue.get(name).pins == ("w2",)


def test_the_pins_of_an_ended_process_are_cleared_by_prefix(catalogue: Catalogue) -> None:
    catalogue.add(generation(1))
    catalogue.add(generation(2))
    for name in ("g1", "g2"):
        for holder in ("view%:1", "view_:2", "w:1"):
            catalogue.pin(GenerationId(name), holder)
    catalogue.clear_pins("view%:")
    assert {one.pins for one in catalogue.all()} == {("view_:2", "w:1")}
    catalogue.clear_pins("")
    assert {one.pins for one in catalogue.all()} == {()}


def test_a_given_up_generation_cannot_be_pinned(catalogue: Catalogue) -> None:
    catalogue.add(replace(generation(1), state=GenerationState.GIVEN_UP))
    with pytest.raises(RefusedError, match="given up"):
        catalogue.pin(GenerationId("g1"), "view 1")


def test_a_pinned_generation_is_not_removed(catalogue: Catalogue) -> None:
    catalogue.add(generation(1))
    catalogue.pin(GenerationId("g1"), "view 1")
    with pytest.raises(RefusedError, match="view 1"):
        catalogue.remove(GenerationId("g1"))
    catalogue.unpin(GenerationId("g1"), "view 1")
    catalogue.remove(GenerationId("g1"))
    assert catalogue.all() == ()
    catalogue.add(generation(1))
    assert catalogue.get(GenerationId("g1")) == generation(1)


def test_an_unknown_generation_is_an_error_that_names_the_known_ones(
    catalogue: Catalogue,
) -> None:
    catalogue.add(generation(1))
    with pytest.raises(NotFoundError, match="no generation g9") as caught:
        catalogue.get(GenerationId("g9"))
    assert caught.value.hint == "known generations: g1"
    with pytest.raises(NotFoundError):
        catalogue.replace(generation(9))
    with pytest.raises(NotFoundError):
        catalogue.pin(GenerationId("g9"), "view 1")
    with pytest.raises(NotFoundError):
        catalogue.remove(GenerationId("g9"))
