"""Copies that were broken off, beside what is asked of the pairs around them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machine.world import PVOLS, Shape, World
from pyrep._core import Copier, Wake
from pyrep.errors import CancelledError, RefusedError
from pyrep.model import Direction, PairStatus
from pyrep.testing import Asked, HostWrite
from pyrep.workflows import restore


@pytest.fixture
def world() -> Iterator[World]:
    made = World(Shape(size_bytes=300_000))
    made.write(PVOLS[0], HostWrite(offset=5000, data=b"first" * 5000))
    made.check()
    yield made
    made.close()


class Stopping(Copier):
    """Stops before its first byte."""

    def run(self, most_bytes: int, wake: Wake, *, worker: int = 0) -> bool:
        raise CancelledError(f"stopped before {most_bytes} bytes, {wake} raised or not, {worker}")


def pair_to(world: World, svol: str) -> str:
    return next(one.pair_id for one in world.reference.pairs.values() if one.svol[1] == svol)


def split(world: World, svol: str) -> str:
    """Split a local pair; return its generation."""
    pair_id = pair_to(world, svol)
    made = world.systems[f"100{svol[-1]}"].pair(pair_id).split()
    world.note({pair_id: Asked.SPLIT})
    world.check()
    assert made is not None
    return made.generation_id


def break_off(world: World, svol: str, direction: Direction) -> None:
    """Begin a resync of a local pair that doesn't get anywhere."""
    pair_id = pair_to(world, svol)
    system = world.systems[f"100{svol[-1]}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrep.engine.copying.Copier", Stopping)
        job = system.pair(pair_id).resync(direction=direction)
        assert job is not None
        with pytest.raises(CancelledError):
            job.wait(60)
    world.note({pair_id: Asked(direction.value)})
    world.check()
    assert world.reference.pairs[pair_id].here.status is PairStatus.COPY


def test_a_restore_of_the_volume_ends_a_broken_off_copy_out_of_the_spvol(world: World) -> None:
    """It was found at 650: hosts stopped, and neither resuming nor abandoning was left."""
    generation_id = split(world, "106b")
    split(world, "107b")
    world.write(PVOLS[0], HostWrite(offset=9000, data=b"later" * 5000))
    world.check()
    break_off(world, "107b", Direction.FORWARD)
    restore(world.systems["100b"], generation_id, "105b", whole=True)
    asked = {"107b": Asked.SPLIT, "106b": Asked.REVERSE, "105b": Asked.RESTORE}
    world.note({pair_to(world, svol): command for svol, command in asked.items()})
    world.check()
    assert world.reference.pairs[pair_to(world, "107b")].here.status is PairStatus.SPLIT
    assert world.live(PVOLS[0])[5000:10_000] == b"first" * 1000


def test_a_restore_is_refused_while_another_copy_back_is_half_way(world: World) -> None:
    generation_id = split(world, "106b")
    split(world, "107b")
    remote = world.systems["100a"].pair(pair_to(world, "105b"))
    remote.split()
    world.note({remote.pair_id: Asked.SPLIT})
    world.check()
    world.write(("100b", "105b"), HostWrite(offset=0, data=b"x"))
    break_off(world, "107b", Direction.REVERSE)
    with pytest.raises(RefusedError, match="broken off"):
        restore(world.systems["100b"], generation_id, "105b", whole=True)
    world.check()


@pytest.mark.parametrize("direction", Direction)
def test_a_restore_is_refused_while_a_copy_at_105a_is_half_way(
    world: World, direction: Direction
) -> None:
    """It was found at 670, with 105b written and the pair that is in the way leased."""
    generation_id = split(world, "106b")
    split(world, "106a")
    world.write(PVOLS[0], HostWrite(offset=9000, data=b"later" * 5000))
    remote = world.systems["100a"].pair(pair_to(world, "105b"))
    remote.split()
    world.note({remote.pair_id: Asked.SPLIT})
    world.check()
    break_off(world, "106a", direction)
    with pytest.raises(RefusedError, match="broken off"):
        restore(world.systems["100b"], generation_id, "105b", whole=True)
    world.check()


def test_what_a_broken_off_copy_held_up_resumes_when_that_has_ended(world: World) -> None:
    split(world, "106b")
    world.write(PVOLS[0], HostWrite(offset=9000, data=b"later" * 5000))
    world.check()
    break_off(world, "106b", Direction.FORWARD)
    world.cut()
    world.check()
    world.write(PVOLS[0], HostWrite(offset=90_000, data=b"pending" * 5000))
    world.connect()
    world.check()
    remote, local = pair_to(world, "105b"), pair_to(world, "106b")
    assert world.reference.pairs[remote].here.status is PairStatus.SPLIT
    world.systems["100b"].pair(local).split()
    world.note({local: Asked.SPLIT})
    world.check()
    assert world.reference.pairs[remote].here.status is PairStatus.DUPLEX
