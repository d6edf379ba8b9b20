"""Generations as embedders work with them: the user's marks, and what lies between two of them."""

from __future__ import annotations

import random

import pytest

from pyrep.engine import Options, Pair, StorageSystem
from pyrep.engine.options import Digests
from pyrep.errors import InvalidArgumentError, NotFoundError, RefusedError
from pyrep.model import Direction, Generation, GenerationState
from pyrep.testing import wait_quiet
from rig import CHUNK, LONG_S, SIZE, Rig, Site, content, fill

NAMES = ("106b", "107b", "108b")


@pytest.fixture
def one(site: Site) -> StorageSystem:
    """100b with 105b and three local mirrors in DUPLEX."""
    site.options["100b"] = Options(digests=Digests.WHEN_ASKED)
    system = site.make("100b", "105b", *NAMES)
    for name in NAMES:
        system.create_local_pair("105b", name).wait(timeout_s=LONG_S)
    return system


def split(system: StorageSystem, number: int, label: str = "") -> Generation:
    made = system.pair(f"100b.{number}").split(label=label)
    assert made is not None
    return made


def resync(pair: Pair, direction: Direction = Direction.FORWARD) -> None:
    job = pair.resync(direction=direction)
    assert job is not None
    job.wait(LONG_S)


def differing(site: Site, first: Generation, second: Generation) -> set[int]:
    """Return the chunks in which two generations differ, byte by byte."""
    here, there = (content(site.volume("100b", one.members[0].svol)) for one in (first, second))
    return {
        at // CHUNK
        for at in range(0, len(here), CHUNK)
        if here[at : at + CHUNK] != there[at : at + CHUNK]
    }


# --- marks of the user ---------------------------------------------------------------------------


def test_what_the_user_says_of_a_generation_is_durable(one: StorageSystem, site: Site) -> None:
    kept = one.kept(split(one, 1, "evening").generation_id)
    kept.rename("nightly")
    kept.annotate({"ticket": "42", "by": "ann", "why": "audit"})
    kept.annotate({"why": None, "by": "bob"})
    kept.protect()
    kept.pin("auditor")

    again = site.reopen("100b").kept(kept.generation_id).record

    assert again.label == "nightly"
    assert again.annotations == (("by", "bob"), ("ticket", "42"))
    assert again.protected
    assert again.pins == ("auditor",)


def test_a_pinned_generation_is_kept_until_its_holder_lets_go(one: StorageSystem) -> None:
    kept = one.kept(split(one, 1).generation_id)
    kept.pin("auditor")
    kept.pin("auditor")
    with pytest.raises(RefusedError, match="in use by auditor"):
        one.pair("100b.1").resync()
    kept.unpin("auditor")
    resync(one.pair("100b.1"))
    assert kept.record.state is GenerationState.GIVEN_UP
    assert kept.record.given_up_at is not None


@pytest.mark.parametrize("holder", ["", "view-1", "workflow-w1"])
def test_a_pin_cannot_be_held_in_the_systems_own_names(one: StorageSystem, holder: str) -> None:
    kept = one.kept(split(one, 1).generation_id)
    with pytest.raises(InvalidArgumentError):
        kept.pin(holder)
    with pytest.raises(InvalidArgumentError):
        kept.unpin(holder)


def test_what_is_not_there_cannot_be_taken_away(one: StorageSystem) -> None:
    kept = one.kept(split(one, 1).generation_id)
    kept.annotate({"by": "ann"})
    kept.pin("auditor")
    with pytest.raises(NotFoundError, match="no annotation why") as caught:
        kept.annotate({"new": "1", "why": None})
    assert caught.value.hint is not None
    assert "by" in caught.value.hint
    assert kept.record.annotations == (("by", "ann"),)
    with pytest.raises(NotFoundError, match="isn't pinned by someone"):
        kept.unpin("someone")
    with pytest.raises(InvalidArgumentError):
        kept.annotate({"a key": "1"})
    with pytest.raises(NotFoundError, match="g-none"):
        one.kept("g-none")


def test_a_generation_that_was_given_up_takes_no_marks(one: StorageSystem) -> None:
    kept = one.kept(split(one, 1).generation_id)
    resync(one.pair("100b.1"))
    for change in (kept.protect, lambda: kept.pin("a"), lambda: kept.rename("x")):
        with pytest.raises(RefusedError, match="given_up"):
            change()


# --- changes -------------------------------------------------------------------------------------


def test_changes_are_what_was_written_between_the_two_splits(
    one: StorageSystem, site: Site
) -> None:
    volume = site.volume("100b", "105b")
    first = split(one, 1)
    volume.pwrite(b"a", 3 * CHUNK)
    volume.zero(2 * CHUNK, 9 * CHUNK)
    second = split(one, 2)
    volume.pwrite(b"b", 20 * CHUNK + 5)
    third = split(one, 3)
    volume.pwrite(b"c", 30 * CHUNK)

    def changes(here: Generation, there: Generation) -> list[int]:
        return list(one.kept(here.generation_id).changes_since(there.generation_id))

    assert changes(second, first) == changes(first, second) == [3, 9, 10]
    assert changes(third, second) == [20]
    assert changes(third, first) == [3, 9, 10, 20]
    assert changes(third, third) == []
    assert one.kept(third.generation_id).extents_since(first.generation_id) == [
        (3 * CHUNK, CHUNK),
        (9 * CHUNK, 2 * CHUNK),
        (20 * CHUNK, CHUNK),
    ]


