"""An old copy of a system that ran, put back: the identifiers that it has have grown older."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import ChangedBacking, Options, Pair
from pyrep.engine.ageing import Ageing
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.peer import Peer
from pyrep.engine.state import SystemState
from pyrep.errors import NoSpaceError, PathLostError, PyrepError, RefusedError
from pyrep.interconnect.messages import AgedPairs, AgePairs, Answer, Message
from pyrep.meta import CopyTable
from pyrep.model import (
    AckPoint,
    Direction,
    GroupId,
    PairStatus,
    Relation,
    SplitCause,
    SystemId,
    VolumeId,
)
from pyrep.seams import Connection
from pyrep.testing import check_durable_first, wait_quiet, wait_until
from rig import CHUNK, LONG_S, Rig, content, row_of

REGION = 1 << 20
REGIONS = 36
HOT = 16
SIZE = REGIONS * REGION
B = SystemId("100b")
OPTIONS = Options(
    hot_regions=HOT, region_bytes=REGION, changed_backing=ChangedBacking.ASSUME_UNCHANGED
)

_look = Ageing.look
"""As it is: the tests' configuration lets identifiers grow older only when a test says so."""


class Running(Rig):
    """100a with 105a, 100b with 105b, of several regions, and copies of them as they run."""

    def build(self, *, size: int = SIZE) -> Running:
        for system_id in ("100a", "100b"):
            self.options[system_id] = OPTIONS
        self.make("100a", "105a", size=size)
        self.make("100b", "105b", size=size)
        self.path = self.connect("100a", "100b")
        return self

    @property
    def ageing(self) -> Ageing:
        """What 100a lets grow older."""
        return self.a.remote_pairs.ageing

    def age(self) -> set[str]:
        """Let identifiers grow older now; return of which pairs they did."""
        return set(self.ageing.age(B, at_once=True))

    def settle(self) -> None:
        """Let everything that was written be durable at both sides, and known to be."""
        for mirror in list(self.a.state.mirrors.values()):
            self.a.remote_pairs.line.drain(mirror)
        links = [one.link for one in self.a.state.mirrors.values()]
        self.pvol.flush()
        wait_until(lambda: not any(one.info().any_unsettled for one in links))

    def copy(self, system_id: str) -> None:
        """Copy a system's directory as it runs, at one moment: nobody writes."""
        self.settle()
        shutil.copytree(self.root / system_id, self.root / f"{system_id}.kept")

    def put_back(self, system_id: str) -> None:
        """Lose a system, and put the copy in its place, into the same files."""
        here, kept = self.root / system_id, self.root / f"{system_id}.kept"
        self.systems[system_id].abort()
        for path in here.rglob("*"):
            if path.is_file() and not (kept / path.relative_to(here)).exists():
                path.unlink()
        for path in kept.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, here / path.relative_to(kept))
        self.open(system_id)
        self.reconnect()

    def write(self, *regions: int, byte: bytes = b"x") -> None:
        """Write a chunk of each of these regions."""
        for one in regions:
            self.pvol.pwrite(byte * CHUNK, one * REGION)

    def cool(self) -> None:
        """Let what was written be cold at both sides: other regions are hot, and rows are saved."""
        for _ in range(2):
            self.settle()
            self.write(*range(HOT + 1), byte=b"c")
        self.settle()
        for system in (self.a, self.b):
            for volume_id, live in system.state.live.items():
                assert live.log is not None, volume_id
                live.log.checkpoint()
            for mirror in system.state.mirrors.values():
                mirror.save()

    def relation(self, pair: Pair) -> Relation:
        """Return what the two sides are to each other."""
        met = self.a.remote_pairs.meetings.read(self.a.state.mirror(pair.pair_id))
        return met.meeting.relation


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path).build()
    yield made
    made.close()


COLD = 30
"""A region that no test leaves hot."""


