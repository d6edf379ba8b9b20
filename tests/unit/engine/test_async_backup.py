"""Backups of asynchronous pairs: 420 drains to the point, hosts write on, the order is one."""

from __future__ import annotations

import threading

import pytest

from pyrep.model import AckPoint, PairStatus, VolumeId
from pyrep.testing import Content, HostWrite, check_one_point, wait_until
from pyrep.workflows import HoldAck, backup
from rig import KIB, LONG_S, Rig, content, equal, row_of

PVOLS = ("100a", "105a"), ("100a", "106a")
SPVOLS = {"105a": "105b", "106a": "107b"}


def two_pairs(rig: Rig, first: AckPoint, second: AckPoint) -> dict[str, str]:
    """Mirror both volumes in one group, with a local mirror each; return these by PVOL."""
    rig.remote(group="g", ack=first)
    rig.a.create_remote_pair("106a", "100b", "107b", group="g", ack=second).wait(timeout_s=LONG_S)
    rig.b.create_volume("108b", rig.pvol.size_bytes)
    rig.local("106b")
    rig.b.create_local_pair("107b", "108b").wait(timeout_s=LONG_S)
    return {"105a": "106b", "106a": "108b"}


@pytest.mark.parametrize("hold_ack", HoldAck)
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (AckPoint.QUEUED, AckPoint.QUEUED),
        (AckPoint.QUEUED, AckPoint.RECEIVED),
        (AckPoint.DURABLE, AckPoint.QUEUED),
    ],
)
def test_a_backup_holds_one_point_whatever_the_acknowledgement_points(
    rig: Rig, first: AckPoint, second: AckPoint, hold_ack: HoldAck
) -> None:
    mirrors = two_pairs(rig, first, second)
    before = {name: Content.of(content(rig.a.volume(name[1]))) for name in PVOLS}
    written: list[tuple[tuple[str, str], HostWrite]] = []
    enough, over = threading.Event(), threading.Event()

    def host() -> None:
        number = 0
        while not over.is_set():
            name = PVOLS[number % 2]
            write = HostWrite(offset=(number * 37 % 400) * KIB, data=b"%08d" % number * 300)
            written.append((name, write))  # before: it may be in the backup as it returns
            rig.a.volume(name[1]).pwrite(write.data, write.offset)
            number += 1
            if number == 50:
                enough.set()

    writing = threading.Thread(target=host)
    writing.start()
    enough.wait()
    try:
        report = backup(rig.a, ["105a", "106a"], hold_ack=hold_ack, hold_max_ms=20_000)
    finally:
        over.set()
        writing.join()
    assert report.generation.is_complete
    assert {status for _, status in report.generation.remote_during} == {PairStatus.DUPLEX}
    held = {name: content(rig.b.volume(mirrors[VolumeId(name[1])])) for name in PVOLS}
    count = check_one_point(before, written, held)
    assert count >= 50
    for name in PVOLS:
        wait_until(lambda name=name: equal(rig.a.volume(name[1]), rig.b.volume(SPVOLS[name[1]])))  # type: ignore[misc]


def test_a_backlog_is_drained_before_the_hold(rig: Rig) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.local()
    rig.path.stall()
    for number in range(40):
        rig.pvol.pwrite(bytes([number]) * (32 * KIB), number * 32 * KIB)
    made = []
    asking = threading.Thread(target=lambda: made.append(backup(rig.a, ["105a"])))
    asking.start()
    rig.path.resume()
    asking.join()
    (report,) = made
    assert report.generation.is_complete
    assert content(rig.svol) == content(rig.pvol)
    assert row_of(rig.a, pair).status is PairStatus.DUPLEX