def test_the_last_extent_ends_with_the_volume(site: Site) -> None:
    system = site.make("100b", "105b", "106b", "107b", size=SIZE - 100)
    for name in ("106b", "107b"):
        system.create_local_pair("105b", name).wait(timeout_s=LONG_S)
    first = split(system, 1)
    site.volume("100b", "105b").pwrite(b"end", SIZE - 103)
    second = split(system, 2)
    found = system.kept(second.generation_id).extents_since(first.generation_id)
    assert found == [(SIZE - CHUNK, CHUNK - 100)]


def test_changes_outlive_the_generation_between_and_a_clean_close(
    one: StorageSystem, site: Site
) -> None:
    volume = site.volume("100b", "105b")
    first = split(one, 1)
    fill(volume, 1, count=3)
    split(one, 2)
    fill(volume, 2, count=3)
    third = split(one, 3)
    before = one.kept(third.generation_id).changes_since(first.generation_id)
    resync(one.pair("100b.2"))
    fill(volume, 3, count=3)

    again = site.reopen("100b")

    assert again.kept(third.generation_id).changes_since(first.generation_id) == before
    assert differing(site, first, third) <= set(before)
    assert len(before) < SIZE // CHUNK


def test_after_a_crash_closed_intervals_are_known_and_others_say_everything(
    one: StorageSystem, site: Site
) -> None:
    first = split(one, 1)
    site.volume("100b", "105b").pwrite(b"1", 5 * CHUNK)
    second = split(one, 2)
    one = site.reopen("100b")
    site.volume("100b", "105b").pwrite(b"2", 6 * CHUNK)
    third = split(one, 3)
    site.volume("100b", "105b").pwrite(b"3", 7 * CHUNK)
    one = site.reopen("100b", crash=True)

    assert list(one.kept(second.generation_id).changes_since(first.generation_id)) == [5]
    assert list(one.kept(third.generation_id).changes_since(second.generation_id)) == [6]

    resync(one.pair("100b.2"))
    fourth = split(one, 2)
    assert differing(site, third, fourth) == {7}
    assert len(one.kept(fourth.generation_id).changes_since(third.generation_id)) == SIZE // CHUNK
    one.kept(third.generation_id).digest()
    one.kept(fourth.generation_id).digest()
    narrowed = one.kept(fourth.generation_id).changes_since(third.generation_id)
    assert list(narrowed) == list(range((1 << 20) // CHUNK))  # the first span


def test_changes_are_never_too_few_whatever_happened_between(
    one: StorageSystem, site: Site
) -> None:
    """The checker: byte by byte."""
    draw = random.Random(7)
    for _ in range(14):
        pair = one.pair(f"100b.{draw.randint(1, 3)}")
        volume = site.volume("100b", "105b")
        fill(volume, draw.randrange(1000), count=draw.randrange(4))
        if pair.status().status == "DUPLEX":
            pair.split()
        elif draw.random() < 0.3:
            resync(pair, Direction.REVERSE)
        else:
            resync(pair)
        if draw.random() < 0.3:
            one = site.reopen("100b", crash=draw.random() < 0.3)
            wait_quiet(one)
        complete = [each for each in one.list_generations() if each.is_complete]
        for first in complete:
            for second in complete:
                said = one.kept(second.generation_id).changes_since(first.generation_id)
                assert differing(site, first, second) <= set(said)


def test_generations_of_several_volumes_are_compared_by_name(rig: Rig) -> None:
    system = rig.b
    for name in ("205b", "206b"):
        system.create_volume(name, SIZE)
    for source, target in (("105b", "106b"), ("105b", "107b"), ("205b", "206b")):
        system.create_local_pair(source, target).wait(timeout_s=LONG_S)
    both = system.split_pairs(["100b.1", "100b.3"])
    assert both is not None
    alone = split(system, 2)
    assert list(system.kept(alone.generation_id).changes_since(both.generation_id)) == []
    kept = system.kept(both.generation_id)
    with pytest.raises(RefusedError, match="share 2 volumes") as caught:
        kept.changes_since(both.generation_id)
    assert caught.value.hint is not None
    assert "105b, 205b" in caught.value.hint
    assert list(kept.changes_since(both.generation_id, volume="205b")) == []
    with pytest.raises(NotFoundError, match="no volume 205b"):
        kept.changes_since(alone.generation_id, volume="205b")


def test_sixteen_generations_share_one_set_of_marks_and_tell_their_changes(site: Site) -> None:
    site.options["100b"] = Options(digests=Digests.WHEN_ASKED)
    names = [f"s{number:02}" for number in range(16)]
    system = site.make("100b", "105b", *names, size=32 * CHUNK)
    for name in names:
        system.create_local_pair("105b", name).wait(timeout_s=LONG_S)
    taken = []
    for number in range(16):
        taken.append(split(system, number + 1))
        system.volume("105b").pwrite(b"x", number * CHUNK)
    assert len(system.state.live[system.volume("105b").volume_id].core.epochs()) == 16
    for first in (0, 5, 14):
        for second in range(first, 16):
            kept = system.kept(taken[second].generation_id)
            found = kept.changes_since(taken[first].generation_id)
            assert list(found) == list(range(first, second))
    assert sorted(one.status().pending_count for one in system.pairs()) == list(range(1, 17))
