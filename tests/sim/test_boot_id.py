"""A peer that lost power and is back before anybody noticed: what it had received is pending.

Looked at in the moment at which the sender has greeted it, and nothing has gone over the path yet.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from machine.world import PVOLS, SPVOLS, Shape, World
from pyrep._core import Alog, Apply, Bitmap, LinkCore, Stream
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.remote_resumes import RemoteResumes
from pyrep.errors import PathLostError
from pyrep.model import AckPoint, Direction, PairStatus
from pyrep.seams import Connection
from pyrep.testing import Asked, HostWrite, InvariantError, PowerLoss
from pyrep.testing.sides import PairSides, first_uncovered, pairs_of

LONG_S = 60.0
FORWARD, BACK = "of a mirror", "of a copy back"
LOST = {FORWARD: "100b", BACK: "100a"}
SENDER = {FORWARD: "100a", BACK: "100b"}


def _make(**shape: Any) -> World:
    return World(Shape(size_bytes=300_000, volatile=True, simulated=1, **shape))


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


def _receive(world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Let a side receive what it hasn't made durable: its power goes before the next barrier's."""
    if way == FORWARD:
        _write(world, 0, 100_000)
        return
    pair = next(one for one in world.reference.pairs.values() if one.svol == SPVOLS[0])
    world.systems["100a"].pair(pair.pair_id).split()
    world.note({pair.pair_id: Asked.SPLIT})
    world.check()
    world.write(SPVOLS[0], HostWrite(offset=5000, data=b"at the secondary" * 100))
    received = threading.Event()
    settle = Apply.settle

    def settling(apply: Apply) -> None:
        info = apply.info()
        if info.applied == info.durable:
            settle(apply)
            return
        world.simulated.fall_silent()
        received.set()

    with monkeypatch.context() as patch:
        patch.setattr(Apply, "settle", settling)
        with contextlib.suppress(PathLostError):  # the answer to the last order may be too late
            world.systems["100a"].pair(pair.pair_id).resync(direction=Direction.REVERSE)
        assert received.wait(LONG_S)
    world.note({pair.pair_id: Asked.REVERSE})
    assert world.live(PVOLS[0]) == world.live(SPVOLS[0])


def _remote_pairs(world: World) -> Iterator[PairSides]:
    for pair in pairs_of(*world.open_systems()):
        if pair.pvol.mirror.row.is_remote:
            yield pair


def _links(world: World, sender: str) -> list[LinkCore]:
    state = world.systems[sender].state
    return [one.link for one in state.mirrors.values() if one.row.is_remote]


def _uncovered(world: World, sender: str) -> list[int]:
    """Return, per remote pair, the first chunk that differs and that the sender hasn't pending.

    P alone, since U says nothing any more. What the restarted side has pending by itself, its hot
    regions, doesn't count.
    """
    found = []
    for pair in _remote_pairs(world):
        side = next(one for one in (pair.pvol, pair.svol) if one.system.system_id == sender)
        found.append(_outside(pair, side.mirror.link.pending))
    return [index for index in found if index is not None]


def _outside(pair: PairSides, cover: Bitmap) -> int | None:
    return first_uncovered(pair.pvol.io, pair.svol.io, pair.pvol.mirror.row.chunk_bytes, cover)


def _differs(pair: PairSides) -> bool:
    return _outside(pair, Bitmap(len(pair.pvol.mirror.link.pending))) is not None


class Look:
    """What is uncovered whenever the sender has greeted the other side.

    Attributes:
        found: of each greeting.
        differed: whether there was anything to cover at the first.
    """

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
        self.found: list[list[int]] = []
        self.differed = False
        connected = Peer.connected

        def look(peer: Peer, *told: Any) -> None:
            if peer.system_id == LOST[way]:
                self.differed |= any(map(_differs, _remote_pairs(world)))
                self.found.append(_uncovered(world, SENDER[way]))
            connected(peer, *told)

        monkeypatch.setattr(Peer, "connected", look)


