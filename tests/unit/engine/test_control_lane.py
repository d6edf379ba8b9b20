"""A control channel that is dead one way is found while hosts write all the time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrep.engine import Volume
from pyrep.interconnect import PathTiming, Plain, Security, Tls
from pyrep.interconnect.envelope import Kind
from pyrep.interconnect.pki import AUTHORITY_CERTIFICATE, issue_certificate, make_authority
from pyrep.interconnect.tcp import TcpConnection
from pyrep.model import AckPoint, PairStatus
from pyrep.testing import FaultProxy, Way, wait_until
from rig import LONG_S, Rig, fill

TIMING = PathTiming(ping_s=1.0, ping_timeout_s=1.0, retry_first_s=0.01, retry_most_s=0.05)
CONTROL = 0


class LaneRig(Rig):
    """100a dials 100b through a proxy."""

    proxy: FaultProxy

    def build_proxied(self, a: Security, b: Security) -> LaneRig:
        self.make("100a", "105a", "106a")
        self.make("100b", "105b", "106b", "107b")
        self.proxy = self.dial_through_proxy(TIMING, here=a, there=b)
        return self


def _certified(authority: Path, system_id: str) -> Security:
    issued = issue_certificate(authority, system_id)
    return Tls(
        certificate=issued.certificate,
        key=issued.key,
        authority=authority / AUTHORITY_CERTIFICATE,
    )


@pytest.fixture(params=["plain", "tls"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[LaneRig]:
    a: Security = Plain()
    b: Security = Plain()
    if request.param == "tls":
        authority = tmp_path / "authority"
        make_authority(authority)
        a, b = _certified(authority, "100a"), _certified(authority, "100b")
    made = LaneRig(tmp_path).build_proxied(a, b)
    yield made
    made.close()
    made.proxy.close()


@pytest.fixture
def under_load() -> Iterator[Callable[[Volume], None]]:
    """Return what lets a host write to a volume without a pause, until the test has ended."""
    with ExitStack() as stack:

        def begin(volume: Volume) -> None:
            over = threading.Event()

            def write() -> None:
                while not over.is_set():
                    fill(volume, 1, count=1)

            host = threading.Thread(target=write, name="host")
            host.start()
            stack.callback(host.join)
            stack.callback(over.set)

        yield begin


@pytest.mark.parametrize("ack", [AckPoint.RECEIVED, AckPoint.QUEUED])
@pytest.mark.parametrize("way", [*Way, None])
def test_a_control_lane_that_is_dead_is_found_while_a_host_writes_all_the_time(
    rig: LaneRig, way: Way | None, ack: AckPoint, under_load: Callable[[Volume], None]
) -> None:
    """Or whoever asks the other system something waits until that host pauses."""
    pair = rig.remote(ack=ack)
    under_load(rig.pvol)
    taken = rig.proxy.taken_count
    rig.proxy.swallow(way, on=(CONTROL,))
    wait_until(lambda: rig.proxy.taken_count >= taken + 2, timeout_s=20.0)  # dialled anew
    rig.proxy.calm()
    pair.wait(timeout_s=LONG_S)


def test_a_path_that_carries_frames_one_way_only_stays(
    rig: LaneRig, under_load: Callable[[Volume], None]
) -> None:
    """Nothing ever comes over the data lane to who sends: that is no sign of its death."""
    pair = rig.remote()
    under_load(rig.pvol)
    taken = rig.proxy.taken_count
    pings = _pings(rig)
    wait_until(lambda: len(pings) >= 2)  # 100b hears frames alone, and asks
    assert rig.proxy.taken_count == taken
    assert pair.status().status is PairStatus.DUPLEX


def _pings(rig: LaneRig) -> list[object]:
    """Return a list that gets an entry for each ping that the secondary sends."""
    found: list[object] = []
    connection = _connection(rig)
    signal = connection._signal

    def counting(kind: Kind) -> None:
        signal(kind)
        if kind is Kind.PING:
            found.append(kind)

    connection._signal = counting  # type: ignore[method-assign]
    return found


def _connection(rig: LaneRig) -> TcpConnection:
    """Return the secondary's end of the path."""
    (peer,) = rig.b.state.peers.values()
    connection = peer._connection
    assert isinstance(connection, TcpConnection)
    return connection


def test_a_ping_that_waits_behind_a_long_answer_is_given_its_time_when_it_has_gone(
    rig: LaneRig, under_load: Callable[[Volume], None]
) -> None:
    rig.remote()
    connection = _connection(rig)
    signal = connection._signal
    waits, goes = threading.Event(), threading.Event()

    def behind(kind: Kind) -> None:
        if kind is Kind.PING:
            waits.set()
            goes.wait()
        signal(kind)

    looks: list[float | None] = []
    over_wait = connection._over.wait

    def looking(timeout_s: float | None = None) -> bool:
        looks.append(timeout_s)
        return over_wait(timeout_s)

    connection._signal = behind  # type: ignore[method-assign]
    connection._over.wait = looking  # type: ignore[method-assign, assignment]
    under_load(rig.pvol)  # 100a hears the acknowledgements, and doesn't end it
    rig.proxy.swallow(Way.THERE, on=(CONTROL,))
    assert waits.wait(LONG_S)
    seen = len(looks)
    wait_until(lambda: len(looks) > seen + 8)  # twice as long as an answer may take
    assert connection.why is None
    goes.set()
    wait_until(lambda: connection.why is not None)
    assert "gave no sign" in str(connection.why)
