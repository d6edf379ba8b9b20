"""An old copy of a system that ran, put back: the identifiers that it has have grown older."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.errors import PathLostError, RefusedError
from pyrep.model import (
    AckPoint,
    Direction,
    PairStatus,
    Relation,
    SplitCause,
)
from pyrep.testing import wait_until
from rig import CHUNK, LONG_S, content, row_of
from unit.engine.running import REGION, Running, ages, look, opened


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Running]:
    yield from opened(tmp_path)


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
    assert ages(rig, pair) == (4, 4)
    assert row_of(rig.b, pair).lineage.point == row_of(rig.a, pair).lineage.point == point
    rig.path.resume()
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert ages(rig, pair) == (0, 0)  # of another name
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
    look(rig.ageing)
    wait_until(lambda: row_of(rig.b, pair).lineage.age == row_of(rig.a, pair).lineage.age == 2)
