"""Orders of a connection that a later one has superseded, and calls that say nonsense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrep.engine import Pair
from pyrep.engine.secondary import SecondarySide
from pyrep.errors import PathLostError, PyrepError
from pyrep.interconnect.messages import Call, PeerFailed, decode_answer, encode
from pyrep.model import Direction, PairStatus, SystemId
from pyrep.testing import wait_until
from pyrep.workflows import backup
from rig import Rig, equal, fill, row_of


def _kept_back(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> tuple[list[tuple[Any, ...]], Callable[..., Any]]:
    """Keep the first order of a kind back, as a thread that isn't run does."""
    real = getattr(SecondarySide, name)
    kept: list[tuple[Any, ...]] = []

    def keep(side: SecondarySide, *order: Any) -> Any:
        if kept:
            return real(side, *order)
        kept.append((side, *order))
        raise PathLostError("not run yet")

    monkeypatch.setattr(SecondarySide, name, keep)
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
    kept, real = _kept_back(monkeypatch, "begin_reverse")
    with pytest.raises(PathLostError):
        pair.resync(direction=Direction.REVERSE)
    rig.path.cut()
    rig.path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    before = rig.b.table()
    with pytest.raises(PathLostError, match="given up"):
        real(*kept[0])
    assert rig.b.table() == before


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
