"""What is done by name alone: inconsistent data copied or left, one side of a pair dissolved."""

from __future__ import annotations

import pytest

from pyrep.engine import Pair
from pyrep.errors import FencedError, InvalidArgumentError, PathLostError, RefusedError
from pyrep.model import Direction, Force, PairStatus
from pyrep.testing import wait_until
from rig import LONG_S, Rig, content, equal, fill, refused, row_of


def _half_way_back(rig: Rig) -> Pair:
    """Break a reverse copy of the remote pair off: 105a is half-way."""
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7, count=50)
    rig.path.stall()
    pair.resync(direction=Direction.REVERSE)
    rig.path.cut()
    pair.split()
    rig.path.connect()
    wait_until(lambda: row_of(rig.b, pair).status is PairStatus.SPLIT)
    return pair


def test_a_volume_left_half_way_is_copied_from_only_by_name(rig: Rig) -> None:
    pair = _half_way_back(rig)
    with refused(RefusedError, rig.a, rig.b, names="only reverse resumes"):
        pair.resync()
    with refused(InvalidArgumentError, rig.a, rig.b, names="says nothing of it", hint=False):
        pair.resync(force=Force.INCONSISTENT_LEFT)
    job = pair.resync(force=Force.INCONSISTENT_SOURCE)
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    rig.pvol.pread(1, 0)


def test_an_inconsistent_secondary_is_copied_back_only_by_name(rig: Rig) -> None:
    fill(rig.pvol, 1, count=100)
    rig.path.stall()
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    rig.path.cut()
    pair.split()
    rig.path.connect()
    wait_until(lambda: row_of(rig.b, pair).status is PairStatus.SPLIT)
    assert not row_of(rig.a, pair).target_consistent
    with refused(RefusedError, rig.a, rig.b, names="only forward resumes"):
        pair.resync(direction=Direction.REVERSE)
    job = pair.resync(direction=Direction.REVERSE, force=Force.INCONSISTENT_SOURCE)
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_pair_whose_volume_is_half_way_is_dissolved_only_by_name(rig: Rig) -> None:
    pair = _half_way_back(rig)
    with refused(FencedError, rig.a, names="105a"):
        rig.pvol.pread(1, 0)
    with refused(RefusedError, rig.a, rig.b, names="inconsistent"):
        pair.dissolve()
    pair.dissolve(force=Force.INCONSISTENT_LEFT)
    assert rig.a.pairs() == rig.b.pairs() == ()
    rig.pvol.pwrite(b"again", 0)


def test_a_local_pair_is_copied_from_an_inconsistent_source_by_name_and_says_so(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    local.split()
    rig.reopen("100b", crash=True)  # 105b may be torn, and has no path
    again = rig.b.pair(local.pair_id)
    with refused(RefusedError, rig.b, names="inconsistent"):
        again.resync()
    job = again.resync(force=Force.INCONSISTENT_SOURCE)
    assert job is not None
    job.wait(LONG_S)
    assert not again.row.target_consistent
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert content(rig.pvol) == content(rig.spvol)


@pytest.mark.parametrize("who", ["100a", "100b"])
def test_a_pair_is_dissolved_without_its_peer_only_when_that_is_away(rig: Rig, who: str) -> None:
    pair = rig.remote()
    pair.split()
    here = rig.systems[who].pair(pair.pair_id)
    with refused(RefusedError, rig.a, rig.b, names="path to it is up"):
        here.dissolve(without_peer=True)
    rig.path.cut()
    if who == "100a":
        with refused(PathLostError, rig.a, names="100b"):
            here.dissolve()
    here.dissolve(without_peer=True)
    assert rig.systems[who].pairs() == ()
    rig.systems[who].volume("105a" if who == "100a" else "105b").pwrite(b"mine", 0)
    rig.path.connect()
    if who == "100a":
        wait_until(lambda: not rig.b.pairs())
    else:
        rig.a.pair(pair.pair_id).dissolve()
    assert rig.a.pairs() == rig.b.pairs() == ()
