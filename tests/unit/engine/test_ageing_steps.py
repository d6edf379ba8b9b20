"""An ageing that stops at one of its steps, whoever ends then, and what the secondary takes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import Pair
from pyrep.engine.peer import Peer
from pyrep.engine.state import SystemState
from pyrep.errors import NoSpaceError, PathLostError, PyrepError
from pyrep.interconnect.messages import AgedPairs, AgePairs, Answer, Message
from pyrep.meta import CopyTable
from pyrep.model import (
    Direction,
    PairStatus,
    Relation,
    SystemId,
    VolumeId,
)
from pyrep.testing import check_durable_first
from rig import CHUNK, LONG_S, content, row_of
from unit.engine.running import B, Running, ages, opened


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Running]:
    yield from opened(tmp_path)


STOPS = ["before 1", "behind 1", "before 2", "before 3", "behind 3"]


def _stop_at(stop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the path be lost, or tables be full, at one moment of an ageing."""
    ask, grow = Peer.ask, SystemState.age
    told: list[AgePairs] = []

    def asking(peer: Peer, message: Message) -> Answer:
        if not isinstance(message, AgePairs):
            return ask(peer, message)
        told.append(message)
        if stop == f"before {2 * len(told) - 1}":
            raise PathLostError("the order was lost")
        answer = ask(peer, message)
        if stop == f"behind {2 * len(told) - 1}":
            raise PathLostError("the answer was lost")
        return answer

    def growing(state: SystemState, ages: object) -> None:
        if stop == "before 2" and state.system_id == "100a":
            raise NoSpaceError("the tables are full", errno_code=28)
        grow(state, ages)  # type: ignore[arg-type]

    monkeypatch.setattr(Peer, "ask", asking)
    monkeypatch.setattr(SystemState, "age", growing)


AFTER = {
    "before 1": (0, 0),
    "behind 1": (0, 1),
    "before 2": (0, 1),
    "before 3": (2, 1),
    "behind 3": (2, 2),
}


