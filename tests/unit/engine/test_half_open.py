"""Half-open paths of every kind: writers get away in time, and in mode queued somebody notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import Options, Pair, endpoint
from pyrep.errors import MirrorLostError
from pyrep.interconnect import PathTiming
from pyrep.model import AckPoint, FenceLevel, PairStatus, SplitCause
from pyrep.testing import FaultProxy, Way, check_covered, wait_until
from rig import Rig, equal, fill, row_of

# Nobody asks whether the other side is there: what ends a wait is the writer's own time-out.
NEVER_ASKS = PathTiming(ping_s=1e5, ping_timeout_s=1e5, retry_first_s=0.01, retry_most_s=0.05)
ASKS = PathTiming(ping_s=0.3, ping_timeout_s=30.0, retry_first_s=0.01, retry_most_s=0.05)
CONTROL, DATA = 0, 1
SYNC = [AckPoint.RECEIVED, AckPoint.DURABLE]
WAYS = [*Way, None]
LANES = [(CONTROL,), (DATA,), (CONTROL, DATA)]


class HalfOpenRig(Rig):
    """100a dials 100b through a proxy; its writers are hasty."""

    proxy: FaultProxy

    def build_proxied(self, timing: PathTiming) -> HalfOpenRig:
        self.options["100a"] = Options(ack_timeout_s=0.3)
        self.make("100a", "105a", "106a")
        self.make("100b", "105b", "106b", "107b")
        self.proxy = self.dial_through_proxy(timing)
        return self

    def heal(self, pair: Pair) -> None:
        """Let new connections pass, and wait until the pair is equal over one."""
        taken = self.proxy.taken_count
        self.proxy.calm()
        self.proxy.cut()
        wait_until(lambda: self.proxy.taken_count >= taken + 2)
        self.both(pair, PairStatus.DUPLEX)
        assert equal(self.pvol, self.spvol)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[HalfOpenRig]:
    made = HalfOpenRig(tmp_path).build_proxied(NEVER_ASKS)
    yield made
    made.close()
    made.proxy.close()


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[HalfOpenRig]:
    made = HalfOpenRig(tmp_path).build_proxied(ASKS)
    yield made
    made.close()
    made.proxy.close()


def _gets_through(lanes: tuple[int, ...], way: Way | None) -> bool:
    """Whether records still get there, over the data lane, and their answers back."""
    there, back = way is not Way.BACK, way is not Way.THERE
    return not (DATA in lanes and there) and not (CONTROL in lanes and back)


@pytest.mark.parametrize("ack", SYNC)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lanes", LANES)
def test_a_synchronous_write_ends_whatever_part_of_the_path_is_dead(
    rig: HalfOpenRig, lanes: tuple[int, ...], way: Way | None, ack: AckPoint
) -> None:
    pair = rig.remote(ack=ack)
    rig.proxy.swallow(way, on=lanes)
    rig.pvol.pwrite(b"into the dark", 0)
    if ack is AckPoint.DURABLE:
        rig.pvol.flush()
    check_covered(rig.a, rig.b)
    if _gets_through(lanes, way):
        assert row_of(rig.a, pair).status is PairStatus.DUPLEX
        assert rig.spvol.pread(13, 0) == b"into the dark"
    else:
        wait_until(lambda: row_of(rig.a, pair).cause is SplitCause.PATH_LOST)
        fill(rig.pvol, 9)  # marked, and done
    rig.heal(pair)


@pytest.mark.parametrize(("lanes", "way"), [((CONTROL,), Way.BACK), ((DATA,), Way.THERE)])
def test_a_write_that_its_mirror_must_have_fails_when_half_of_the_path_is_dead(
    rig: HalfOpenRig, lanes: tuple[int, ...], way: Way
) -> None:
    pair = rig.remote(ack=AckPoint.DURABLE, fence_level=FenceLevel.DATA)
    rig.proxy.swallow(way, on=lanes)
    with pytest.raises(MirrorLostError):
        rig.pvol.pwrite(b"into the dark", 0)
    check_covered(rig.a, rig.b)
    rig.heal(pair)


@pytest.mark.parametrize("way", [Way.THERE, None])
def test_a_dead_data_lane_is_found_in_mode_queued_where_nobody_waits_and_pings_are_answered(
    asking: HalfOpenRig,
    way: Way | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(endpoint, "SILENT_LEAST_S", 1.0)
    pair = asking.remote(ack=AckPoint.QUEUED)
    taken = asking.proxy.taken_count
    asking.proxy.swallow(way, on=(DATA,))
    fill(asking.pvol, 2)
    wait_until(lambda: asking.proxy.taken_count >= taken + 2)  # dialled anew
    assert "path.silent peer=100b" in caplog.text
    asking.both(pair, PairStatus.DUPLEX)
    assert equal(asking.pvol, asking.spvol)


def test_a_queue_that_is_answered_slowly_is_not_silent(asking: HalfOpenRig) -> None:
    asking.remote(ack=AckPoint.QUEUED)
    (peer,) = asking.a.state.peers.values()
    (outlet,) = peer._outlets.values()
    asking.proxy.stall(Way.BACK)
    fill(asking.pvol, 2)
    wait_until(lambda: outlet.stream.info().taken > outlet.stream.info().received)
    assert not outlet.is_silent(1000.0, 60.0)
    assert not outlet.is_silent(1059.0, 60.0)
    assert outlet.is_silent(1060.0, 60.0)
    asking.proxy.go_on(Way.BACK)
    wait_until(lambda: outlet.stream.info().taken == outlet.stream.info().received)
    asking.proxy.stall(Way.BACK)
    fill(asking.pvol, 3)  # answered since: the wait begins anew
    wait_until(lambda: outlet.stream.info().taken > outlet.stream.info().received)
    assert not outlet.is_silent(1061.0, 60.0)
    asking.proxy.go_on(Way.BACK)
    wait_until(lambda: outlet.stream.info().taken == outlet.stream.info().received)
    assert not outlet.is_silent(2000.0, 60.0)
