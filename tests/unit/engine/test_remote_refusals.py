"""What remote pairs refuse, at either side, and whom they name."""

from __future__ import annotations

import pytest

from pyrep.errors import (
    FencedError,
    InvalidArgumentError,
    NotFoundError,
    PathLostError,
    RefusedError,
)
from pyrep.interconnect.messages import RemovePair, SplitPair
from pyrep.model import PairStatus
from rig import LONG_S, MIB, Rig, equal, fill, refused, row_of


def test_a_host_write_to_the_secondary_volume_is_refused_while_it_is_a_target(rig: Rig) -> None:
    rig.remote()
    with refused(FencedError, rig.a, rig.b, names="105b"):
        rig.spvol.pwrite(b"x", 0)


def test_a_system_reaches_only_its_own_pairs_at_the_secondary(rig: Rig) -> None:
    pair = rig.remote()
    third = rig.make("100c", "105c")
    rig.connect("100c", "100b")
    third.state.peer(rig.b.system_id).ask(RemovePair(pair_id=pair.pair_id))
    with pytest.raises(NotFoundError, match=pair.pair_id):
        third.state.peer(rig.b.system_id).ask(SplitPair(pair_id=pair.pair_id, cause="requested"))
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX


def test_dissolving_frees_both_sides(rig: Rig) -> None:
    pair = rig.remote()
    pair.dissolve()
    assert rig.a.pairs() == rig.b.pairs() == ()
    rig.spvol.pwrite(b"mine", 0)
    fill(rig.pvol, 3)
    again = rig.a.create_remote_pair("105a", "100b", "105b")
    again.wait(timeout_s=LONG_S)
    assert again.pair_id != pair.pair_id
    assert equal(rig.pvol, rig.spvol)


def test_dissolving_without_a_path_is_refused(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    with refused(PathLostError, rig.a, rig.b, names="100b"):
        pair.dissolve()


def test_commands_at_the_secondary_name_the_primary_to_ask(rig: Rig) -> None:
    pair = rig.remote()
    here = rig.b.pair(pair.pair_id)
    for command in (here.split, here.resync, here.dissolve):
        with refused(RefusedError, rig.a, rig.b, names="primary"):
            command()


def test_clashing_roles_are_refused_wherever_they_are_known(rig: Rig) -> None:
    rig.remote()
    rig.local()
    with refused(RefusedError, rig.a, rig.b, names="105b is the SVOL of pair 100a.1"):
        rig.a.create_remote_pair("106a", "100b", "105b")
    with refused(RefusedError, rig.a, rig.b, names="PVOL of pair 100a.1"):
        rig.a.create_remote_pair("105a", "100b", "107b")
    with refused(RefusedError, rig.a, rig.b, names="only local pairs may follow"):
        rig.b.create_remote_pair("105b", "100a", "106a")
    with refused(RefusedError, rig.a, rig.b, names="106b"):
        rig.a.create_remote_pair("106a", "100b", "106b")
    with refused(RefusedError, rig.b, names="106b"):
        rig.b.create_local_pair("106b", "107b")


def test_unequal_sizes_and_unknown_ids_are_refused_at_both_sides(rig: Rig) -> None:
    rig.b.create_volume("small", MIB)
    with refused(InvalidArgumentError, rig.a, rig.b, names=f"{MIB}"):
        rig.a.create_remote_pair("105a", "100b", "small")
    with refused(NotFoundError, rig.a, rig.b, names="nowhere"):
        rig.a.create_remote_pair("105a", "100b", "nowhere")
    with refused(NotFoundError, rig.a, rig.b, names="100x"):
        rig.a.create_remote_pair("105a", "100x", "105b")
    with refused(InvalidArgumentError, rig.a, rig.b, names="group"):
        rig.a.create_remote_pair("105a", "100b", "105b", group="not a group")
    with refused(InvalidArgumentError, rig.a, rig.b, names="5000"):
        rig.a.create_remote_pair("105a", "100b", "105b", chunk_bytes=5000)


def test_a_command_without_a_path_names_it(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    with refused(PathLostError, rig.a, rig.b, names="100b"):
        pair.resync()
    with refused(PathLostError, rig.a, rig.b, names="100b"):
        rig.a.create_remote_pair("106a", "100b", "106b")
