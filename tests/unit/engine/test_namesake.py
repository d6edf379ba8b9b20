"""Systems are told apart by their keys: ids are given by people, some of them twice."""

from __future__ import annotations

import shutil

import pytest

from pyrep.engine import Pair, StorageSystem, connect
from pyrep.errors import WireError
from pyrep.model import PairStatus
from rig import LONG_S, SIZE, Rig, equal, fill, refused, row_of


def _namesake(rig: Rig, system_id: str) -> StorageSystem:
    """Make another system of this id, beside the one that there is."""
    other = StorageSystem.create(rig.root / f"other-{system_id}", system_id)
    rig.systems[f"other {system_id}"] = other
    other.create_volume("105a" if system_id == "100a" else "105b", SIZE)
    return other


@pytest.mark.parametrize("system_id", ["100a", "100b"])
def test_another_system_of_a_paired_ones_id_is_refused_and_no_pair_is_forgotten(
    rig: Rig, system_id: str
) -> None:
    pair = rig.remote()
    rig.path.cut()
    other = _namesake(rig, system_id)
    stays = rig.b if system_id == "100a" else rig.a
    with refused(WireError, rig.a, rig.b, names="key differs"):
        connect(stays, other)
    assert row_of(rig.b, pair).status is PairStatus.SPLIT
    fill(rig.pvol, 3)
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_system_made_anew_under_its_id_is_taken_once_the_pairs_with_the_old_one_are_dissolved(
    rig: Rig,
) -> None:
    pair = rig.remote()
    rig.b.close()
    shutil.rmtree(rig.b.directory)
    new = StorageSystem.create(rig.root / "100b", "100b")
    rig.systems["100b"] = new
    new.create_volume("105b", SIZE)
    with pytest.raises(WireError, match="key differs") as caught:
        connect(rig.a, new)
    assert "without_peer=True" in str(caught.value.hint)
    rig.a.pair(pair.pair_id).dissolve(without_peer=True)
    connect(rig.a, new)
    made: Pair = rig.a.create_remote_pair("105a", "100b", "105b")
    made.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
