"""The clean end of a system whose path is up, but slow."""

from __future__ import annotations

import threading

import pytest

from pyrep.engine import Options, ending
from pyrep.model import AckPoint, PairStatus
from pyrep.testing import wait_until
from rig import LONG_S, Rig, Site, equal, fill


def test_a_slow_path_bounds_no_end_and_what_it_had_not_taken_is_pending(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_DRAIN_MOST_S", 0.05)
    rig = Rig(site.root, options={"100a": Options(ack_timeout_s=1e4)}).build()
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.path.stall()
    fill(rig.pvol, 7)
    state = rig.a.state
    closing = threading.Thread(target=rig.a.close)
    closing.start()
    try:
        wait_until(state.wake.is_set)
    finally:
        rig.path.resume()
        closing.join()
    rig.open("100a")
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(PairStatus.DUPLEX, timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    rig.close()