@pytest.mark.parametrize("ends", ["cut", "100a", "100b"])
@pytest.mark.parametrize("stop", STOPS)
def test_two_sides_that_part_at_any_step_of_an_ageing_know_each_other(
    rig: Running, stop: str, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    pair = rig.remote()
    rig.settle()
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(stop, patch)
        with pytest.raises(PyrepError):
            rig.age()
    assert ages(rig, pair) == AFTER[stop]
    check_durable_first(rig.a, rig.b)
    rig.path.cut()
    with caplog.at_level(logging.WARNING):
        if ends != "cut":
            rig.reopen(ends, crash=True)
        assert ages(rig, pair) == AFTER[stop]
        rig.write(3)
        rig.reconnect()
        rig.both(pair, PairStatus.DUPLEX)
    assert "pair.meeting" not in caplog.text  # told when it isn't by bits
    assert content(rig.pvol) == content(rig.spvol)
    assert rig.age() == {pair.pair_id}


@pytest.mark.parametrize("stop", STOPS)
def test_what_was_left_half_way_is_made_good_by_the_next_one(rig: Running, stop: str) -> None:
    pair = rig.remote()
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(stop, patch)
        with pytest.raises(PyrepError):
            rig.age()
    assert rig.age() == {pair.pair_id}
    here, there = ages(rig, pair)
    assert here == there == (4 if AFTER[stop][0] else 2)


@pytest.mark.parametrize("stop", STOPS)
def test_a_secondary_that_is_written_to_after_half_an_ageing_is_copied_back_by_its_bits(
    rig: Running, stop: str
) -> None:
    pair = rig.remote()
    with pytest.MonkeyPatch.context() as patch:
        _stop_at(stop, patch)
        with pytest.raises(PyrepError):
            rig.age()
    pair.split()
    rig.spvol.pwrite(b"s" * CHUNK, 0)
    told = pair.estimate()
    assert (told.relation, told.direction, told.chunks) == (Relation.BITMAP, "reverse", 1)
    newest = content(rig.spvol)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == newest


def test_full_tables_of_the_secondary_leave_both_sides_as_they_were(
    rig: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()

    def full(table: CopyTable, rows: object) -> None:
        raise NoSpaceError(f"{table} is full of {rows}", errno_code=28)

    with monkeypatch.context() as patch:
        patch.setattr(CopyTable, "set_ages", full)
        with pytest.raises(NoSpaceError):
            rig.age()
        assert ages(rig, pair) == (0, 0)
        check_durable_first(rig.a, rig.b)
    assert rig.age() == {pair.pair_id}


def _told(rig: Running, pair: Pair, *, point: int, age: int) -> list[str]:
    peer = rig.a.state.peer(B)
    answer = peer.ask(AgePairs(pair_ids=[pair.pair_id], points=[point], ages=[age]))
    assert isinstance(answer, AgedPairs)
    return answer.pair_ids


def test_the_secondary_ages_only_what_is_called_so_and_step_by_step(rig: Running) -> None:
    pair = rig.remote()
    point = row_of(rig.b, pair).lineage.point
    for name, age in [(point + 1, 1), (point, 3), (point, -1), (point, 1 << 64 - 1)]:
        assert _told(rig, pair, point=name, age=age) == []
        assert row_of(rig.b, pair).lineage.age == 0
    for age in (1, 1, 2, 2, 4):
        assert _told(rig, pair, point=point, age=age) == [pair.pair_id]
    assert _told(rig, pair, point=point, age=3) == []
    pair.split()
    assert _told(rig, pair, point=point, age=5) == []
    peer = rig.a.state.peer(B)
    unknown = peer.ask(AgePairs(pair_ids=["100a.9"], points=[1], ages=[1]))
    assert unknown == AgedPairs(pair_ids=[])
    with pytest.raises(PyrepError, match="other pairs than it names"):
        peer.ask(AgePairs(pair_ids=[pair.pair_id], points=[point], ages=[]))


def test_an_order_of_a_connection_that_was_given_up_ages_nothing(rig: Running) -> None:
    pair = rig.remote()
    point = row_of(rig.b, pair).lineage.point
    late = AgePairs(pair_ids=[pair.pair_id], points=[point], ages=[1])
    peer = rig.b.state.peer(SystemId("100a"))
    connection = peer.connection()
    rig.path.cut()
    rig.path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    before = row_of(rig.b, pair).lineage
    with pytest.raises(PathLostError):
        rig.b._secondary.age(peer, connection, late)
    assert row_of(rig.b, pair).lineage == before


def test_a_pair_that_a_command_takes_between_two_steps_keeps_its_age(
    rig: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command has looked at the row before, and writes the whole of it."""
    pair = rig.remote()
    ask = Peer.ask
    with contextlib.ExitStack() as held, monkeypatch.context() as patch:

        def asking(peer: Peer, message: Message) -> Answer:
            answer = ask(peer, message)
            held.enter_context(rig.a.state.operation("try", [pair.pair_id]))
            return answer

        patch.setattr(Peer, "ask", asking)
        assert rig.age() == set()
        assert ages(rig, pair) == (0, 1)
    rig.ageing.backoff.forget(pair.pair_id)
    assert rig.age() == {pair.pair_id}
    assert ages(rig, pair) == (2, 2)


def test_what_was_written_is_durable_at_the_primary_before_the_identifier_is_older(
    rig: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy of its disk, made from then on, would lack it, and would have the same identifier."""
    rig.remote()
    done: list[str] = []
    ask = Peer.ask
    live = rig.a.state.volume(VolumeId("105a"))
    assert live.log is not None
    flush = live.log.flush

    def asking(peer: Peer, message: Message) -> Answer:
        done.append(type(message).__name__)
        return ask(peer, message)

    def flushing() -> None:
        done.append("flush")
        flush()

    monkeypatch.setattr(Peer, "ask", asking)
    monkeypatch.setattr(live.log, "flush", flushing)
    rig.age()
    assert done == ["flush", "AgePairs", "AgePairs"]
