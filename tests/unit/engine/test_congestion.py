"""A full queue: writers that wait, and groups that pull ahead and come back by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pyrep.engine import Options, Pair, Volume
from pyrep.engine.state import SystemState
from pyrep.errors import RefusedError
from pyrep.model import AckPoint, Congestion, GenerationCause, PairStatus, SplitCause
from pyrep.testing import check_covered, wait_until
from rig import LONG_S, MIB, Rig, content, equal, refused, row_of

SIZE_BYTES = 16 * MIB
QUEUE_BYTES = 4 * MIB

Build = Callable[..., Rig]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    made: list[Rig] = []

    def make(**options: float) -> Rig:
        rig = Rig(tmp_path)
        rig.options["100a"] = Options(queue_bytes=QUEUE_BYTES, **options)  # type: ignore[arg-type]
        made.append(rig)
        return rig.build(size=SIZE_BYTES)

    yield make
    for rig in made:
        rig.close()


def ahead(rig: Rig, *, ack: AckPoint = AckPoint.QUEUED) -> Pair:
    return rig.remote(ack=ack, congestion=Congestion.PULL_AHEAD)


def overflow(volume: Volume, *, start: int = 0) -> None:
    """Write more than the queue takes, in ascending order."""
    for number in range(start, start + 6):
        volume.pwrite(bytes([65 + number]) * MIB, number * MIB)


def is_congested(pair: Pair) -> bool:
    state = pair.status()
    return (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.CONGESTED)


@pytest.mark.parametrize("ack", AckPoint)
def test_hosts_go_on_marked_and_the_pair_comes_back_when_the_queue_has_drained(
    build: Build, ack: AckPoint
) -> None:
    rig = build()
    pair = ahead(rig, ack=AckPoint.QUEUED)
    other = None
    if ack is not AckPoint.QUEUED:  # of another volume in the same group
        other = rig.a.create_remote_pair(
            "106a", "100b", "107b", group=pair.group_id, ack=ack, congestion=Congestion.PULL_AHEAD
        )
        other.wait(timeout_s=LONG_S)
    local = rig.local()
    rig.path.stall()
    overflow(rig.pvol)  # nothing takes what is queued: it would never return
    assert is_congested(pair)
    assert pair.status().target_consistent
    if other is not None:
        rig.a.volume("106a").pwrite(b"marked, and not waited for", 0)
        assert is_congested(other)
    check_covered(rig.a, rig.b)
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX  # its records still come
    rig.path.resume()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    # What 105b held before it was copied into: the moment at which the group left the queue.
    assert row_of(rig.b, local).cause is SplitCause.PROTECT
    (generation,) = rig.b.list_generations()
    assert generation.cause is GenerationCause.PROTECT
    held = content(rig.svol)
    written = [held[number * MIB] for number in range(6)]
    whole = [65 + number for number in range(6)]
    count = sum(1 for one, now in zip(written, whole, strict=True) if one == now)
    assert 0 < count < 6
    assert written[:count] == whole[:count]
    assert content(rig.svol)[count * MIB :] != content(rig.pvol)[count * MIB :]
    if other is not None:
        rig.both(other, PairStatus.DUPLEX)
        assert equal(rig.a.volume("106a"), rig.b.volume("107b"))


def test_a_pair_that_goes_round_tells_how_often_it_pulled_ahead_and_when(build: Build) -> None:
    rig = build()
    pair = ahead(rig)
    state = pair.status()
    assert (state.pulled_ahead_count, state.pulled_ahead_at) == (0, None)
    times = [datetime.now(UTC)]
    for count in (1, 2):
        rig.path.stall()
        overflow(rig.pvol)
        wait_until(lambda: is_congested(pair))  # the copy before may still be ending
        rig.path.resume()
        rig.both(pair, PairStatus.DUPLEX)
        state = pair.status()  # over the whole round: each copy was short
        assert (state.converges, state.pulled_ahead_count) == (True, count)
        assert state.pulled_ahead_at is not None
        times += [state.pulled_ahead_at, datetime.now(UTC)]
    assert times == sorted(times)


def test_nothing_is_copied_before_the_queue_has_drained(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy goes out of order: among records that are still queued it would tear 105b's moment."""
    rig = build()
    pair = ahead(rig)
    rig.path.stall()
    overflow(rig.pvol)
    assert is_congested(pair)
    begun: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(SystemState, "background", lambda _state, name, _work: begun.append(name))
        rig.a.remote_pairs.congestion.resume_drained()
    assert begun == []
    rig.path.resume()
    rig.both(pair, PairStatus.DUPLEX)


