"""When identifiers grow older."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import Options
from pyrep.engine.ageing import Ageing
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.peer import Peer
from pyrep.errors import NoSpaceError
from pyrep.interconnect.messages import AgePairs, Answer, Message
from pyrep.meta import CopyTable
from pyrep.model import (
    AckPoint,
    GroupId,
    PairStatus,
)
from pyrep.seams import Connection
from pyrep.testing import wait_quiet, wait_until
from rig import LONG_S
from unit.engine.running import SIZE, B, Running, ages, look, opened


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Running]:
    yield from opened(tmp_path)


class _Timed:
    """The ageing of a rig, by a clock that is set by hand."""

    def __init__(self, rig: Running) -> None:
        self.rig = rig
        self.now_s = 1000.0
        rig.ageing.clock = lambda: self.now_s
        rig.ageing.backoff.clock = lambda: self.now_s

    def look(self, after_s: float) -> list[int]:
        """Look so many seconds later; return the ages of all pairs then."""
        self.now_s += after_s
        look(self.rig.ageing)
        wait_quiet(self.rig.a)
        return [row.lineage.age for row in self.rig.a.table()]


def test_an_identifier_grows_older_once_a_minute_while_something_is_written(rig: Running) -> None:
    rig.remote()
    rig.settle()
    timed = _Timed(rig)
    assert timed.look(0) == [2]  # DUPLEX
    assert timed.look(1000) == [2]
    rig.write(3)
    rig.settle()
    assert timed.look(1) == [4]  # it was long ago
    rig.write(3)
    rig.settle()
    assert timed.look(58) == [4]
    assert timed.look(2) == [6]
    assert timed.look(1000) == [6]


def test_what_was_on_its_way_lets_it_grow_older_once_more(
    rig: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of the secondary that was made before it arrived has the identifier of this time."""
    rig.remote(ack=AckPoint.QUEUED)
    rig.settle()
    timed = _Timed(rig)
    assert timed.look(0) == [2]
    kept: list[tuple[SystemEndpoint, Connection, bytes]] = []
    (mirror,) = rig.a.state.mirrors.values()
    outlet = rig.a.state.peer(B).known_outlet(mirror.row.group_id or GroupId(""))
    assert outlet is not None
    stream = outlet.stream
    with monkeypatch.context() as patch:
        patch.setattr(SystemEndpoint, "take_ack", lambda *ack: kept.append(ack))
        last = stream.info().last
        rig.write(3)
        wait_until(lambda: stream.info().taken == last + 1)
        stream.barrier()
        wait_until(lambda: stream.info().taken == last + 2)
        wait_until(lambda: len(kept) == 2)
        assert timed.look(60) == [4]
    for endpoint, connection, ack in kept:
        endpoint.take_ack(connection, ack)
    wait_until(lambda: not mirror.link.info().any_unsettled)
    assert stream.info().last == last + 2  # nothing was written since
    assert timed.look(59) == [4]
    assert timed.look(2) == [6]
    assert timed.look(1000) == [6]


def test_what_is_due_soon_comes_along(rig: Running) -> None:
    for side, volume in ((rig.a, "205a"), (rig.b, "205b")):
        side.create_volume(volume, SIZE)
    pair, other = rig.remote(), rig.a.create_remote_pair("205a", "100b", "205b")
    other.wait(timeout_s=LONG_S)
    rig.settle()
    timed = _Timed(rig)
    assert timed.look(0) == [2, 2]
    rig.write(3)
    rig.settle()
    assert timed.look(60) == [4, 2]
    rig.write(3)
    rig.a.volume("205a").pwrite(b"x", 0)
    rig.settle()
    told: list[AgePairs] = []
    ask = Peer.ask
    with pytest.MonkeyPatch.context() as patch:

        def asking(peer: Peer, message: Message) -> Answer:
            told.extend([message] if isinstance(message, AgePairs) else [])
            return ask(peer, message)

        patch.setattr(Peer, "ask", asking)
        assert timed.look(31) == [6, 4]
    assert [one.pair_ids for one in told] == [[pair.pair_id, other.pair_id]] * 2


def test_a_pair_that_a_command_has_waits_and_isnt_asked_about_all_the_time(rig: Running) -> None:
    pair = rig.remote()
    rig.settle()
    timed = _Timed(rig)
    with rig.a.state.operation("try", [pair.pair_id]):
        assert timed.look(0) == [0]
    assert timed.look(1) == [2]


def test_a_secondary_that_cannot_write_is_told_of_once_and_rests(
    rig: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig.remote()
    rig.settle()
    timed = _Timed(rig)

    def full(table: CopyTable, rows: object) -> None:
        raise NoSpaceError(f"{table} is full of {rows}", errno_code=28)

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(CopyTable, "set_ages", full)
        for _ in range(3):
            assert timed.look(0.4) == [0]
    assert caplog.text.count("pair.age peer=100b") == 1
    assert timed.look(1) == [2]


def test_the_watch_lets_identifiers_grow_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ageing, "look", look)
    rig = Running(tmp_path).build()
    try:
        pair = rig.remote()
        wait_until(lambda: ages(rig, pair) == (2, 2))
    finally:
        rig.close()


def test_never_is_never(rig: Running) -> None:
    rig.options["100a"] = Options(ageing_s=0)
    pair = rig.remote()
    rig.path.cut()
    rig.reopen("100a")
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    assert _Timed(rig).look(1000) == [0]
