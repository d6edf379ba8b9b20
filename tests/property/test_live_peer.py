"""Every bit flip and truncation of what a live peer is sent is rejected, and costs no byte.

`PYREP_FLIPS`: how many of each kind are drawn (12); `all` takes every bit and every length.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep.engine import Pair
from pyrep.errors import PyrepError
from pyrep.interconnect import PathTiming
from pyrep.interconnect.envelope import ENVELOPE_BYTES
from pyrep.interconnect.messages import PairFacts, ReadPair, encode
from pyrep.model import AckPoint, PairStatus
from pyrep.testing import FaultProxy, Way, check_covered, wait_until
from rig import Rig, content, equal

FLIPS = os.environ.get("PYREP_FLIPS", "12")
TIMING = PathTiming(ping_s=1000.0, ping_timeout_s=1000.0, retry_first_s=0.001, retry_most_s=0.01)
DATA = bytes(range(256))
Place = tuple[int, int]
"""A byte, and the bit in it that is flipped; -1: nothing comes from that byte on."""


class LiveRig(Rig):
    """A DUPLEX pair over a proxy; each connection's control lane has an even number."""

    proxy: FaultProxy
    pair: Pair

    def build_proxied(self) -> LiveRig:
        self.make("100a", "105a")
        self.make("100b", "105b")
        self.proxy = self.dial_through_proxy(TIMING)
        self.pair = self.remote(ack=AckPoint.RECEIVED)
        return self

    def write(self) -> int:
        """Write; return the bytes of the frame with its envelope."""
        (peer,) = self.a.state.peers.values()
        before = peer.frame_bytes
        self.pvol.pwrite(DATA, 4096)
        return peer.frame_bytes - before + ENVELOPE_BYTES

    def ask(self) -> int:
        """Ask for the secondary's row; return the bytes of the command with its envelope."""
        (peer,) = self.a.state.peers.values()
        asked = ReadPair(pair_id=self.pair.pair_id)
        assert isinstance(peer.ask(asked), PairFacts)
        return len(encode(asked)) + ENVELOPE_BYTES

    def strike(self, place: Place, way: Way, lane: int) -> None:
        """Let it befall a lane of the connection that is up."""
        at, bit = place
        on = {self.proxy.live[lane]}
        if bit < 0:
            self.proxy.cut_after(at, way, on=on)
        else:
            self.proxy.corrupt_after(at, way, mask=1 << bit, on=on)

    def come_to_rest(self) -> None:
        """Wait until nothing is on its way, not even a barrier."""
        (peer,) = self.a.state.peers.values()
        (outlet,) = peer._outlets.values()
        self.both(self.pair, PairStatus.DUPLEX)

        def is_quiet() -> bool:
            info = outlet.stream.info()
            return info.open and info.durable >= info.last

        wait_until(is_quiet)
        wait_until(lambda: len(self.proxy.live) == 2)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveRig]:
    rig = LiveRig(tmp_path).build_proxied()
    yield rig
    rig.close()
    rig.proxy.close()


def places(length: int, seed: int) -> list[Place]:
    """Return bits to flip and bytes to end before, of so many bytes."""
    every = [(at, bit) for at in range(length) for bit in range(-1, 8) if at or bit >= 0]
    if FLIPS == "all":
        return every
    ends = [one for one in every if one[1] < 0]
    draw = random.Random(seed)
    return draw.sample(every, int(FLIPS)) + draw.sample(ends, int(FLIPS) // 2)


def befall(rig: LiveRig, do: Callable[[], int], place: Place, way: Way, lane: int) -> None:
    """Do something, struck at a place: the path is lost, and what was damaged has no effect."""
    rig.come_to_rest()
    before, rows = content(rig.spvol), rig.b.table()
    taken = rig.proxy.taken_count
    rig.proxy.refuse()
    rig.strike(place, way, lane)
    with contextlib.suppress(PyrepError):  # whoever asks is told; a write is marked, and done
        do()
    for system, other in ((rig.a, rig.b), (rig.b, rig.a)):
        wait_until(lambda s=system, o=other: not s.endpoint.is_connected(o.system_id))  # type: ignore[misc]
    assert content(rig.spvol) == before, f"{place}: a damaged frame was applied"
    assert [one.lineage for one in rig.b.table()] == [one.lineage for one in rows], place
    check_covered(rig.a, rig.b)
    rig.proxy.calm()
    wait_until(lambda: rig.proxy.taken_count >= taken + 2)
    rig.both(rig.pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol), place


@pytest.mark.timeout(0 if FLIPS == "all" else 240)
def test_a_damaged_frame_is_never_applied(live: LiveRig) -> None:
    live.come_to_rest()
    length = live.write()
    assert length > len(DATA)
    for number, place in enumerate(places(length, 1)):
        data = (number % 251).to_bytes(1, "little") * len(DATA)

        def write(data: bytes = data) -> int:
            live.pvol.pwrite(data, 4096)
            return 0

        befall(live, write, place, Way.THERE, 1)


@pytest.mark.timeout(0 if FLIPS == "all" else 240)
def test_a_damaged_command_is_never_obeyed_nor_answered(live: LiveRig) -> None:
    live.come_to_rest()
    for place in places(live.ask(), 2):
        befall(live, live.ask, place, Way.THERE, 0)


@pytest.mark.timeout(0 if FLIPS == "all" else 240)
def test_a_damaged_answer_is_never_taken(live: LiveRig) -> None:
    live.come_to_rest()
    (peer,) = live.a.state.peers.values()
    facts = peer.ask(ReadPair(pair_id=live.pair.pair_id))
    answered: list[object] = []

    def ask() -> int:
        answered.append(peer.ask(ReadPair(pair_id=live.pair.pair_id)))
        return 0

    for place in places(len(encode(facts)) + ENVELOPE_BYTES, 3):
        befall(live, ask, place, Way.BACK, 0)
    assert answered == []