def test_it_stays_congested_over_a_restart_and_resumes_with_the_path(build: Build) -> None:
    rig = build()
    pair = ahead(rig)
    rig.path.stall()
    overflow(rig.pvol)
    assert is_congested(pair)
    rig.path.cut()
    rig.reopen("100a")
    assert is_congested(rig.a.pair(pair.pair_id))
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_congested_pair_that_is_split_on_request_stays_split(build: Build) -> None:
    rig = build()
    pair = ahead(rig)
    rig.path.stall()
    overflow(rig.pvol)
    assert is_congested(pair)
    splitting = threading.Thread(target=pair.split)
    splitting.start()  # it waits for what is queued
    rig.path.resume()
    splitting.join()
    rig.both(pair, PairStatus.SPLIT)
    assert row_of(rig.a, pair).cause is SplitCause.REQUESTED
    assert row_of(rig.b, pair).cause is SplitCause.REQUESTED


def test_blocked_writers_wait_for_room_and_nothing_is_split(build: Build) -> None:
    rig = build(ack_timeout_s=LONG_S)
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.path.stall()
    host = threading.Thread(target=overflow, args=(rig.pvol,))
    host.start()
    stream = rig.a.state.peer(rig.b.system_id).outlet(row_of(rig.a, pair).group_id or "").stream  # type: ignore[arg-type]
    wait_until(lambda: stream.info().full_s > 0)
    lag = pair.status().lag
    assert lag is not None
    assert lag.queued_bytes > QUEUE_BYTES // 2
    assert lag.records > 0
    assert 0 < lag.received_s <= lag.durable_s
    assert pair.status().status is PairStatus.DUPLEX
    assert host.is_alive()
    rig.path.resume()
    host.join()
    wait_until(lambda: pair.status().lag is not None and not pair.status().unsettled)
    now = pair.status().lag
    assert now is not None
    assert (now.records, now.queued_bytes, now.received_s, now.durable_s) == (0, 0, 0.0, 0.0)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("ack", AckPoint)
@pytest.mark.parametrize("through_io", [False, True])
def test_a_writer_that_finds_no_room_in_time_takes_the_path_for_lost(
    build: Build, ack: AckPoint, through_io: bool
) -> None:
    rig = build(ack_timeout_s=0.3)
    pair = rig.remote(ack=ack)
    rig.path.stall()
    if through_io:
        with rig.pvol.io() as io:
            for number in range(6):
                io.pwrite(bytes([65 + number]) * MIB, number * MIB)
    else:
        overflow(rig.pvol)
    wait_until(lambda: row_of(rig.a, pair).cause is SplitCause.PATH_LOST)
    check_covered(rig.a, rig.b)
    rig.path.resume()
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_during_a_copy_hosts_do_not_wait_either(build: Build) -> None:
    rig = build()
    pair = ahead(rig)
    pair.split()
    overflow(rig.pvol)
    rig.path.stall()
    job = pair.resync()
    assert job is not None
    overflow(rig.pvol)  # into a queue that a copy and these have filled: left to the copy
    overflow(rig.pvol, start=3)
    assert pair.status().status is PairStatus.COPY
    rig.path.resume()
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert pair.status().pending_count == 0


def test_a_group_has_one_policy(build: Build) -> None:
    rig = build()
    rig.remote(group="g", congestion=Congestion.PULL_AHEAD)
    with refused(RefusedError, rig.a, rig.b, names="group g"):
        rig.a.create_remote_pair("106a", "100b", "107b", group="g")


def test_a_copy_that_hosts_leave_no_room_says_so_until_they_do(build: Build) -> None:
    rig = build(converge_window_s=0, converge_share=0.01, ack_timeout_s=LONG_S)
    pair = rig.remote()
    assert pair.status().converges
    pair.split()
    overflow(rig.pvol)
    rig.path.stall()
    job = pair.resync()
    assert job is not None
    chunks = rig.a.state.mirror(pair.pair_id).link
    wait_until(lambda: chunks.pending_count() < 6 * MIB // chunks.chunk_bytes)
    hosts = [
        threading.Thread(target=rig.pvol.pwrite, args=(bytes(MIB), 0), name=f"host {number}")
        for number in range(4)
    ]
    for host in hosts:
        host.start()
    wait_until(lambda: not pair.status().converges)
    rig.path.resume()
    for host in hosts:
        host.join()
    job.wait(LONG_S)
    wait_until(lambda: pair.status().converges)
    assert equal(rig.pvol, rig.spvol)
