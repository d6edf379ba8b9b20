"""A system that is put back from an older copy of itself: nothing is silently equal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from machine.world import PVOLS, SPVOLS, Shape, World
from pyrep.engine import ChangedBacking
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import RefusedError
from pyrep.model import Direction, Meeting, MetSide, PairStatus, Relation, SplitCause
from pyrep.testing import Asked, HostWrite, PowerLoss
from pyrep.workflows import restore


@pytest.fixture
def world() -> Iterator[World]:
    made = World(Shape(size_bytes=300_000, volatile=True))
    yield made
    made.close()


ASSUMED = [ChangedBacking.ASSUME_UNCHANGED, ChangedBacking.ALL_PENDING]


@pytest.mark.parametrize("changed", ASSUMED)
@pytest.mark.parametrize("unclean", [False, True], ids=["closed", "crashed"])
@pytest.mark.parametrize("system_id", ["100a", "100b"])
def test_an_old_copy_ends_equal_by_what_its_operator_chooses(
    world: World, system_id: str, unclean: bool, changed: ChangedBacking
) -> None:
    world.write(PVOLS[0], HostWrite(offset=0, data=b"old" * 10_000))
    if unclean:
        world.crash(system_id, PowerLoss(), keeps=True)
    else:
        world.reopen(system_id, keeps=True)
    world.check()
    world.connect()
    world.check()
    world.write(PVOLS[0], HostWrite(offset=100_000, data=b"new" * 10_000))
    world.write(PVOLS[1], HostWrite(offset=5000, data=b"new" * 10_000))
    world.check()
    newest = [world.live(name) for name in PVOLS]
    assert world.put_back(system_id, changed)
    _end_equal(world, system_id, newest)


def _end_equal(world: World, system_id: str, newest: list[bytes]) -> None:
    """Connect, choose where somebody has to, and find that nothing newer was overwritten."""
    world.check()
    world.connect()
    world.check()
    for pair in [one for one in world.reference.pairs.values() if one.is_remote]:
        if pair.here.status is not PairStatus.DUPLEX:
            assert system_id == "100a"  # nothing newer is overwritten by itself
            job = (
                world.systems["100a"]
                .pair(pair.pair_id)
                .resync(direction=Direction.REVERSE, discard="100a")
            )
            assert job is not None
            job.wait(60)
            world.note({pair.pair_id: Asked.REVERSE})
            world.check()
    assert not world.reference.apart
    assert [world.live(name) for name in PVOLS] == newest
    assert [world.live(name) for name in SPVOLS] == newest


def _copied_as_it_ran(world: World, system_id: str) -> list[bytes]:
    """Copy a system that has no hot region, and write; return what is newest then."""
    world.reopen(system_id)
    world.connect()
    world.check()
    world.keep_running(system_id)
    world.write(PVOLS[0], HostWrite(offset=100_000, data=b"new" * 10_000))
    world.write(PVOLS[1], HostWrite(offset=5000, data=b"new" * 10_000))
    world.check()
    primary = world.systems["100a"]
    for mirror in primary.state.mirrors.values():
        if mirror.row.is_remote:
            primary.remote_pairs.line.drain(mirror)  # or it is unsettled, and sent again
    assert not world.put_back(system_id, ChangedBacking.ASSUME_UNCHANGED)  # too young
    return [world.live(name) for name in PVOLS]


@pytest.mark.parametrize("changed", ASSUMED)
@pytest.mark.parametrize("system_id", ["100a", "100b"])
def test_an_old_copy_of_a_system_that_ran_ends_equal_by_what_its_operator_chooses(
    world: World, system_id: str, changed: ChangedBacking
) -> None:
    newest = _copied_as_it_ran(world, system_id)
    assert len(world.age()) == 2
    world.check()
    assert world.put_back(system_id, changed)
    _end_equal(world, system_id, newest)


def _keeps_its_ages(patch: pytest.MonkeyPatch, system_id: str) -> None:
    """One system says that its identifiers are older, and leaves them as they were."""
    real = SystemState.age

    def age(state: SystemState, ages: Iterable[tuple[Mirror, int]]) -> None:
        if state.system_id != system_id:
            real(state, ages)

    patch.setattr(SystemState, "age", age)


def _compares_no_ages(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("pyrep.model.meeting.AGE_APART", 1 << 62)


@pytest.mark.parametrize(
    ("system_id", "breaks"),
    [
        ("100b", lambda patch: _keeps_its_ages(patch, "100a")),
        ("100a", lambda patch: _keeps_its_ages(patch, "100b")),
        ("100a", _compares_no_ages),
        ("100b", _compares_no_ages),
    ],
    ids=["step 2 is left out", "steps 1 and 3 are", "not compared at 100a", "nor at 100b"],
)
def test_a_copy_of_a_system_that_ran_and_is_not_told_would_be_caught(
    world: World,
    system_id: str,
    breaks: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _copied_as_it_ran(world, system_id)
    breaks(monkeypatch)
    assert len(world.age()) == 2
    world.put_back(system_id, ChangedBacking.ASSUME_UNCHANGED)
    with pytest.raises(AssertionError, match="105"):
        world.check()


def test_an_old_copy_whose_bits_were_believed_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def believed(*_sides: MetSide) -> Meeting:
        return Meeting(
            relation=Relation.BITMAP, direction=Direction.FORWARD, key=1, reason="it says so"
        )

    world.reopen("100b", keeps=True)
    world.connect()
    world.check()
    world.write(PVOLS[0], HostWrite(offset=100_000, data=b"new" * 10_000))
    world.check()
    primary = world.systems["100a"]
    for mirror in primary.state.mirrors.values():
        if mirror.row.is_remote:
            primary.remote_pairs.line.drain(mirror)  # or it is unsettled, and sent again
    world.put_back("100b", ChangedBacking.ASSUME_UNCHANGED)
    world.check()
    monkeypatch.setattr("pyrep.engine.remote_meeting.meet", believed)
    world.connect()
    with pytest.raises(AssertionError, match="105b"):
        world.check()


def test_a_restore_through_a_pair_that_needs_a_choice_is_refused_before_anything_is_stopped(
    world: World,
) -> None:
    """It was found at 670: hosts stopped, 105b overwritten, and nothing left but to abandon it."""
    world.reopen("100a", keeps=True)
    world.connect()
    world.check()
    local = next(one for one in world.reference.pairs.values() if one.svol == ("100b", "106b"))
    made = world.systems["100b"].pair(local.pair_id).split()
    world.note({local.pair_id: Asked.SPLIT})
    world.check()
    world.write(PVOLS[0], HostWrite(offset=100_000, data=b"new" * 10_000))
    world.check()
    world.put_back("100a", ChangedBacking.ASSUME_UNCHANGED)
    world.check()
    world.connect()
    world.check()
    remote = next(one for one in world.reference.pairs.values() if one.svol == SPVOLS[0])
    assert remote.here.cause is SplitCause.SPLIT_BRAIN
    assert made is not None
    with pytest.raises(RefusedError, match="old copy") as caught:
        restore(world.systems["100b"], made.generation_id, "105b", whole=True)
    assert "discard" in str(caught.value.hint)
    world.check()
