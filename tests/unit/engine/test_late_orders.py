"""Orders of a connection that a later one has superseded, and calls that say nonsense."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from pyrep.engine import Pair
from pyrep.engine.copies_back import CopiesBack
from pyrep.engine.peer import Peer
from pyrep.engine.secondary import SecondarySide
from pyrep.errors import PathLostError, PyrepError, RefusedError
from pyrep.interconnect.messages import Call, PeerFailed, ReverseRun, decode_answer, encode
from pyrep.model import CopyRate, Direction, PairStatus, SystemId
from pyrep.testing import wait_until
from pyrep.workflows import backup
from rig import LONG_S, Rig, equal, fill, row_of


def _kept_back(
    monkeypatch: pytest.MonkeyPatch, name: str, side: type = SecondarySide
) -> tuple[list[tuple[Any, ...]], Callable[..., Any]]:
    """Keep the first order of a kind back, as a thread that isn't run does."""
    real = getattr(side, name)
    kept: list[tuple[Any, ...]] = []

    def keep(self: Any, *order: Any) -> Any:
        if kept:
            return real(self, *order)
        kept.append((self, *order))
        raise PathLostError("not run yet")

    monkeypatch.setattr(side, name, keep)
    return kept, real


def _copies_anew(rig: Rig, pair: Pair) -> None:
    """Cut the path, and come back with a copy that is under way at both sides."""
    rig.path.cut()
    fill(rig.pvol, 8)
    before = row_of(rig.b, pair).lineage.current
    rig.path.stall()
    rig.path.connect()

    def is_begun() -> bool:
        here, there = row_of(rig.a, pair), row_of(rig.b, pair)
        begun = {here.status, there.status} == {PairStatus.COPY}
        # Another copy than the one that was cut: its source has confirmed that it has begun.
        return begun and there.lineage.current != before and not there.lineage.common

    wait_until(is_begun)


