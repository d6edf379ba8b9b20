"""Remote pairs of which a side was repaired: they wait for a command."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pyrep.engine import Pair, Severity, repair_system
from pyrep.engine.copies_back import CopiesBack
from pyrep.engine.remote_copies_back import RemoteCopiesBack
from pyrep.errors import (
    FencedError,
    PathLostError,
    RefusedError,
)
from pyrep.model import Direction, PairStatus, Row, SplitCause
from pyrep.testing import wait_quiet, wait_until
from rig import LONG_S, Rig, content, equal, fill


@pytest.mark.parametrize("side", ["100a", "100b"])
@pytest.mark.parametrize("crashed", [False, True], ids=["closed", "crashed"])
def test_a_repaired_side_of_a_remote_pair_is_copied_by_command_alone(
    rig: Rig, side: str, crashed: bool
) -> None:
    pair = rig.remote()
    path = rig.root / side
    other = "100a" if side == "100b" else "100b"
    row = rig.systems[side].pair(pair.pair_id).row
    if crashed:
        rig.systems[side].abort()
    else:
        rig.systems[side].close()
    (path / "bitmaps" / f"{row.row_key.hex()}.bitmap").unlink()
    assert repair_system(path).after.severity is Severity.OK
    rig.open(side)
    rig.reconnect()
    here, there = (rig.systems[one].pair(pair.pair_id) for one in (side, other))
    wait_until(lambda: there.row.cause is SplitCause.REQUESTED)
    wait_quiet(rig.a, rig.b)
    rig.a._watch.look()
    wait_quiet(rig.a, rig.b)
    assert here.row.cause is there.row.cause is SplitCause.REQUESTED
    job = rig.a.pair(pair.pair_id).resync()
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def _repair_without(rig: Rig, side: str, row: Row) -> None:
    """Lose a row's bitmap file, repair, connect; the pair waits for a command then."""
    (rig.root / side / "bitmaps" / f"{row.row_key.hex()}.bitmap").unlink()
    assert repair_system(rig.root / side).after.severity is Severity.OK
    rig.open(side)
    rig.reconnect()
    for _ in range(2):
        wait_quiet(rig.a, rig.b)
        rig.a._watch.look()
    for system in (rig.a, rig.b):
        state = system.pair(row.pair_id).status()
        assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.REQUESTED)


MOMENTS: dict[str, tuple[type, str] | None] = {
    "not heard of at the secondary": (RemoteCopiesBack, "_receive_reverse"),
    "copying": None,
    "all there, not ended at the secondary": (CopiesBack, "finish"),
    "ended at the secondary, not at the primary": (RemoteCopiesBack, "_finish_reverse"),
}


def _begin_back(rig: Rig, pair: Pair, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy back, and lose the path at a moment."""
    reached = threading.Event()

    def lose(*_told: object, **_more: object) -> None:
        rig.path.cut()
        reached.set()
        raise PathLostError("the path was lost")

    call = MOMENTS[moment]
    with monkeypatch.context() as patch:
        if call is None:
            rig.path.stall()
        else:
            patch.setattr(*call, lose)
        with contextlib.suppress(PathLostError):
            pair.resync(direction=Direction.REVERSE)
        if call is not None:
            assert reached.wait(LONG_S)
            wait_quiet(rig.a, rig.b)


@pytest.mark.parametrize("side", ["100a", "100b"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_copy_back_waits_for_a_command_once_a_side_was_repaired(
    rig: Rig, side: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    fill(rig.pvol, 4)
    pair.split()
    fill(rig.spvol, 5)
    before, expected = content(rig.pvol), content(rig.spvol)
    _begin_back(rig, pair, moment, monkeypatch)
    is_whole = MOMENTS[moment] not in {None, (RemoteCopiesBack, "_receive_reverse")}
    row = rig.systems[side].pair(pair.pair_id).row
    rig.systems[side].abort()
    _repair_without(rig, side, row)
    assert content(rig.pvol) == (expected if is_whole else before)
    again = rig.a.pair(pair.pair_id)
    if is_whole:
        rig.pvol.pwrite(expected[:100], 0)  # hosts have it back
        job = again.resync(direction=Direction.FORWARD)
    else:
        with pytest.raises(RefusedError):  # 105a may be half written
            again.resync()
        with pytest.raises(FencedError):
            rig.pvol.pwrite(b"a host", 0)
        job = again.resync(direction=Direction.REVERSE, discard="100a")
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected
    rig.pvol.pwrite(b"a host", 0)
    # What the repair has asked for is over: the next loss of the path is made up for by itself.
    rig.path.cut()
    rig.pvol.pwrite(b"another", 0)
    rig.path.connect()
    again.wait(PairStatus.DUPLEX, timeout_s=LONG_S)


@pytest.mark.parametrize("moment", ["before", "behind"])
def test_a_repair_around_a_copy_back_leaves_it_to_commands_as_well(rig: Rig, moment: str) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 5)
    if moment == "behind":
        job = pair.resync(direction=Direction.REVERSE)
        assert job is not None
        job.wait(LONG_S)
        rig.both(pair, PairStatus.DUPLEX)
    row = rig.b.pair(pair.pair_id).row
    rig.b.abort()
    _repair_without(rig, "100b", row)
    if moment == "before":  # asked for by name, it is a copy like any other, lost path and all
        rig.path.stall()
        rig.a.pair(pair.pair_id).resync(direction=Direction.REVERSE)
        rig.path.cut()
        wait_quiet(rig.a, rig.b)
        rig.path.connect()
    else:
        rig.a.pair(pair.pair_id).resync()
    rig.a.pair(pair.pair_id).wait(PairStatus.DUPLEX, timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
