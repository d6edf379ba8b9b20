"""What is refused again and again is tried less and less often."""

from __future__ import annotations

import pytest

from pyrep.engine.backoff import Backoff
from pyrep.engine.remote_copies import RemoteCopies
from pyrep.errors import RefusedError
from pyrep.model import AckPoint, Congestion, PairStatus
from pyrep.testing import wait_until
from rig import LONG_S, MIB, Rig, equal


class Hand:
    """A clock that is set."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_each_refusal_doubles_the_pause_up_to_a_minute() -> None:
    clock = Hand()
    backoff = Backoff(clock)
    assert backoff.may("pair")
    pauses = []
    for _ in range(8):
        backoff.refused("pair")
        begun = clock.now_s
        while not backoff.may("pair"):
            clock.now_s += 0.5
        pauses.append(clock.now_s - begun)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.may("another")
    backoff.refused("pair")
    backoff.forget("pair")
    assert backoff.may("pair")
    backoff.refused("pair")
    clock.now_s += 1
    assert backoff.may("pair")  # a first one


def test_a_congested_pair_whose_resume_is_refused_is_not_tried_at_each_look(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.a._watch.close()
    clock = Hand()
    congestion = rig.a._remote.congestion
    congestion.backoff.clock = clock
    pair = rig.remote(ack=AckPoint.QUEUED, congestion=Congestion.PULL_AHEAD)
    tried: list[str] = []

    def refused(_: RemoteCopies, pair_id: str, **_options: object) -> None:
        tried.append(pair_id)
        raise RefusedError("a local pair is copying back")

    with monkeypatch.context() as patch:
        patch.setattr(RemoteCopies, "resync_forward", refused)
        rig.path.stall()
        while pair.status().status is PairStatus.DUPLEX:
            rig.pvol.pwrite(bytes(MIB), 0)
        rig.path.resume()

        def is_tried() -> bool:
            rig.a._watch.look()
            return bool(tried)

        wait_until(is_tried)
        for wanted in (1, 2, 3):
            wait_until(lambda: not congestion._resuming)
            for _ in range(20):
                rig.a._watch.look()
            assert len(tried) == wanted
            clock.now_s += 2 ** (wanted - 1)
            rig.a._watch.look()
    wait_until(lambda: not congestion._resuming)
    clock.now_s += 60
    rig.a._watch.look()
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
