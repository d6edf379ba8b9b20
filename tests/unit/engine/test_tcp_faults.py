"""Two systems over TCP through a proxy with faults: loss and return of the path."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.interconnect import PathTiming
from pyrep.testing import FaultProxy, Way, wait_until
from rig import LONG_S, Rig, equal, fill

TIMING = PathTiming(ping_s=0.3, ping_timeout_s=0.6, retry_first_s=0.01, retry_most_s=0.05)


class ProxyRig(Rig):
    """100a dials 100b through a proxy."""

    proxy: FaultProxy

    def build_proxied(self) -> ProxyRig:
        self.make("100a", "105a", "106a")
        self.make("100b", "105b", "106b", "107b")
        self.proxy = self.dial_through_proxy(TIMING)
        return self

    def returned(self, taken_count: int) -> None:
        """Wait until later connections than these are up."""
        wait_until(lambda: self.proxy.taken_count >= taken_count + 2)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ProxyRig]:
    made = ProxyRig(tmp_path).build_proxied()
    yield made
    made.close()
    made.proxy.close()


@pytest.mark.parametrize("count_bytes", [1, 24, 100, 5000])
@pytest.mark.parametrize("way", list(Way))
def test_a_path_cut_anywhere_returns_and_the_pair_goes_on_by_itself(
    rig: ProxyRig, way: Way, count_bytes: int
) -> None:
    pair = rig.remote()
    taken = rig.proxy.taken_count
    rig.proxy.cut_after(count_bytes, way)
    for seed in range(20):  # hosts go on, marked
        fill(rig.pvol, seed)
        if rig.proxy.taken_count > taken:
            break
    rig.proxy.cut()
    rig.returned(taken)
    rig.proxy.calm()
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("way", [*Way, None])
def test_a_half_open_path_is_found_and_returns(rig: ProxyRig, way: Way | None) -> None:
    pair = rig.remote()
    taken = rig.proxy.taken_count
    rig.proxy.swallow(way, on=range(taken))
    rig.returned(taken)
    pair.wait(timeout_s=LONG_S)
    fill(rig.pvol, 3)
    rig.pvol.flush()
    assert equal(rig.pvol, rig.spvol)


def test_a_flipped_bit_cuts_the_peer_off_and_nothing_of_it_is_applied(rig: ProxyRig) -> None:
    pair = rig.remote()
    taken = rig.proxy.taken_count
    rig.proxy.corrupt_after(1000, Way.THERE)
    fill(rig.pvol, 4)
    rig.returned(taken)
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
