"""Copies whose peer answers later than a host would wait: slow storage, or a machine kept busy."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep.engine import Options
from pyrep.engine.outlet import Outlet
from pyrep.engine.sieve import Sieve
from pyrep.interconnect import PathTiming
from pyrep.model import AckPoint, Compare, Direction, PairStatus
from pyrep.testing import FaultProxy, Way
from rig import SIZE, Rig, equal, fill, row_of

HOSTS_S = 0.2
LATE_S = 4 * HOSTS_S
# Nobody asks whether the other side is there: a path that ended would begin anew.
TIMING = PathTiming(ping_s=1e5, ping_timeout_s=1e5, retry_first_s=0.01, retry_most_s=0.05)


class LateRig(Rig):
    """100a dials 100b through a proxy; hosts wait for answers for a moment only."""

    proxy: FaultProxy

    def build_proxied(self) -> LateRig:
        self.options["100a"] = self.options["100b"] = Options(ack_timeout_s=HOSTS_S)
        self.make("100a", "105a")
        self.make("100b", "105b")
        self.proxy = self.dial_through_proxy(TIMING)
        return self

    def late(
        self,
        wait: Callable[..., None],
        way: Way,
        seen: list[str],
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Callable[..., None]:
        """Return `wait` with its answer coming late, by that way."""

        def waits(*what: object) -> None:
            seen.append(wait.__name__)
            self.proxy.stall(way)
            meanwhile()
            threading.Timer(LATE_S, self.proxy.go_on, (way,)).start()
            wait(*what)

        return waits


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LateRig]:
    made = LateRig(tmp_path).build_proxied()
    yield made
    made.close()
    made.proxy.close()


def _is_over_one_connection(rig: LateRig) -> bool:
    return rig.proxy.taken_count == 2  # its two lanes


def test_a_copy_whose_last_barrier_is_answered_late_ends(
    rig: LateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    late = rig.late(Outlet.await_durable_of_job, Way.BACK, seen)
    monkeypatch.setattr(Outlet, "await_durable_of_job", late)
    pair = rig.remote()
    assert seen == ["await_durable_of_job"]
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)
    assert _is_over_one_connection(rig)


def test_so_does_a_copy_back(rig: LateRig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    pair = rig.remote()
    pair.split()
    fill(rig.pvol, 2)
    late = rig.late(Outlet.await_durable_of_job, Way.THERE, seen)
    monkeypatch.setattr(Outlet, "await_durable_of_job", late)
    job = pair.resync(direction=Direction.REVERSE, discard="100a")
    assert job is not None
    job.wait(60)
    assert seen == ["await_durable_of_job"]
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert _is_over_one_connection(rig)


def test_so_does_a_copy_that_waits_for_what_was_sent_before_it_compares(
    rig: LateRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    pair = rig.remote(ack=AckPoint.QUEUED)
    pair.split()
    rig.pvol.pwrite(b"pending", 0)

    def write() -> None:  # in mode queued: it is on its way when its answer is waited for
        rig.pvol.pwrite(b"on its way", SIZE // 2)

    late = rig.late(Sieve._await_sent, Way.BACK, seen, write)
    monkeypatch.setattr(Sieve, "_await_sent", late)
    job = pair.resync(compare=Compare.XXH3)
    assert job is not None
    job.wait(60)
    assert set(seen) == {"_await_sent"}
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert _is_over_one_connection(rig)
