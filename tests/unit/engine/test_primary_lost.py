"""The primary is lost for good: what the secondary has is reached without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep import Force
from pyrep.engine import Pair
from pyrep.errors import RefusedError
from pyrep.model import CopyRate, Direction, PairStatus
from pyrep.testing import wait_until
from rig import CHUNK, LONG_S, SIZE, Rig, content, fill, refused, row_of


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path).build()
    yield made
    made.close()


def _lost_amid_a_copy(rig: Rig, direction: Direction) -> Pair:
    """Lose 100a while the remote pair copies, 106b having split before; return 100b's pair."""
    pair = rig.remote()
    local = rig.local()
    local.split(label="before")
    pair.split()
    source = rig.pvol if direction is Direction.FORWARD else rig.spvol
    fill(source, 5, count=SIZE // CHUNK)
    slow = CopyRate(ceiling_bytes_s=CHUNK)
    assert pair.resync(direction=direction, rate=slow) is not None
    wait_until(lambda: row_of(rig.b, pair).status is PairStatus.COPY)
    rig.path.cut()
    rig.a.abort()
    return rig.b.pair(pair.pair_id)


@pytest.mark.parametrize("reopened", [False, True])
def test_a_copy_that_nobody_goes_on_with_is_ended_at_the_secondary_and_its_generation_comes_back(
    rig: Rig, *, reopened: bool
) -> None:
    pair = _lost_amid_a_copy(rig, Direction.FORWARD)
    if reopened:
        rig.reopen("100b", crash=True)
        pair = rig.b.pair(pair.pair_id)
    with refused(RefusedError, rig.b, names="orders its commands"):
        pair.dissolve()
    with refused(RefusedError, rig.b, names="has left volume 105b half-way"):
        pair.dissolve(without_peer=True)
    assert row_of(rig.b, pair).status is PairStatus.COPY

    pair.dissolve(without_peer=True, force=Force.INCONSISTENT_LEFT)
    (local,) = rig.b.pairs()
    job = local.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert content(rig.spvol) == content(rig.svol)
    rig.spvol.pwrite(b"hosts go on", 0)


@pytest.mark.parametrize("reopened", [None, "close", "crash"])
def test_a_copy_back_that_nobody_goes_on_with_leaves_its_source_whole(
    rig: Rig, reopened: str | None
) -> None:
    pair = _lost_amid_a_copy(rig, Direction.REVERSE)
    if reopened is not None:
        rig.reopen("100b", crash=reopened == "crash")
        pair = rig.b.pair(pair.pair_id)
    before = content(rig.spvol)
    pair.dissolve(without_peer=True)
    assert [one.row.is_remote for one in rig.b.pairs()] == [False]
    assert content(rig.spvol) == before
    rig.spvol.pwrite(b"hosts go on", 0)


def test_a_copy_whose_primary_is_there_is_not_ended_without_it(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 5, count=SIZE // CHUNK)
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=CHUNK))
    assert job is not None
    wait_until(lambda: row_of(rig.b, pair).status is PairStatus.COPY)
    with refused(RefusedError, rig.b, names="path to it is up"):
        rig.b.pair(pair.pair_id).dissolve(without_peer=True, force=Force.INCONSISTENT_LEFT)
    job.rate = CopyRate()
    job.wait(LONG_S)
