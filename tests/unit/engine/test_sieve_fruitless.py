"""Comparisons that give up where everything differs."""

from __future__ import annotations

import random

import pytest

from pyrep.engine import CopyJob
from pyrep.engine.peer import Peer
from pyrep.interconnect.messages import Answer, Message, ReadDigests, encode
from pyrep.model import (
    Compare,
    Direction,
)
from rig import KIB, MIB, SIZE, Rig
from unit.engine.compared import resync


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of questions for digests and of their answers."""
    counts: list[int] = []
    whole = Peer.ask

    def counting(self: Peer, message: Message) -> Answer:
        answer = whole(self, message)
        if isinstance(message, ReadDigests):
            counts.append(len(encode(message)) + len(encode(answer)))
        return answer

    monkeypatch.setattr(Peer, "ask", counting)
    return counts


def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a comparison give up within the small volumes of these tests."""
    monkeypatch.setattr("pyrep.engine.sieve.WINDOW_BYTES", 32 * KIB)
    monkeypatch.setattr("pyrep.engine.questions.QUESTIONS", 1)
    monkeypatch.setattr("pyrep.model.digest._LEAST_BYTES", 64 * KIB)


def all_different(rig: Rig, compare: Compare, direction: Direction) -> tuple[CopyJob, int]:
    """Copy a volume that differs everywhere, after an unclean end; return job, bytes of frames."""
    pair = rig.remote()
    pair.split()
    rig.reopen("100a", crash=True)
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    rig.pvol.pwrite(random.Random(2).randbytes(SIZE), 0)
    rig.spvol.pwrite(random.Random(3).randbytes(SIZE), 0)
    back = direction is Direction.REVERSE
    return resync(
        rig,
        pair,
        direction=direction,
        discard="100a" if back else "100b",
        compare=compare,
    )


@pytest.mark.parametrize("direction", Direction)
def test_a_comparison_by_itself_gives_up_where_everything_differs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, crossed: list[int], direction: Direction
) -> None:
    small_looks(monkeypatch)
    job, frames = all_different(rig, Compare.AUTO, direction)
    assert 0 < job.compared_bytes < SIZE / 2
    assert job.sent_bytes == SIZE
    assert frames + sum(crossed) < 1.03 * SIZE


def test_a_comparison_that_was_asked_for_does_not_give_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, crossed: list[int]
) -> None:
    small_looks(monkeypatch)
    job, frames = all_different(rig, Compare.XXH3, Direction.FORWARD)
    assert job.compared_bytes == SIZE
    assert frames + sum(crossed) < 1.03 * SIZE


def test_a_comparison_that_gave_up_finds_what_is_equal_farther_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_looks(monkeypatch)
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.pvol.pwrite(random.Random(2).randbytes(MIB), 0)
    rig.reopen("100a", crash=True)
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    rig.a.state.mirror(pair.pair_id).mark_all()
    job, _ = resync(rig, pair)
    assert job.compared_bytes < SIZE
    assert MIB <= job.sent_bytes <= MIB + MIB // 4
