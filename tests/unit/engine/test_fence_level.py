"""Fence level data: no write is acknowledged that the secondary doesn't have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep._core import LinkCore
from pyrep.engine import Options, Pair, Volume
from pyrep.engine.caller import Caller
from pyrep.engine.mirror import Mirror
from pyrep.engine.pairrepair import PairRepairs
from pyrep.engine.pairverify_result import PairVerifyResult
from pyrep.engine.remote_line import RemoteLine
from pyrep.errors import DeviceError, MirrorLostError
from pyrep.model import AckPoint, FenceLevel, PairStatus, SplitCause
from pyrep.testing import check_covered, wait_until
from rig import LONG_S, Rig, content, equal, fill, row_of


def fenced_pair(rig: Rig, ack: AckPoint = AckPoint.RECEIVED) -> Pair:
    return rig.remote(ack=ack, fence_level=FenceLevel.DATA)


def check_refused(volume: Volume) -> None:
    """Every kind of write fails, and changes nothing."""
    before = content(volume)
    writes: list[Callable[[], object]] = [
        lambda: volume.pwrite(b"x" * 5000, 4096),
        lambda: volume.zero(4096, 0),
        lambda: volume.trim(4096, 0),
    ]
    for write in writes:
        with pytest.raises(MirrorLostError, match="105a") as caught:
            write()
        assert caught.value.exit_code == 14
        assert caught.value.hint
    with volume.io() as io, pytest.raises(DeviceError):
        io.pwrite(b"x", 0)
    assert content(volume) == before
    volume.flush()


@pytest.mark.parametrize("ack", [AckPoint.RECEIVED, AckPoint.DURABLE])
def test_a_lost_path_fences_until_it_is_back(rig: Rig, ack: AckPoint) -> None:
    pair = fenced_pair(rig, ack)
    fill(rig.pvol, 2)
    rig.path.cut()
    pending = pair.status().pending_count
    check_refused(rig.pvol)
    assert pair.status().pending_count == pending
    assert equal(rig.pvol, rig.spvol)
    rig.path.connect()
    rig.both(pair, PairStatus.DUPLEX)
    fill(rig.pvol, 3)
    assert equal(rig.pvol, rig.spvol)


def test_it_fences_after_a_restart_before_the_path_is_up(rig: Rig) -> None:
    pair = fenced_pair(rig)
    for crash in (False, True):
        rig.reopen("100a", crash=crash)
        check_refused(rig.pvol)
        rig.reconnect()
        rig.both(pair, PairStatus.DUPLEX)
        fill(rig.pvol, 4)
        assert equal(rig.pvol, rig.spvol)


def test_a_requested_split_is_no_failure(rig: Rig) -> None:
    pair = fenced_pair(rig)
    pair.split()
    fill(rig.pvol, 2)
    rig.path.cut()
    fill(rig.pvol, 3)
    rig.reopen("100a")
    fill(rig.pvol, 4)
    rig.reconnect()
    assert row_of(rig.a, pair).cause is SplitCause.REQUESTED
    job = rig.a.pair(pair.pair_id).resync()
    assert job is not None
    job.wait(LONG_S)
    rig.path.cut()
    check_refused(rig.pvol)


def test_a_split_lets_hosts_go_on_without_the_mirror(rig: Rig) -> None:
    pair = fenced_pair(rig)
    rig.path.cut()
    check_refused(rig.pvol)
    pair.split()
    fill(rig.pvol, 2)
    assert pair.status().pending_count > 0
    check_covered(rig.a, rig.b)


def test_hosts_write_while_it_is_copied_and_not_while_the_copy_waits_for_its_path(
    rig: Rig,
) -> None:
    pair = fenced_pair(rig)
    pair.split()
    fill(rig.pvol, 2)
    rig.path.stall()
    job = pair.resync()
    assert job is not None
    host = threading.Thread(target=fill, args=(rig.pvol, 3))
    host.start()
    rig.path.resume()
    host.join()
    job.wait(LONG_S)
    assert equal(rig.pvol, rig.spvol)
    pair.split()
    fill(rig.pvol, 4)
    rig.path.stall()
    pair.resync()
    assert pair.status().status is PairStatus.COPY
    rig.path.cut()
    check_refused(rig.pvol)
    rig.reopen("100a")
    check_refused(rig.pvol)
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    fill(rig.pvol, 5)
    assert equal(rig.pvol, rig.spvol)


def test_a_dissolved_pair_fences_nobody(rig: Rig) -> None:
    pair = fenced_pair(rig)
    rig.path.cut()
    check_refused(rig.pvol)
    pair.dissolve(without_peer=True)
    fill(rig.pvol, 2)


@pytest.fixture
def hasty(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    rig.options["100a"] = Options(ack_timeout_s=0.3)
    yield rig.build()
    rig.close()


def test_a_write_that_is_not_acknowledged_in_time_is_an_error_and_pending(hasty: Rig) -> None:
    pair = fenced_pair(hasty)
    hasty.path.stall()
    with pytest.raises(MirrorLostError):
        hasty.pvol.pwrite(b"perhaps written here", 0)
    wait_until(lambda: row_of(hasty.a, pair).cause is SplitCause.PATH_LOST)
    check_covered(hasty.a, hasty.b)
    check_refused(hasty.pvol)


def test_fence_level_never_lets_it_go_on(hasty: Rig) -> None:
    pair = hasty.remote()
    hasty.path.stall()
    hasty.pvol.pwrite(b"marked", 0)
    wait_until(lambda: row_of(hasty.a, pair).cause is SplitCause.PATH_LOST)
    assert pair.status().pending_count > 0


# --- repairs --------------------------------------------------------------------------------------


def _differing(rig: Rig, pair: Pair) -> PairVerifyResult:
    fill(rig.pvol, 2)
    with Path(rig.spvol.path).open("r+b") as file:
        file.seek(8192)
        file.write(b"not what was written")
    found = pair.verify()
    assert found.differing_count == 1
    return found


def test_hosts_write_while_a_pair_is_set_aside_to_be_repaired(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = fenced_pair(rig)
    found = _differing(rig, pair)
    real = PairRepairs._make_pending

    def between(self: PairRepairs, mirror: Mirror, result: PairVerifyResult) -> None:
        fill(rig.pvol, 5)
        real(self, mirror, result)

    monkeypatch.setattr(PairRepairs, "_make_pending", between)
    pair.repair(found)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    rig.path.cut()
    check_refused(rig.pvol)


def test_the_fence_holds_while_what_is_queued_arrives_before_a_repair(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = fenced_pair(rig)
    found = _differing(rig, pair)
    order: list[str] = []
    drain, guard = RemoteLine.drain, LinkCore.guard

    def drained(self: RemoteLine, mirror: Mirror, caller: Caller | None = None) -> None:
        order.append("drain")
        drain(self, mirror, caller)

    def guarded(self: LinkCore, *, on: bool) -> None:
        order.append(f"guard {on}")
        guard(self, on=on)

    monkeypatch.setattr(RemoteLine, "drain", drained)
    monkeypatch.setattr(LinkCore, "guard", guarded)
    pair.repair(found)
    assert order[:2] == ["drain", "guard False"]
    rig.both(pair, PairStatus.DUPLEX)


@pytest.mark.parametrize("what", ["_make_pending", "cut"])
def test_a_repair_that_stops_leaves_no_gap_in_the_fence(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    pair = fenced_pair(rig)
    found = _differing(rig, pair)

    def stops(*_: object) -> None:
        if what == "cut":
            rig.path.cut()
        raise DeviceError("no room for the bits")

    monkeypatch.setattr(PairRepairs, "_make_pending", stops)
    with pytest.raises(DeviceError, match="no room"):
        pair.repair(found)
    check_refused(rig.pvol)
    monkeypatch.undo()
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    pair.repair(pair.verify())
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
