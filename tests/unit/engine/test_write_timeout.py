"""A synchronous write never hangs past its time-out: half-open paths, holds, disks that stall."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep._core import CutItem, CutVerb, group_cut
from pyrep.engine import Options, Pair
from pyrep.model import AckPoint, GroupId, PairStatus, SplitCause
from pyrep.testing import SimulatedPath, check_covered, connect_simulated, wait_until
from rig import LONG_S, Rig, equal, fill, row_of

SOON_S = 0.3
SYNC = [AckPoint.RECEIVED, AckPoint.DURABLE]


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.options["100a"] = Options(ack_timeout_s=SOON_S)
    yield rig.build()
    rig.close()


def is_lost(rig: Rig, pair: Pair) -> bool:
    return row_of(rig.a, pair).cause is SplitCause.PATH_LOST


@pytest.mark.parametrize("ack", SYNC)
def test_a_write_in_a_hold_that_does_not_end_is_done_all_the_same(
    hasty: Rig, ack: AckPoint
) -> None:
    pair = hasty.remote(ack=ack)
    outlet = hasty.a.state.peer(hasty.b.system_id).outlet(pair.group_id or GroupId(""))
    cork = [CutItem(verb=CutVerb.CORK, on=outlet.stream)]
    group_cut(cork, timeout_s=LONG_S, wake=hasty.a.state.wake)
    fill(hasty.pvol, 2, count=1)
    wait_until(lambda: is_lost(hasty, pair))
    check_covered(hasty.a, hasty.b)
    hasty.reconnect()
    hasty.both(pair, PairStatus.DUPLEX)
    assert equal(hasty.pvol, hasty.spvol)


@pytest.fixture
def half_open(tmp_path: Path) -> Iterator[tuple[Rig, SimulatedPath]]:
    rig = Rig(tmp_path)
    rig.options["100a"] = Options(ack_timeout_s=SOON_S)
    rig.make("100a", "105a", "106a")
    rig.make("100b", "105b", "106b", "107b")
    # Nobody notices by himself: the time-out is all there is.
    path = connect_simulated(rig.a, rig.b, notice_s=1e6)
    yield rig, path
    rig.close()


@pytest.mark.parametrize("ack", SYNC)
def test_a_half_open_path_costs_a_write_its_time_out(
    half_open: tuple[Rig, SimulatedPath], ack: AckPoint
) -> None:
    rig, path = half_open
    pair = rig.remote(ack=ack)
    path.fall_silent()
    rig.pvol.pwrite(b"into silence", 0)
    wait_until(lambda: is_lost(rig, pair))
    check_covered(rig.a, rig.b)
    rig.pvol.pwrite(b"marked, at once", 4096)
    path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("ack", SYNC)
def test_a_peer_that_takes_records_and_never_answers_costs_a_write_its_time_out(
    hasty: Rig, ack: AckPoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk stalls in the middle of a frame."""
    pair = hasty.remote(ack=ack)
    stalls, goes_on = threading.Event(), threading.Event()
    take_frame = hasty.b.endpoint.take_frame

    def stalled(*what: object) -> None:
        stalls.set()
        goes_on.wait()
        take_frame(*what)  # type: ignore[arg-type]

    monkeypatch.setattr(hasty.b.endpoint, "take_frame", stalled)
    hasty.pvol.pwrite(b"stuck there", 0)
    assert stalls.is_set()
    stream = hasty.a.state.peer(hasty.b.system_id).known_outlet(pair.group_id or GroupId(""))
    assert stream is not None
    assert not stream.stream.info().open
    hasty.pvol.pwrite(b"marked, at once", 4096)
    goes_on.set()
    wait_until(lambda: is_lost(hasty, pair))
    check_covered(hasty.a, hasty.b)
    monkeypatch.undo()
    hasty.reconnect()
    hasty.both(pair, PairStatus.DUPLEX)
    assert equal(hasty.pvol, hasty.spvol)
