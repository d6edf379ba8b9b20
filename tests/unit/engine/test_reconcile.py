"""Pairs that only one side knows, as a crash between two sides' commits leaves them."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from pyrep.engine import Pair
from pyrep.errors import PathLostError, RefusedError
from pyrep.interconnect.messages import CreatePair, ReadPair, RemovePair
from pyrep.model import Direction, PairStatus, SplitCause
from pyrep.testing import wait_quiet, wait_until
from rig import CHUNK, LONG_S, Rig, equal, fill, refused, row_of


def _crash(rig: Rig, system_id: str) -> None:
    rig.reopen(system_id, crash=True)
    rig.reconnect()


def test_a_row_that_only_the_secondary_knows_is_forgotten_when_the_path_is_back(rig: Rig) -> None:
    # What the path's return asks for would forget the pair before anybody has looked.
    wait_quiet(rig.a, rig.b)
    peer = rig.a.state.peer(rig.b.system_id)
    peer.ask(
        CreatePair(
            pair_id="100a.77",
            pvol="105a",
            svol="105b",
            size_bytes=rig.pvol.size_bytes,
            chunk_bytes=CHUNK,
            group_id="g",
            ack="received",
            current=1,
        )
    )
    assert rig.b.pair("100a.77").row.status is PairStatus.COPY
    _crash(rig, "100a")
    wait_until(lambda: not rig.b.pairs())
    rig.spvol.pwrite(b"host", 0)
    assert not list((rig.b.directory / "bitmaps").iterdir())
    rig.remote()


def test_other_primaries_rows_are_none_of_this_ones_business(rig: Rig) -> None:
    pair = rig.remote()
    rig.make("100c", "105c")
    rig.connect("100c", "100b").cut()
    rig.connect("100c", "100b")
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX


def test_a_row_that_only_the_primary_knows_is_shown_and_refused_until_it_is_dissolved(
    rig: Rig,
) -> None:
    pair = rig.remote()
    rig.a.state.peer(rig.b.system_id).ask(RemovePair(pair_id=pair.pair_id))
    _crash(rig, "100a")
    again = rig.a.pair(pair.pair_id)
    wait_until(lambda: again.row.cause is SplitCause.REQUESTED)
    with pytest.raises(RefusedError, match="won't be DUPLEX"):
        again.wait(timeout_s=LONG_S)
    with refused(RefusedError, rig.a, rig.b, names="system 100b doesn't know it") as _:
        again.resync()
    again.dissolve()
    assert rig.a.pairs() == ()
    rig.remote()


def test_a_pair_whose_creation_lost_the_path_half_way_is_on_both_sides_or_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = rig.a.state.peer(rig.b.system_id)
    ask = peer.ask

    def cut_after_create(message: object) -> object:
        answer = ask(message)  # type: ignore[arg-type]
        if isinstance(message, CreatePair):
            rig.path.cut()
            raise PathLostError("the path was lost")
        return answer

    monkeypatch.setattr(peer, "ask", cut_after_create)
    with pytest.raises(PathLostError):
        rig.a.create_remote_pair("105a", "100b", "105b")
    monkeypatch.undo()
    assert rig.a.pairs() == ()
    rig.path.connect()
    wait_until(lambda: not rig.b.pairs())
    rig.remote()


@pytest.mark.parametrize("verb", ["OpenStream", "BindChannel", "FinishPair"])
def test_a_path_lost_in_any_step_of_the_first_copy_is_made_good_when_it_is_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    fill(rig.pvol, 1)
    pair = _with_a_cut_at(rig, monkeypatch, verb)
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def _with_a_cut_at(rig: Rig, monkeypatch: pytest.MonkeyPatch, verb: str) -> Pair:
    peer = rig.a.state.peer(rig.b.system_id)
    ask = peer.ask

    def cut_before(message: object) -> object:
        if type(message).__name__ == verb:
            monkeypatch.undo()
            rig.path.cut()
        return ask(message)  # type: ignore[arg-type]

    monkeypatch.setattr(peer, "ask", cut_before)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    wait_until(lambda: not rig.path.is_up)
    return pair


def test_a_path_that_returns_does_not_split_a_pair_that_was_resynced_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    rig.path.cut()
    peer = rig.a.state.peer(rig.b.system_id)
    ask = peer.ask
    read, resynced = threading.Event(), threading.Event()

    def slow(message: object) -> object:
        answer = ask(message)  # type: ignore[arg-type]
        if isinstance(message, ReadPair) and not read.is_set():  # the path's return, no command
            read.set()
            assert resynced.wait(LONG_S)
        return answer

    monkeypatch.setattr(peer, "ask", slow)
    rig.path.connect()
    assert read.wait(LONG_S)
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    resynced.set()
    wait_quiet(rig.a, rig.b)
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX
    assert rig.path.is_up


def test_a_crash_of_both_systems_at_the_end_of_a_copy_back_leaves_the_pvol_whole(rig: Rig) -> None:
    """Else both sides call their volume inconsistent, and no resync is allowed in any direction."""
    pair = rig.remote()
    fill(rig.pvol, 5)
    # The secondary has ended the copy; the primary has only written down that its volume is whole.
    back = replace(
        pair.row, status=PairStatus.COPY, direction=Direction.REVERSE, target_consistent=True
    )
    rig.b.abort()
    wait_until(lambda: row_of(rig.a, pair).status is PairStatus.SPLIT)
    with rig.a.state.db.transaction():
        rig.a.state.table.replace(back)
    rig.a.abort()
    rig.open("100a")
    rig.open("100b")
    rig.reconnect()
    wait_quiet(rig.a, rig.b)
    # By itself, forward: nothing was written since the copy back came to its end.
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