@pytest.mark.parametrize("way", [FORWARD, BACK])
def test_what_a_restarted_side_had_received_is_pending_before_anything_else(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    _receive(world, monkeypatch, way)
    expected = world.live(PVOLS[0])
    _lose_unnoticed(world, LOST[way])
    look = Look(world, monkeypatch, way)
    world.connect()
    world.check()
    assert look.differed
    assert look.found
    assert not any(look.found)
    assert world.live(SPVOLS[0]) == world.live(PVOLS[0]) == expected
    pair = next(one for one in world.reference.pairs.values() if one.svol == SPVOLS[0])
    assert pair.here.status is PairStatus.DUPLEX


class Forgetful:
    """Whatever ends a link's work: what was unsettled doesn't become pending. Or not yet."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, sender: str) -> None:
        self._world = world
        self._sender = sender
        self._forgotten: list[tuple[LinkCore, Bitmap]] = []
        for owner, name in ((Stream, "break_off"), (LinkCore, "mark"), (LinkCore, "idle")):
            monkeypatch.setattr(owner, name, self._forgetting(getattr(owner, name)))

    def _forgetting(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(core: Any) -> None:
            links = _links(self._world, self._sender)
            before = [_copy_of(one.pending) for one in links]
            original(core)
            for link, was in zip(links, before, strict=True):
                new = _copy_of(link.pending)
                new.difference_update(was)
                for first, count in list(new.runs()):
                    link.pending.clear(first, count)
                self._forgotten.append((link, new))

        return call

    def remember(self) -> None:
        """Mark it now, which is too late."""
        for link, bits in self._forgotten:
            link.pending.update(bits)
        self._forgotten.clear()


def _copy_of(bits: Bitmap) -> Bitmap:
    made = Bitmap(len(bits))
    made.update(bits)
    return made


@pytest.mark.parametrize("when", ["never", "once the first record of the new connection is sent"])
@pytest.mark.parametrize("way", [FORWARD, BACK])
def test_a_sender_that_ignored_the_restart_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch, way: str, when: str
) -> None:
    forgetful = Forgetful(world, monkeypatch, SENDER[way])
    ship = Outlet.ship

    def shipping(outlet: Outlet, *told: Any) -> None:
        ship(outlet, *told)
        if when != "never":
            forgetful.remember()

    monkeypatch.setattr(Outlet, "ship", shipping)
    _receive(world, monkeypatch, way)
    _lose_unnoticed(world, LOST[way])
    look = Look(world, monkeypatch, way)
    world.connect()
    assert any(look.found)


@pytest.mark.parametrize("known", [False, True], ids=["another boot id", "the same boot id"])
def test_should_a_stream_outlive_its_connection_the_boot_id_decides(
    world: World, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """The rule by itself: here nothing else marks. A boot id taken for an old one is seen."""

    path_down = SystemEndpoint.path_down

    def giving_up(endpoint: SystemEndpoint, connection: Connection) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Peer, "break_streams", lambda _peer: None)
            path_down(endpoint, connection)

    _receive(world, monkeypatch, FORWARD)
    before = world.systems["100b"].state.boot_id
    monkeypatch.setattr(SystemEndpoint, "path_down", giving_up)
    monkeypatch.setattr(RemoteResumes, "path_lost", lambda *_told: None)
    _lose_unnoticed(world, "100b")
    if known:
        world.systems["100b"].state.boot_id = before
    look = Look(world, monkeypatch, FORWARD)
    world.connect()
    assert look.differed
    assert any(look.found) is known


def test_what_mode_durable_acknowledged_isnt_lost_with_the_secondary() -> None:
    world = _make(ack=AckPoint.DURABLE)
    try:
        _write(world, 0, 100_000)
        before = world.live(PVOLS[0])
        _lose_unnoticed(world, "100b")
        assert world.live(SPVOLS[0]) == before
    finally:
        world.close()


# --- the secondary's own mirrors ---------------------------------------------------------------


def _torn_apart(world: World, seed: int) -> list[int]:
    """Let the secondary lose power in the midst of writes; return what its mirrors don't cover.

    105b and its mirrors each lose writes of their own.
    """
    draw = random.Random(seed)
    for _ in range(12):
        data = draw.randbytes(draw.choice([100, 4096, 9000]))
        world.write(PVOLS[0], HostWrite(offset=draw.randrange(290_000), data=data))
    world.drain()
    world.simulated.fall_silent()
    world.crash("100b", PowerLoss(seed=seed, keep_one_in=2, tear=True))
    pairs = pairs_of(world.systems["100b"])
    found = [_outside(one, one.pvol.mirror.link.cover()) for one in pairs]
    return [index for index in found if index is not None]


@pytest.mark.parametrize("seed", range(5))
def test_what_the_secondary_passed_on_to_its_mirrors_is_pending_there(
    world: World, seed: int
) -> None:
    assert not _torn_apart(world, seed)
    world.settle()
    world.observe()
    world.connect()
    world.check()


def test_a_secondary_that_didnt_log_what_it_applies_would_be_caught(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Alog, "replay", lambda *_told: None)
    with pytest.raises((AssertionError, InvariantError)):  # noqa: PT012
        for seed in range(5):
            assert not _torn_apart(world, seed)
            world.settle()
            world.observe()
            world.connect()
            world.check()
