"""Onto which volumes other systems may create pairs."""

from __future__ import annotations

import pytest

from pyrep.engine import Options
from pyrep.errors import RefusedError
from pyrep.model import PairStatus, SystemId, VolumeId
from rig import Rig, Site, refused

A, SPVOL = SystemId("100a"), VolumeId("105b")


@pytest.mark.parametrize(
    "targets", [{A: [VolumeId("106b")]}, {SystemId("100c"): [SPVOL]}, {A: []}, {}], ids=str
)
def test_a_system_creates_no_pair_onto_a_volume_that_it_was_not_given(
    site: Site, targets: dict[SystemId, list[VolumeId]]
) -> None:
    site.options["100b"] = Options(targets=targets)
    rig = Rig(site.root, options=site.options).build()
    for svol in ("105b", "no-such-volume"):  # which it isn't told
        with refused(RefusedError, rig.a, rig.b, names="create pairs onto it"):
            rig.a.create_remote_pair("105a", "100b", svol)
    rig.close()


def test_a_system_creates_pairs_onto_what_it_was_given_and_keeps_them(site: Site) -> None:
    site.options["100b"] = Options(targets={A: [SPVOL]})
    rig = Rig(site.root, options=site.options).build()
    pair = rig.remote()
    rig.path.cut()
    rig.options["100b"] = Options(targets={})
    rig.reopen("100b")
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    rig.close()
