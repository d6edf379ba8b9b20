from __future__ import annotations

from collections.abc import Iterator

import pytest

from machine.world import PVOLS, Shape, World
from pyrep.model import PairStatus
from pyrep.testing import HostWrite, lost, stalled, wait_quiet, wait_until


@pytest.fixture
def world() -> Iterator[World]:
    made = World(Shape(size_bytes=100_000))
    yield made
    made.close()


def test_a_lost_path_splits_and_its_return_resumes(world: World) -> None:
    pair = world.systems["100a"].pairs()[0]
    with lost(world.path):
        assert pair.status().status is PairStatus.SPLIT
        world.systems["100a"].volume("105a").pwrite(b"x", 0)
    wait_quiet(*world.open_systems())
    assert pair.status().status is PairStatus.DUPLEX
    assert world.live(("100b", "105b"))[:1] == b"x"


def test_behind_a_stall_records_wait_until_it_ends(world: World) -> None:
    stream = world.stream()
    assert stream is not None
    with stalled(world.path):
        before = stream.info()
        stream.barrier()
        assert stream.info().received == before.received
        assert world.path.is_up
    world.write(PVOLS[0], HostWrite(offset=0, data=b"y"))
    wait_until(lambda: stream.info().received > before.received)
    world.check()
