"""Before a copy leaves a volume half-way, its DUPLEX local mirrors: protect = require, try, off."""

from __future__ import annotations

import pytest

from pyrep.engine import Pair
from pyrep.engine.local_splits import LocalSplits
from pyrep.errors import BusyError, FencedError, RefusedError
from pyrep.model import Direction, GenerationCause, PairStatus, Protect, SplitCause, VolumeId
from rig import CHUNK, LONG_S, Rig, content, equal, row_of


def _split_and_written(rig: Rig, **options: object) -> tuple[Pair, Pair]:
    """Make both mirrors, split the remote one and let hosts write to its PVOL."""
    pair, local = rig.remote(**options), rig.local()
    pair.split()
    rig.pvol.pwrite(b"newer", 5 * CHUNK)
    return pair, local


def _refuse_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BusyError("somebody holds the mirror")

    monkeypatch.setattr(LocalSplits, "split", refused)


def _resync(pair: Pair, direction: Direction = Direction.FORWARD) -> None:
    job = pair.resync(direction=direction)
    assert job is not None
    job.wait(LONG_S)


def test_require_keeps_what_the_secondary_held_as_a_generation(rig: Rig) -> None:
    pair, local = _split_and_written(rig)
    before = content(rig.spvol)
    _resync(pair)
    (kept,) = rig.b.list_generations()
    assert (kept.cause, kept.is_complete) == (GenerationCause.PROTECT, True)
    assert (local.row.status, local.row.cause) == (PairStatus.SPLIT, SplitCause.PROTECT)
    assert content(rig.svol) == before != content(rig.spvol)


def test_require_begins_no_copy_when_the_split_fails(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, local = _split_and_written(rig)
    before, table = content(rig.spvol), (rig.a.table(), rig.b.table())
    _refuse_splits(monkeypatch)
    with pytest.raises(BusyError, match="somebody holds the mirror"):
        pair.resync()
    assert (rig.a.table(), rig.b.table()) == table
    assert local.row.status is PairStatus.DUPLEX
    assert content(rig.spvol) == content(rig.svol) == before
    monkeypatch.undo()
    _resync(pair)
    assert equal(rig.pvol, rig.spvol)


def test_try_begins_the_copy_although_the_split_fails_and_the_mirror_follows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair, local = _split_and_written(rig, protect=Protect.TRY)
    _refuse_splits(monkeypatch)
    _resync(pair)
    assert "no consistent copy until it ends" in caplog.text
    rig.both(pair, PairStatus.DUPLEX)
    assert rig.b.list_generations() == ()
    assert local.row.status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)
    assert equal(rig.spvol, rig.svol)


def test_try_splits_where_it_can(rig: Rig) -> None:
    pair, local = _split_and_written(rig, protect=Protect.TRY)
    _resync(pair)
    assert local.row.cause is SplitCause.PROTECT


def test_off_lets_the_mirror_follow_unserved_until_the_copy_has_ended(rig: Rig) -> None:
    pair, local = _split_and_written(rig, protect=Protect.OFF)
    rig.path.stall()
    job = pair.resync()
    assert job is not None
    assert local.row.status is PairStatus.DUPLEX
    assert not local.row.target_consistent
    for volume in (rig.spvol, rig.svol):
        with pytest.raises(FencedError):
            volume.pread(1, 0)
    rig.path.resume()
    job.wait(LONG_S)
    assert rig.b.list_generations() == ()
    assert (local.row.status, local.row.target_consistent) == (PairStatus.DUPLEX, True)
    assert rig.svol.pread(5, 5 * CHUNK) == b"newer"


def test_a_copy_back_asks_the_same_of_the_primarys_own_mirrors(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    own = rig.a.create_local_pair("105a", "106a")
    own.wait(timeout_s=LONG_S)
    pair.split()
    rig.spvol.pwrite(b"restored", 7 * CHUNK)
    before = content(rig.pvol)
    with monkeypatch.context() as patch:
        _refuse_splits(patch)
        with pytest.raises(BusyError):
            pair.resync(direction=Direction.REVERSE)
    assert (row_of(rig.a, pair).status, content(rig.pvol)) == (PairStatus.SPLIT, before)
    _resync(pair, Direction.REVERSE)
    assert own.row.cause is SplitCause.PROTECT
    assert content(rig.a.volume("106a")) == before
    assert rig.pvol.pread(8, 7 * CHUNK) == b"restored"


def test_a_mirror_of_the_primary_follows_a_copy_back_with_off(rig: Rig) -> None:
    pair = rig.remote(protect=Protect.OFF)
    own = rig.a.create_local_pair("105a", "106a")
    own.wait(timeout_s=LONG_S)
    pair.split()
    rig.spvol.pwrite(b"restored", 7 * CHUNK)
    _resync(pair, Direction.REVERSE)
    assert (own.row.status, own.row.target_consistent) == (PairStatus.DUPLEX, True)
    assert equal(rig.a.volume("106a"), rig.pvol)
    assert rig.a.list_generations() == ()


def test_what_is_said_later_counts_from_the_next_copy_on_and_is_kept(rig: Rig) -> None:
    pair, local = _split_and_written(rig)
    pair.set_protect(Protect.OFF)
    with pytest.raises(RefusedError, match="primary orders"):
        rig.b.pair(pair.pair_id).set_protect(Protect.TRY)
    rig.reopen("100a")
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    assert pair.row.protect is Protect.OFF
    _resync(pair)
    assert local.row.status is PairStatus.DUPLEX
    assert rig.b.list_generations() == ()


def test_a_local_resync_back_protects_its_siblings_as_its_pair_says(rig: Rig) -> None:
    rig.b.create_local_pair("105b", "107b").wait(timeout_s=LONG_S)
    local = rig.local()
    local.split()
    rig.spvol.pwrite(b"undone", 0)
    local.set_protect(Protect.OFF)
    _resync(local, Direction.REVERSE)
    sibling = rig.b.state.sides(rig.b.pairs()[0].pair_id)[0].row
    assert (sibling.mirror_volume_id, sibling.status) == (VolumeId("107b"), PairStatus.DUPLEX)
    rig.spvol.pwrite(b"undone", 0)
    local.set_protect(Protect.REQUIRE)
    _resync(local, Direction.REVERSE)
    sibling = rig.b.state.sides(rig.b.pairs()[0].pair_id)[0].row
    assert sibling.cause is SplitCause.PROTECT
