"""What is left in memory of remote pairs that were dissolved: nothing that a process misses."""

from __future__ import annotations

import threading

from pyrep.interconnect import LoopPath
from pyrep.model import PairStatus, SystemId
from pyrep.testing import wait_until
from rig import LONG_S, Rig, equal, fill

CYCLES = 20


def held_by(rig: Rig) -> tuple[int, int]:
    """Return how many streams and sending threads the primary has."""
    peer = rig.a.state.peers[SystemId("100b")]
    sending = [one for one in threading.enumerate() if one.name.startswith("send ")]
    return len(peer._outlets), len(sending)


def cycle(rig: Rig, group: str | None = None) -> None:
    pair = rig.a.create_remote_pair("105a", "100b", "105b", group=group)
    pair.wait(PairStatus.DUPLEX, timeout_s=LONG_S)
    fill(rig.pvol, 2)
    assert equal(rig.pvol, rig.spvol)
    pair.dissolve()


def renewed(rig: Rig) -> LoopPath:
    rig.path.cut()
    rig.path.connect()
    return rig.path


def test_a_dissolved_pair_leaves_no_queue_or_thread_behind(rig: Rig) -> None:
    for _ in range(CYCLES):
        cycle(rig)
        wait_until(lambda: held_by(rig) == (0, 0))


def test_its_siblings_in_the_group_go_on_and_the_path_stays_up(rig: Rig) -> None:
    other = rig.a.create_remote_pair("106a", "100b", "107b", group="g")
    other.wait(PairStatus.DUPLEX, timeout_s=LONG_S)
    for _ in range(CYCLES):
        cycle(rig, "g")
    assert held_by(rig) == (1, 1)
    fill(rig.a.volume("106a"), 3)
    assert equal(rig.a.volume("106a"), rig.b.volume("107b"))
    assert other.status().status is PairStatus.DUPLEX


def test_a_named_group_without_pairs_is_used_again_over_the_same_path(rig: Rig) -> None:
    cycle(rig, "g")
    cycle(rig, "g")


def test_a_named_group_without_pairs_ends_with_the_next_path(rig: Rig) -> None:
    cycle(rig, "g")
    assert renewed(rig).is_up
    assert held_by(rig) == (0, 0)
    assert not rig.b.state.peers[SystemId("100a")]._applies
    cycle(rig, "g")


def test_bytes_sent_to_a_system_stay_counted(rig: Rig) -> None:
    cycle(rig)
    peer = rig.a.state.peers[SystemId("100b")]
    assert peer.frame_bytes > 0