def _go_on_beyond(rig: Running) -> bytes:
    """Write where it is cold at both sides afterwards; return what is newest."""
    rig.write(COLD, byte=b"n")
    rig.cool()
    for system in (rig.a, rig.b):
        (mirror,) = system.state.mirrors.values()
        assert not mirror.pending().test(COLD * REGION // CHUNK)
    return content(rig.pvol)


@pytest.mark.parametrize("ack", list(AckPoint))
def test_an_old_copy_of_a_secondary_that_ran_is_copied_to_in_full(
    rig: Running, ack: AckPoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing but the age of its identifier says that it lacks what was written since."""
    pair = rig.remote(ack=ack)
    rig.cool()
    rig.copy("100b")
    newest = _go_on_beyond(rig)
    assert rig.age() == {pair.pair_id}
    with caplog.at_level(logging.WARNING):
        rig.put_back("100b")
        rig.both(pair, PairStatus.DUPLEX)
    assert f"relation={Relation.FULL} direction={Direction.FORWARD}" in caplog.text
    assert content(rig.pvol) == content(rig.spvol) == newest


@pytest.mark.parametrize("ack", list(AckPoint))
def test_an_old_copy_of_a_primary_that_ran_never_goes_over_newer_data_by_itself(
    rig: Running, ack: AckPoint
) -> None:
    pair = rig.remote(ack=ack)
    rig.cool()
    rig.copy("100a")
    newest = _go_on_beyond(rig)
    assert rig.age() == {pair.pair_id}
    rig.put_back("100a")
    pair = rig.a.pair(pair.pair_id)
    wait_until(lambda: pair.status().cause is SplitCause.SPLIT_BRAIN)
    assert content(rig.spvol) == newest != content(rig.pvol)
    with pytest.raises(RefusedError, match="an old copy of one was put back"):
        pair.resync()
    job = pair.resync(discard="100a")
    assert job is not None
    job.wait(LONG_S)
    assert content(rig.pvol) == content(rig.spvol) == newest


@pytest.mark.parametrize("system_id", ["100a", "100b"])
def test_a_copy_that_was_made_while_a_copy_ran_is_told_too(
    rig: Running, system_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is copied leaves the bits of the side that goes on, and of neither in the copy."""
    pair = rig.remote()
    pair.split()
    rig.write(COLD, COLD + 1)
    with monkeypatch.context() as patch:
        patch.setattr("pyrep.engine.remote_copies.RemoteCopies._finish_forward", _waiting)
        job = pair.resync()
        assert job is not None
        wait_until(lambda: row_of(rig.b, pair).status is PairStatus.COPY)
        wait_until(lambda: job.is_done)
        shutil.copytree(rig.root / system_id, rig.root / f"{system_id}.kept")
        before = row_of(rig.a, pair).lineage
        assert rig.age() == {pair.pair_id}
        after = row_of(rig.a, pair).lineage
        assert (after.point, after.age) == (before.point, before.age + 2)
        assert row_of(rig.b, pair).lineage.age == after.age
    rig.put_back(system_id)
    if system_id == "100a":
        pair = rig.a.pair(pair.pair_id)
        wait_until(lambda: pair.status().cause is SplitCause.SPLIT_BRAIN)
    else:
        rig.both(pair, PairStatus.DUPLEX)
        assert content(rig.pvol) == content(rig.spvol)


def test_identifiers_grow_older_while_a_copy_goes_back(rig: Running) -> None:
    """Who copies is the secondary; who leads is the primary, as ever."""
    pair = rig.remote()
    pair.split()
    rig.spvol.pwrite(b"s" * CHUNK, COLD * REGION)
    rig.path.stall()
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    rig.both(pair, PairStatus.COPY)
    point = row_of(rig.a, pair).lineage.point
    assert rig.age() == rig.age() == {pair.pair_id}
    assert _ages(rig, pair) == (4, 4)
    assert row_of(rig.b, pair).lineage.point == row_of(rig.a, pair).lineage.point == point
    rig.path.resume()
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert _ages(rig, pair) == (0, 0)  # of another name
    assert content(rig.pvol) == content(rig.spvol)


def _waiting(*_: object) -> None:
    raise PathLostError("not ended yet")


def test_a_name_that_a_copy_already_has_is_old_as_soon_as_the_pair_is_duplex(rig: Running) -> None:
    """The primary's is given at its split, which may be long before both sides have it."""
    pair = rig.remote()
    rig.path.cut()
    wait_until(lambda: row_of(rig.a, pair).status is PairStatus.SPLIT)
    name = row_of(rig.a, pair).lineage.current
    rig.path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    assert row_of(rig.b, pair).lineage.current == name
    _look(rig.ageing)
    wait_until(lambda: row_of(rig.b, pair).lineage.age == row_of(rig.a, pair).lineage.age == 2)


# --- whoever ends, wherever it is cut ------------------------------------------------------------

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


def _ages(rig: Running, pair: Pair) -> tuple[int, int]:
    return row_of(rig.a, pair).lineage.age, row_of(rig.b, pair).lineage.age


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
    assert _ages(rig, pair) == AFTER[stop]
    check_durable_first(rig.a, rig.b)
    rig.path.cut()
    with caplog.at_level(logging.WARNING):
        if ends != "cut":
            rig.reopen(ends, crash=True)
        assert _ages(rig, pair) == AFTER[stop]
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
    here, there = _ages(rig, pair)
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
        assert _ages(rig, pair) == (0, 0)
        check_durable_first(rig.a, rig.b)
    assert rig.age() == {pair.pair_id}


# --- what the secondary takes --------------------------------------------------------------------


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


# --- when ----------------------------------------------------------------------------------------


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
        _look(self.rig.ageing)
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
        assert _ages(rig, pair) == (0, 1)
    rig.ageing.backoff.forget(pair.pair_id)
    assert rig.age() == {pair.pair_id}
    assert _ages(rig, pair) == (2, 2)


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


def test_the_watch_lets_identifiers_grow_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ageing, "look", _look)
    rig = Running(tmp_path).build()
    try:
        pair = rig.remote()
        wait_until(lambda: _ages(rig, pair) == (2, 2))
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
