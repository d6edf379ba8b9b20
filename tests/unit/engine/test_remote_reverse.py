"""Copies home: from the secondary to the primary, interrupted and resumed."""

from __future__ import annotations

import pytest

from pyrep.errors import (
    CancelledError,
    FencedError,
    RefusedError,
)
from pyrep.model import Direction, PairStatus, SplitCause
from rig import LONG_S, Rig, content, equal, fill, refused, row_of


def test_a_reverse_resync_brings_the_secondary_content_home_and_ends_duplex(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    fill(rig.pvol, 8)
    expected = content(rig.spvol)
    job = pair.resync(direction=Direction.REVERSE, discard="100a")
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert pair.status().direction is Direction.FORWARD
    assert content(rig.pvol) == content(rig.spvol) == expected
    fill(rig.pvol, 9)
    assert equal(rig.pvol, rig.spvol)


def test_a_reverse_copy_that_lost_its_path_resumes_in_the_same_direction(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7, count=50)
    expected = content(rig.spvol)
    rig.path.stall()
    pair.resync(direction=Direction.REVERSE)
    rig.path.cut()
    row = row_of(rig.a, pair)
    assert (row.status, row.direction) == (PairStatus.COPY, Direction.REVERSE)
    with refused(FencedError, rig.a, names="105a"):
        rig.pvol.pread(1, 0)
    with refused(RefusedError, rig.a, names="COPY (reverse)"):
        pair.resync()
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


@pytest.mark.parametrize("crashed", ["100a", "100b"])
def test_a_crash_during_a_reverse_copy_resumes_it(rig: Rig, crashed: str) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7, count=50)
    expected = content(rig.spvol)
    rig.path.stall()
    pair.resync(direction=Direction.REVERSE)
    rig.reopen(crashed, crash=True)
    rig.path.resume()
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_secondary_that_crashed_when_only_it_had_ended_the_reverse_copy_is_copied_again(
    rig: Rig,
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    expected = content(rig.spvol)
    mirror = rig.a.state.mirror(pair.pair_id)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    # As if the primary had stopped between its secondary's end of the copy and its own.
    rig.path.cut()
    rig.a.state.change(
        mirror,
        status=PairStatus.COPY,
        cause=None,
        direction=Direction.REVERSE,
        target_consistent=False,
    )
    rig.reopen("100a", crash=True)
    rig.reopen("100b", crash=True)
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_cancelled_reverse_copy_can_be_resumed_or_stopped(rig: Rig) -> None:
    pair = rig.remote()
    for seed in range(5):
        pair.split()
        fill(rig.spvol, seed, count=50)
        expected = content(rig.spvol)
        job = pair.resync(direction=Direction.REVERSE)
        assert job is not None
        job.cancel()
        try:
            job.wait(LONG_S)
        except CancelledError:
            assert pair.status().status is PairStatus.COPY
            with refused(RefusedError, rig.a, names="reverse"):
                pair.resync()
            pair.split()
            assert rig.path.is_up
            with refused(RefusedError, rig.a, rig.b, names="only reverse resumes"):
                pair.resync()
            again = pair.resync(direction=Direction.REVERSE)
            assert again is not None
            again.wait(LONG_S)
        rig.both(pair, PairStatus.DUPLEX)
        assert content(rig.pvol) == content(rig.spvol) == expected


def test_the_primary_local_mirrors_are_split_before_a_reverse_copy(rig: Rig) -> None:
    pair = rig.remote()
    local = rig.a.create_local_pair("105a", "106a")
    local.wait(timeout_s=LONG_S)
    pair.split()
    fill(rig.spvol, 3)
    before = content(rig.pvol)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert local.status().cause is SplitCause.PROTECT
    assert content(rig.a.volume("106a")) == before
    assert equal(rig.pvol, rig.spvol)


def test_writes_of_a_local_copy_back_travel_home_with_the_remote_reverse_copy(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    local.split()
    expected = content(rig.svol)
    fill(rig.pvol, 5)
    pair.split()
    fill(rig.pvol, 6)
    job = local.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert content(rig.spvol) == expected
    home = pair.resync(discard="100a")
    assert home is not None
    home.wait(LONG_S)
    assert content(rig.pvol) == content(rig.spvol) == content(rig.svol) == expected


def test_reverse_resync_races_with_a_path_that_comes_and_goes(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 3, count=60)
    expected = content(rig.spvol)
    pair.resync(direction=Direction.REVERSE)
    for _ in range(10):
        rig.path.cut()
        rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected
