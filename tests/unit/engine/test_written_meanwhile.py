"""Hosts that begin to write to a volume while a copy into it is prepared: that may take minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrep.engine import Pair, Volume
from pyrep.engine.local_splits import LocalSplits
from pyrep.engine.remote_meeting import Will
from pyrep.errors import RefusedError
from pyrep.interconnect.messages import (
    BeginForward,
    BeginReverse,
    PeerFailed,
    decode_answer,
    encode,
)
from pyrep.model import Direction, PairStatus, Relation, SplitCause, SystemId
from pyrep.model.lineage import UNNAMED
from pyrep.testing import wait_until
from rig import CHUNK, LONG_S, Rig, content, equal, row_of

MINE = b"acknowledged and flushed"


def _during(monkeypatch: pytest.MonkeyPatch, step: str, volume: Volume) -> None:
    """Let a host write to a volume while the copy is at this step, and flush."""
    real: Callable[..., Any] = getattr(LocalSplits, step)

    def performed(splits: LocalSplits, *args: Any, **named: Any) -> Any:
        done = real(splits, *args, **named)
        if volume.pread(len(MINE), 9 * CHUNK) != MINE:
            volume.pwrite(MINE, 9 * CHUNK)
            volume.flush()
        return done

    monkeypatch.setattr(LocalSplits, step, performed)


def _is_kept(rig: Rig, pair: Pair, volume: Volume) -> None:
    """Nothing was copied over what the host wrote, and it may write on."""
    for system in (rig.a, rig.b):
        assert row_of(system, pair).status is PairStatus.SPLIT
    assert volume.pread(len(MINE), 9 * CHUNK) == MINE
    volume.pwrite(MINE, 10 * CHUNK)


def _refused(pair: Pair, volume_id: str, **options: object) -> None:
    with pytest.raises(RefusedError, match=f"begun to write to {volume_id} just now") as caught:
        pair.resync(**options)  # type: ignore[arg-type]
    hint = str(caught.value.hint)
    assert 'discard="100b") keeps what 100a holds' in hint
    assert 'discard="100a") what 100b holds' in hint


def _copied(pair: Pair, **options: object) -> None:
    job = pair.resync(**options)  # type: ignore[arg-type]
    assert job is not None
    job.wait(LONG_S)


@pytest.mark.parametrize("step", ["await_copies", "protect"])
@pytest.mark.parametrize("written", [True, False], ids=["both sides", "the SVOL alone"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "rows of 0.1.0"])
def test_a_resync_does_not_go_over_what_hosts_wrote_at_the_svol_after_it_was_asked_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, step: str, written: bool, named: bool
) -> None:
    pair = rig.remote()
    local = rig.local()
    pair.split()
    if not named:
        for system in (rig.a, rig.b):
            system.state.change(system.state.mirror(pair.pair_id), lineage=UNNAMED)
    if written:
        rig.pvol.pwrite(b"theirs", 9 * CHUNK)
    else:
        rig.a.state.mirror(pair.pair_id).link.pending.set(3, 1)
    _during(monkeypatch, step, rig.spvol)
    _refused(pair, "105b")
    _is_kept(rig, pair, rig.spvol)
    is_split = rig.b.pair(local.pair_id).status().status is PairStatus.SPLIT
    assert is_split == (step == "protect")
    if written and named:
        assert pair.estimate().relation is Relation.SPLIT_BRAIN
    _copied(pair, discard="100b")
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_resync_by_itself_does_not_go_over_it_either(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    rig.pvol.pwrite(b"theirs", 9 * CHUNK)
    mirror = rig.a.state.mirror(pair.pair_id)
    rig.a.state.change(mirror, cause=SplitCause.PATH_LOST)
    _during(monkeypatch, "await_copies", rig.spvol)
    copies = rig.a.remote_pairs.copies
    with pytest.raises(RefusedError, match="begun to write to 105b"):
        copies.resync_forward(pair.pair_id, will=Will(by_itself=True))
    _is_kept(rig, pair, rig.spvol)


@pytest.mark.parametrize("discard", ["100b", None], ids=["by name", "shown before"])
def test_what_is_given_up_anyway_may_be_written_to_until_the_copy_begins(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, discard: str | None
) -> None:
    pair = rig.remote()
    pair.split()
    if discard is None:  # only the SVOL was written to; whoever names a direction gives that up
        rig.spvol.pwrite(b"shown", 3 * CHUNK)
    else:
        rig.pvol.pwrite(b"theirs", 9 * CHUNK)
    _during(monkeypatch, "await_copies", rig.spvol)
    expected = content(rig.pvol)
    _copied(pair, discard=discard, direction=Direction.FORWARD)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_copy_back_does_not_go_over_what_hosts_wrote_at_the_pvol_after_it_was_asked_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    rig.spvol.pwrite(b"theirs", 9 * CHUNK)
    expected = content(rig.spvol)
    _during(monkeypatch, "protect", rig.pvol)
    _refused(pair, "105a", direction=Direction.REVERSE)
    _is_kept(rig, pair, rig.pvol)
    _copied(pair, discard="100a")
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_copy_back_that_became_one_of_two_written_sides_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    rig.pvol.pwrite(b"shown", 3 * CHUNK)
    before = content(rig.pvol)
    _during(monkeypatch, "protect", rig.spvol)
    _refused(pair, "105b", direction=Direction.REVERSE)
    _is_kept(rig, pair, rig.spvol)
    assert content(rig.pvol) == before
    rig.pvol.pwrite(b"and it takes writes", 3 * CHUNK)


def test_an_order_that_was_decided_by_another_content_is_refused(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    before = (rig.a.table(), rig.b.table())
    connection = rig.b.state.peer(SystemId("100a")).connection()
    seen = row_of(rig.b, pair).lineage.current + 1
    forward = BeginForward(
        pair_id=pair.pair_id, pending_count=1, current=5, base=6, seen=seen, written=True
    )
    back = BeginReverse(pair_id=pair.pair_id, pending=b"", common=5, seen=seen)
    for order in (forward, back):
        answer = decode_answer(rig.b.endpoint.answer(connection, encode(order)))
        assert isinstance(answer, PeerFailed)
        assert isinstance(answer.to_error(), RefusedError)
        assert "begun to write to 105b" in str(answer.to_error())
    assert (rig.a.table(), rig.b.table()) == before


def test_a_refused_resync_leaves_a_pair_that_comes_home(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    rig.pvol.pwrite(b"theirs", 9 * CHUNK)
    with monkeypatch.context() as patch:
        _during(patch, "await_copies", rig.spvol)
        _refused(pair, "105b")
    expected = content(rig.spvol)
    _copied(pair, discard="100a")
    rig.both(pair, PairStatus.DUPLEX)
    wait_until(lambda: content(rig.pvol) == content(rig.spvol) == expected)
