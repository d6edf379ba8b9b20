"""A peer that lost power and is back before anybody noticed: what it had received is pending."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from machine.world import PVOLS, SPVOLS, Shape, World
from pyrep.engine.peer import Peer
from pyrep.model import AckPoint, Direction, PairStatus
from pyrep.testing import Asked, HostWrite, PowerLoss
from pyrep.testing.sides import first_uncovered, pairs_of


def _make() -> World:
    return World(Shape(size_bytes=300_000, volatile=True, simulated=1))


@pytest.fixture
def world() -> Iterator[World]:
    made = _make()
    yield made
    made.close()


def _write(world: World, *offsets: int) -> None:
    for offset in offsets:
        world.write(PVOLS[0], HostWrite(offset=offset, data=b"received, not durable"))
    world.drain()


def _lose_unnoticed(world: World, system_id: str) -> None:
    """The system loses power; the other one still takes the connection for whole."""
    world.simulated.fall_silent()
    world.crash(system_id, PowerLoss())
    world.settle()  # its local mirrors come back by themselves, before the path does
    world.observe()


def _uncovered(world: World) -> list[int]:
    """Return, per remote pair, the first chunk that differs and is pending on neither side.

    Of P alone: U says nothing any more.
    """
    found = []
    for pair in pairs_of(*world.open_systems()):
        mirror = pair.pvol.mirror
        if mirror.row.is_remote:
            index = first_uncovered(
                pair.pvol.io, pair.svol.io, mirror.row.chunk_bytes, mirror.link.pending
            )
            found += [] if index is None else [index]
    return found


def test_what_a_restarted_secondary_had_received_is_pending_before_anything_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(world, 0, 100_000)
    _lose_unnoticed(world, "100b")
    found: list[list[int]] = []
    connected = Peer.connected

    def look(peer: Peer, *told: Any) -> None:
        found.append(_uncovered(world))  # greeted, and nothing has gone over the path yet
        connected(peer, *told)

    monkeypatch.setattr(Peer, "connected", look)
    world.connect()
    world.check()
    assert found
    assert not any(found)
    assert world.live(SPVOLS[0]) == world.live(PVOLS[0])


def test_what_a_restarted_primary_had_received_of_a_copy_back_comes_again(world: World) -> None:
    pair = next(one for one in world.reference.pairs.values() if one.svol == SPVOLS[0])
    world.systems["100a"].pair(pair.pair_id).split()
    world.note({pair.pair_id: Asked.SPLIT})
    world.check()
    world.write(SPVOLS[0], HostWrite(offset=5000, data=b"at the secondary" * 100))
    expected = world.live(SPVOLS[0])
    world.path.stall()
    world.systems["100a"].pair(pair.pair_id).resync(direction=Direction.REVERSE)
    world.note({pair.pair_id: Asked.REVERSE})
    world.observe()
    _lose_unnoticed(world, "100a")
    world.connect()
    world.check()
    assert world.reference.pairs[pair.pair_id].here.status is PairStatus.DUPLEX
    assert world.live(PVOLS[0]) == world.live(SPVOLS[0]) == expected


def test_a_sender_that_ignored_the_restart_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The looks above see it: without P |= U what the peer lost is nowhere."""
    _write(world, 0, 100_000)
    with monkeypatch.context() as patch:
        patch.setattr(Peer, "break_streams", lambda _peer: None)
        _lose_unnoticed(world, "100b")
        assert _uncovered(world)


def test_what_mode_durable_acknowledged_isnt_lost_with_the_secondary() -> None:
    world = World(Shape(size_bytes=300_000, volatile=True, simulated=1, ack=AckPoint.DURABLE))
    try:
        _write(world, 0, 100_000)
        before = world.live(PVOLS[0])
        _lose_unnoticed(world, "100b")
        assert world.live(SPVOLS[0]) == before
    finally:
        world.close()
