"""Systems on storage that loses what wasn't flushed: what must be there is; the rest is pending."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from machine.world import LOCAL, PVOLS, SPVOLS, Shape, World
from pyrep.model import AckPoint, Direction, PairStatus
from pyrep.testing import Asked, HostWrite, PowerLoss, VolumeName

LOSSES = [
    PowerLoss(seed=1),
    PowerLoss(seed=2, keep_one_in=2),
    PowerLoss(seed=3, keep_one_in=1, tear=True),
]


@pytest.fixture
def world() -> Iterator[World]:
    made = World(Shape(size_bytes=300_000, volatile=True))
    yield made
    made.close()


def scribble(world: World, name: VolumeName, seed: int, count: int = 6) -> None:
    """Write some ranges, unflushed."""
    draw = random.Random(seed)
    for _ in range(count):
        length = draw.choice([100, 4096, 20_000])
        offset = draw.randrange(300_000 - length)
        world.write(name, HostWrite(offset=offset, data=draw.randbytes(length)))


def local_pair(world: World, svol: VolumeName) -> str:
    return next(one.pair_id for one in world.reference.pairs.values() if one.svol == svol)


def remote_pair(world: World) -> str:
    return local_pair(world, SPVOLS[0])


@pytest.mark.parametrize("loss", LOSSES, ids=["all", "some", "torn"])
@pytest.mark.parametrize("system_id", ["100a", "100b"])
def test_after_a_power_loss_of_either_side_nothing_that_differs_is_forgotten(
    world: World, system_id: str, loss: PowerLoss
) -> None:
    scribble(world, PVOLS[0], 1)
    scribble(world, PVOLS[1], 2)
    world.crash(system_id, loss)
    world.check()
    world.connect()
    world.check()
    for pair in world.reference.pairs.values():
        assert pair.here.status is PairStatus.DUPLEX or not pair.is_remote


def test_a_power_loss_takes_unflushed_writes_or_the_other_tests_test_nothing(world: World) -> None:
    scribble(world, PVOLS[0], 1)
    world.crash("100a", PowerLoss())
    assert world.storage["100a"].lost_count > 0
    world.check()
    assert not any(world.live(PVOLS[0]))


def test_what_a_host_flushed_survives(world: World) -> None:
    scribble(world, PVOLS[0], 1)
    world.systems["100a"].volume("105a").flush()
    world.reference.flush(PVOLS[0])
    before = world.live(PVOLS[0])
    world.crash("100a", PowerLoss())
    assert world.live(PVOLS[0]) == before
    world.check()


def test_what_mode_durable_acknowledged_survives_at_the_secondary() -> None:
    world = World(Shape(size_bytes=300_000, ack=AckPoint.DURABLE, volatile=True))
    try:
        scribble(world, PVOLS[0], 1)
        before = world.live(PVOLS[0])
        world.crash("100b", PowerLoss())  # it compares 105b with the reference itself
        assert world.live(SPVOLS[0]) == before
    finally:
        world.close()


@pytest.mark.parametrize("loss", LOSSES, ids=["all", "some", "torn"])
def test_a_generation_is_durable_when_the_split_returns(world: World, loss: PowerLoss) -> None:
    scribble(world, PVOLS[0], 1)
    pair_id = local_pair(world, ("100b", "106b"))
    made = world.systems["100b"].pair(pair_id).split()
    world.note({pair_id: Asked.SPLIT})
    world.observe()
    assert made is not None
    scribble(world, PVOLS[0], 2)
    world.crash("100b", loss)
    assert world.systems["100b"].generation(made.generation_id).is_complete
    world.check()  # INV-4 against what was split
    world.connect()
    world.check()


@pytest.mark.parametrize("loss", LOSSES, ids=["all", "some", "torn"])
def test_both_sides_lose_power_at_once(world: World, loss: PowerLoss) -> None:
    scribble(world, PVOLS[0], 1)
    world.crash("100b", loss)
    world.crash("100a", loss)
    world.check()
    world.connect()
    world.check()
    assert world.live(PVOLS[0]) == world.live(SPVOLS[0])


def test_what_hosts_wrote_at_the_secondary_is_durable_there_once_it_is_the_target_again(
    world: World,
) -> None:
    """550 brought it to 105a and dropped the bits: nobody would bring it back to 105b."""
    pair = world.systems["100a"].pair(remote_pair(world))
    pair.split()
    world.note({pair.pair_id: Asked.SPLIT})
    world.check()
    scribble(world, SPVOLS[0], 1)
    job = pair.resync(direction=Direction.REVERSE, discard="100a")
    assert job is not None
    job.wait(60)
    world.note({pair.pair_id: Asked.REVERSE})
    world.check()  # INV-3
    world.crash("100b", PowerLoss())
    assert world.live(SPVOLS[0]) == world.live(PVOLS[0])


def test_what_a_copy_back_left_alone_is_durable_too_once_it_has_ended(world: World) -> None:
    """Its hosts had written it and never flushed it; the secondary had it, so nothing was sent."""
    scribble(world, PVOLS[0], 1)
    pair = world.systems["100a"].pair(remote_pair(world))
    pair.split()
    world.note({pair.pair_id: Asked.SPLIT})
    world.check()
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(60)
    world.note({pair.pair_id: Asked.REVERSE})
    world.check()
    world.crash("100a", PowerLoss())
    assert world.live(PVOLS[0]) == world.live(SPVOLS[0])


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("system_id", ["100a", "100b"])
@pytest.mark.parametrize("loss", LOSSES, ids=["all", "some", "torn"])
def test_a_copy_that_a_power_loss_ended_goes_on_to_the_end(
    world: World, direction: Direction, system_id: str, loss: PowerLoss
) -> None:
    pair = world.systems["100a"].pair(remote_pair(world))
    pair.split()
    world.note({pair.pair_id: Asked.SPLIT})
    world.check()
    scribble(world, PVOLS[0], 1)
    scribble(world, SPVOLS[0], 2)
    world.path.stall()  # nothing of the copy arrives
    pair.resync(direction=direction, discard="100a" if direction is Direction.REVERSE else "100b")
    world.note({pair.pair_id: Asked(direction.value)})
    world.observe()
    world.crash(system_id, loss)
    world.check()
    world.connect()
    world.check()
    assert world.reference.pairs[pair.pair_id].here.status is PairStatus.DUPLEX
    assert world.live(PVOLS[0]) == world.live(SPVOLS[0])


def test_every_volume_of_the_world_is_on_volatile_storage(world: World) -> None:
    for (system_id, pvol), svols in LOCAL.items():
        assert {pvol, *svols} <= set(world.storage[system_id].doubles)