@pytest.mark.parametrize("name", ["finish", "split", "begin_forward"])
def test_an_order_that_comes_late_is_refused_and_the_copy_of_the_later_connection_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 7)
    kept, real = _kept_back(monkeypatch, name)
    try:
        job = pair.resync()
        if job is not None and name == "split":
            pair.split()
    except PathLostError:
        assert name == "begin_forward"
    wait_until(lambda: bool(kept))
    if name != "finish":
        job = pair.resync()  # it is to go on by itself
    _copies_anew(rig, pair)
    before = row_of(rig.b, pair)
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    now = row_of(rig.b, pair)
    for name_ in ("status", "cause", "direction", "target_consistent"):
        assert getattr(now, name_) == getattr(before, name_)
    assert now.lineage.current == before.lineage.current
    rig.path.resume()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_late_order_for_a_copy_back_begins_none(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    kept, real = _kept_back(monkeypatch, "begin", CopiesBack)
    with pytest.raises(PathLostError):
        pair.resync(direction=Direction.REVERSE)
    rig.path.cut()
    rig.path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    before = rig.b.table()
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert rig.b.table() == before


def _copies_back_anew(rig: Rig, pair: Pair) -> None:
    """Cut the path, and come back with a copy back that is under way at both sides."""
    rig.path.cut()
    fill(rig.spvol, 9)  # else there may be nothing left to copy
    rig.path.stall()
    rig.path.connect()
    wait_until(lambda: rig.b.state.mirror(pair.pair_id).job is not None)


def _is_over_at_full_rate(pair: Pair) -> bool:
    """Lift the rate of whatever copies: each goes on at that of the one before. Until DUPLEX."""
    job = pair.job
    if job is not None:
        job.rate = CopyRate()
    return pair.status().status is PairStatus.DUPLEX


@pytest.mark.parametrize("name", ["run", "finish", "abandon", "progress", "pending", "split"])
def test_a_late_order_leaves_the_copy_back_of_the_later_connection_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    side = SecondarySide if name in {"pending", "split"} else CopiesBack
    kept, real = _kept_back(monkeypatch, name, side)
    rate = CopyRate(ceiling_bytes_s=1) if name in {"abandon", "split"} else None
    with contextlib.suppress(PathLostError):
        job = pair.resync(direction=Direction.REVERSE, rate=rate)
        if name in {"abandon", "split"}:
            pair.split()
        else:
            job.wait(LONG_S)  # type: ignore[union-attr]
    wait_until(lambda: bool(kept))
    if name in {"abandon", "split"}:  # it is to go on by command
        with contextlib.suppress(PathLostError):
            pair.resync(direction=Direction.REVERSE, discard="100a", rate=rate)
    elif name == "pending":
        with contextlib.suppress(PathLostError):
            pair.resync(direction=Direction.REVERSE, rate=CopyRate(ceiling_bytes_s=1))
    _copies_back_anew(rig, pair)
    before, job_there = row_of(rig.b, pair), rig.b.state.mirror(pair.pair_id).job
    assert job_there is not None
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert row_of(rig.b, pair) == before
    assert rig.b.state.mirror(pair.pair_id).job is job_there
    assert not job_there.is_stopping
    rig.path.resume()
    wait_until(lambda: _is_over_at_full_rate(pair))
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_late_list_of_pairs_has_no_pair_forgotten_that_was_created_since(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, real = _kept_back(monkeypatch, "forget_others")
    rig.path.cut()
    rig.path.connect()
    wait_until(lambda: bool(kept))
    rig.path.cut()
    rig.path.connect()
    pair = rig.remote()
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX


def test_a_late_order_to_create_a_pair_makes_no_row(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, real = _kept_back(monkeypatch, "create")
    with pytest.raises(PathLostError):
        rig.remote()
    rig.path.cut()
    rig.path.connect()
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert rig.b.table() == ()


def test_a_copy_back_that_nobody_began_is_not_run(rig: Rig) -> None:
    pair = rig.remote()
    peer = rig.a.state.peer(SystemId("100b"))
    before = row_of(rig.b, pair)
    with pytest.raises(RefusedError, match="status is DUPLEX"):
        peer.ask(ReverseRun(pair_id=pair.pair_id))
    assert row_of(rig.b, pair) == before
    rig.pvol.pwrite(b"still mirrored", 0)
    assert equal(rig.pvol, rig.spvol)


class _Superseding:
    """Supersedes the connection of an order in the middle of it, by another copy."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.began = False
        whole = getattr(owner, name)

        def between(self_: object, *args: object) -> object:
            if not self.began:
                self.began = True
                rig.path.cut()
                rig.path.stall()
                rig.path.connect()
                wait_until(self.is_under_way)
            return whole(self_, *args)

        self._rig = rig
        monkeypatch.setattr(owner, name, between)

    def is_under_way(self) -> bool:
        """Whether the later copy's records come through the pair's link."""
        state = self._rig.b.state
        (link,) = [one.link for one in state.mirrors.values() if one.row.is_remote]
        applies = state.peer(self._rig.a.system_id)._applies.values()
        return any(one is link for each in applies for one in each._links.values())


def test_a_split_that_is_superseded_half_way_leaves_the_later_copy_alone(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 7)
    kept, real = _kept_back(monkeypatch, "split")
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=1))
    assert job is not None
    with contextlib.suppress(PathLostError):
        pair.split()
    wait_until(lambda: bool(kept))
    pair.resync()
    superseding = _Superseding(rig, monkeypatch, Peer, "unbind_link")
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert superseding.began
    rig.path.resume()
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_late_order_to_forget_a_pair_leaves_one_that_was_brought_back(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    kept, real = _kept_back(monkeypatch, "remove")
    with pytest.raises(PathLostError):
        pair.dissolve()
    rig.path.cut()
    rig.path.connect()
    pair.resync()
    rig.both(pair, PairStatus.DUPLEX)
    before = rig.b.table()
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert rig.b.table() == before
    fill(rig.pvol, 8)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


BODIES: list[dict[str, Any]] = [
    {},
    {"workflow": 5, "pairs": 7, "request": 3},
    {"workflow": "w", "pairs": [{"a": 1}], "volumes": "x", "request": {"kind": []}},
    {"workflow": None, "attempt": [], "generation": {}, "state": "no state", "numbers": "x"},
    {"workflow": "line\nfeed\x1b[2J", "pairs": {"x": {}}, "body": b"\xff"},
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_call_that_says_nonsense_is_refused_in_one_line_and_changes_nothing(
    rig: Rig, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    rig.remote()
    rig.local()
    connection = rig.b.state.peer(SystemId("100a")).connection()
    before = (rig.b.table(), rig.b.list_generations())
    for verb in sorted(rig.b.endpoint.calls):
        caplog.clear()
        try:
            message = encode(Call(verb=verb, body=body))
            answer = decode_answer(rig.b.endpoint.answer(connection, message))
        except PyrepError as error:  # a refusal by its own class is as good
            answer = PeerFailed.of(error)
        if not isinstance(answer, PeerFailed):
            continue  # it needs nothing of what isn't there
        for record in caplog.records:
            assert record.exc_info is None, f"{verb}: a traceback"
            assert record.getMessage().isprintable(), verb
    assert (rig.b.table(), rig.b.list_generations()) == before
    backup(rig.a, ["105a"])


def test_a_command_that_nobody_has_is_refused(rig: Rig) -> None:
    rig.remote()
    with pytest.raises(PyrepError, match=r"no command 'backup\.nothing'"):
        rig.a.ask("100b", "backup.nothing", {})
