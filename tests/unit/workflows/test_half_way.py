"""Volumes that a copy left half-way, as neighbours of a restore: nothing is copied from them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from pyrep import Direction, PairStatus, dry_run_restore, restore
from pyrep.errors import DamagedFileSystemError, RefusedError
from pyrep.model import SplitCause
from unit.workflows.sites import MIB, Sites

Build = Callable[..., Sites]


def _break_off(sites: Sites, svol: str, *, status: PairStatus, direction: Direction) -> None:
    """Make a local pair look as its copy does that ended early, without a job."""
    state = sites.b.state
    sides = state.sides(sites.local(svol).pair_id)
    cause = SplitCause.REQUESTED if status is PairStatus.SPLIT else None
    state.commit(
        *(
            replace(
                one.row,
                status=status,
                cause=cause,
                direction=direction,
                target_consistent=False,
            )
            for one in sides
        )
    )


def test_105b_half_way_back_from_a_generation_isnt_copied_to_105a(build: Build) -> None:
    sites = build()
    sites.take()
    sites.pvol.pwrite(os.urandom(MIB), 0)
    sites.remote().split()
    before = sites.content("105a")
    _break_off(sites, "106b", status=PairStatus.SPLIT, direction=Direction.REVERSE)
    rows = (sites.a.table(), sites.b.table())

    with pytest.raises(RefusedError, match="copy back into it runs, or was broken off") as caught:
        sites.remote().resync(direction=Direction.REVERSE)
    assert "REVERSE" in str(caught.value.hint)
    assert (sites.a.table(), sites.b.table()) == rows
    assert sites.content("105a") == before
    assert not sites.is_fenced("105a")

    job = sites.local("106b").resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait()
    back = sites.remote().resync(direction=Direction.REVERSE, discard="100a")
    assert back is not None
    back.wait()
    assert sites.content("105a") == sites.content("105b") != before


def test_siblings_of_105b_half_way_back_arent_synced_from_it(build: Build) -> None:
    sites = build(svols=3)
    sites.take()
    sites.take()
    sites.remote().split()
    _break_off(sites, "106b", status=PairStatus.SPLIT, direction=Direction.REVERSE)
    with pytest.raises(RefusedError, match="inconsistent"):
        sites.local("107b").resync()
    sites.b.create_volume("109b", sites.pvol.size_bytes)
    with pytest.raises(RefusedError, match="inconsistent"):
        sites.b.create_local_pair("105b", "109b")
    assert sites.local("108b").split() is None  # no generation of it


def test_a_forward_copy_isnt_begun_while_a_local_copy_out_of_105b_is_unfinished(
    build: Build,
) -> None:
    """Nothing is pending, but what comes behind would reach 106b in the middle of its copy."""
    sites = build()
    sites.remote().split()
    _break_off(sites, "106b", status=PairStatus.COPY, direction=Direction.FORWARD)
    rows = (sites.a.table(), sites.b.table())
    with pytest.raises(RefusedError, match="is copying out of it") as caught:
        sites.remote().resync()
    assert "pair.split()" in str(caught.value.hint)
    assert (sites.a.table(), sites.b.table()) == rows

    sites.local("106b").split()
    job = sites.remote().resync()
    assert job is not None
    job.wait()
    assert sites.remote().status().status is PairStatus.DUPLEX


def test_a_listing_torn_by_writes_is_tried_again_then_reported(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = sites.take().generation_id

    def torn(*_args: object, **_facts: object) -> None:
        raise DamagedFileSystemError("it contradicts itself")

    module = importlib.import_module("pyrep.workflows.restore_subject")
    monkeypatch.setattr(module, "estimate_files", torn)
    estimate = dry_run_restore(sites.b, generation, "105a", ["/big"])
    assert (estimate.figure, estimate.trouble) == (5, "it contradicts itself")
    assert restore(sites.b, generation, "105a", ["/big"]).changed_paths == 0
    sites.check_at_rest()
