"""Pauses between attempts to connect grow, and begin anew once a path has been up for a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.interconnect import PathTiming, Plain, TcpPath
from pyrep.interconnect.tcp import TcpConnection
from pyrep.testing import wait_until
from rig import Rig

QUICK = PathTiming(retry_first_s=0.002, retry_most_s=1000.0)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    made.make("100a", "105a")
    made.make("100b", "105b")
    yield made
    made.close()


def test_each_pause_is_up_to_twice_the_one_before_and_never_longer_than_the_longest() -> None:
    timing = PathTiming(retry_first_s=0.2, retry_most_s=15.0)
    pauses = list(islice(timing.pauses_s(random.Random(1)), 40))
    ends = [min(0.2 * 2**number, 15.0) for number in range(40)]
    for pause, end in zip(pauses, ends, strict=True):
        assert end / 2 <= pause <= end
    assert any(before > after for before, after in pairwise(pauses[10:]))  # chance is in it


@pytest.mark.parametrize("asked", [0, -1.0, float("nan"), float("inf"), "soon"])
def test_a_time_that_can_not_be_is_refused_by_its_name(asked: float) -> None:
    with pytest.raises(InvalidArgumentError, match="retry_most_s"):
        PathTiming(retry_most_s=asked)


def _waits_long(path: TcpPath, than_s: float) -> bool:
    return (path.state().retry_s or 0.0) > than_s


def test_a_system_that_does_not_answer_is_dialled_less_and_less_often(rig: Rig) -> None:
    listener = rig.b.listen("127.0.0.1:0", security=Plain())
    address = str(listener.address)
    listener.close()
    path = rig.a.dial("100b", address, security=Plain(), timing=QUICK)
    wait_until(lambda: _waits_long(path, 50 * QUICK.retry_first_s))
    assert path.state().attempts > 1


def test_a_path_that_is_lost_whenever_it_is_up_is_dialled_less_and_less_often(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time all pairs would begin to resync, and a line of log say why not."""
    # Longer than it takes a busy machine to lose it: what was up for longer than the pause before
    # begins anew.
    timing = PathTiming(retry_first_s=0.5, retry_most_s=1000.0)
    listener = rig.b.listen("127.0.0.1:0", security=Plain())
    start = TcpConnection.start

    def lost_at_once(self: TcpConnection) -> None:
        start(self)
        if self.peer_id == "100b":
            self.close()

    monkeypatch.setattr(TcpConnection, "start", lost_at_once)
    path = rig.a.dial("100b", str(listener.address), security=Plain(), timing=timing)
    wait_until(lambda: _waits_long(path, 2 * timing.retry_first_s))
    monkeypatch.undo()
    path.close()
    again = rig.a.dial("100b", str(listener.address), security=Plain(), timing=QUICK)
    wait_until(lambda: again.state().is_up)
