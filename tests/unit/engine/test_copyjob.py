"""Copies: pause, pace, workers, progress; pairs that need no copy."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pyrep.engine import CopyJob, Options, Pair, Progress, Volume
from pyrep.engine.local_copies import LocalCopies
from pyrep.engine.mirror import Mirror
from pyrep.errors import (
    CancelledError,
    DeviceError,
    InvalidArgumentError,
    PathLostError,
    PyrepError,
    RefusedError,
)
from pyrep.model import Compare, CopyRate, Direction, PairStatus
from pyrep.testing import wait_until
from rig import LONG_S, MIB, SIZE, Rig, Site, content, equal, fill, refused

CRAWL = CopyRate(ceiling_bytes_s=1)
"""The first region goes at once, the second one after weeks."""


def write_all(volume: Volume, byte: bytes) -> None:
    volume.pwrite(byte * volume.size_bytes, 0)


@pytest.fixture
def pair(site: Site) -> Pair:
    """A pair that is SPLIT with all of its volume pending."""
    system = site.make("100b", "105b", "106b")
    write_all(system.volume("105b"), b"1")
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    write_all(system.volume("105b"), b"2")
    return pair


def crawl(pair: Pair, **how: object) -> CopyJob:
    """Begin a copy that stays in its middle."""
    job = pair.resync(rate=CRAWL, workers=1, **how)  # type: ignore[arg-type]
    assert job is not None
    wait_until(lambda: job.done_bytes > 0, timeout_s=LONG_S)
    return job


def test_a_copy_under_a_ceiling_goes_on_when_the_ceiling_is_lifted(site: Site, pair: Pair) -> None:
    system = site.systems["100b"]
    job = crawl(pair)
    assert pair.status().status is PairStatus.COPY
    assert (job.done_bytes, job.total_bytes) == (MIB, SIZE)
    assert job.rate == CRAWL
    job.rate = CopyRate()
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("106b"))
    assert job.sent_s is not None


def test_a_copy_does_not_rest_when_nothing_is_left(site: Site) -> None:
    system = site.make("100b", "105b", "106b")
    pair = system.create_local_pair("105b", "106b")
    pair.split()
    system.volume("105b").pwrite(b"few", 0)
    job = pair.resync(rate=CRAWL, workers=1)
    assert job is not None
    job.wait(LONG_S)


def test_a_resync_of_a_pair_that_copies_already_changes_its_rate(pair: Pair) -> None:
    job = crawl(pair)
    again = pair.resync(rate=CopyRate(ceiling_bytes_s=1 << 30))
    assert again is job
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX


def test_a_paused_copy_stays_where_it_is_until_it_is_resumed(site: Site, pair: Pair) -> None:
    system = site.systems["100b"]
    job = crawl(pair)
    pair.pause_copy()
    pair.pause_copy()
    job.rate = CopyRate()  # it is the pause that holds it now
    assert job.is_paused
    assert job.progress().eta_s is None
    fill(system.volume("105b"), 7)
    assert pair.status().status is PairStatus.COPY
    assert job.done_bytes == MIB
    pair.resume_copy()
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("106b"))


def test_a_paused_copy_can_be_cancelled_and_goes_on_later(site: Site, pair: Pair) -> None:
    system = site.systems["100b"]
    job = crawl(pair)
    job.pause()
    job.cancel()
    with pytest.raises(CancelledError):
        job.wait(LONG_S)
    assert pair.status().status is PairStatus.COPY
    again = pair.resync()
    assert again is not None
    again.wait(LONG_S)
    assert equal(system.volume("105b"), system.volume("106b"))


def test_a_paused_copy_can_be_split(pair: Pair) -> None:
    crawl(pair).pause()
    pair.split()
    state = pair.status()
    assert (state.status, state.target_consistent) == (PairStatus.SPLIT, False)
    assert state.pending_bytes == SIZE  # what was sent was never flushed


def test_a_system_with_a_paused_copy_closes_and_goes_on_with_it_when_opened(
    site: Site, pair: Pair
) -> None:
    crawl(pair).pause()
    pair_id = pair.pair_id
    system = site.reopen("100b")
    system.pair(pair_id).wait(timeout_s=LONG_S)
    assert equal(system.volume("105b"), system.volume("106b"))


def test_what_would_have_to_wait_for_a_paused_copy_is_refused(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    pair.split()
    local.split()
    write_all(rig.spvol, b"3")
    job = crawl(local)
    job.pause()
    with refused(RefusedError, rig.a, rig.b, names="paused"):
        pair.resync(direction=Direction.FORWARD)
    job.rate = CopyRate()
    job.resume()
    job.wait(LONG_S)
    again = pair.resync(direction=Direction.FORWARD)
    assert again is not None
    again.wait(LONG_S)
    assert equal(rig.pvol, rig.spvol)


def test_who_waits_for_a_copy_is_told_when_it_is_paused(pair: Pair) -> None:
    job = crawl(pair)
    told: list[PyrepError] = []

    def wait() -> None:
        try:
            job.wait_unless_paused("cannot back up")
        except PyrepError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    job.pause()
    waiting.join(LONG_S)
    assert isinstance(told[0], RefusedError)
    assert "cannot back up" in str(told[0])
    job.cancel()


def test_pause_and_resume_want_a_copy(site: Site, pair: Pair) -> None:
    system = site.systems["100b"]
    with refused(RefusedError, system, names="no copy runs"):
        pair.pause_copy()
    with refused(RefusedError, system, names="no copy runs"):
        pair.resume_copy()


@pytest.mark.parametrize("workers", [0, 65])
def test_a_number_of_workers_that_cannot_be_changes_nothing(
    site: Site, pair: Pair, workers: int
) -> None:
    with refused(InvalidArgumentError, site.systems["100b"], names=f"{workers} workers"):
        pair.resync(workers=workers)
    with pytest.raises(InvalidArgumentError):
        Options(copy_workers=workers)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_several_workers_copy_what_is_pending_once(site: Site, pair: Pair, workers: int) -> None:
    system = site.systems["100b"]
    seen: list[Progress] = []
    job = pair.resync(workers=workers)
    assert job is not None
    job.wait(LONG_S, progress=seen.append)
    assert job.done_bytes == job.total_bytes == SIZE
    assert equal(system.volume("105b"), system.volume("106b"))
    assert [one.done_bytes for one in seen] == sorted(one.done_bytes for one in seen)


def test_progress_tells_rate_and_time_left() -> None:
    now_s = [100.0]
    job = CopyJob(
        what="a copy", work=lambda _job: None, ended=lambda _error: None, clock=lambda: now_s[0]
    )
    job.total_bytes = 10_000
    assert job.progress() == Progress(what="a copy", total_bytes=10_000)
    now_s[0], job.done_bytes = 102.0, 2000
    told = job.progress()
    assert told.rate_bytes_s == pytest.approx(1000)
    assert told.eta_s == pytest.approx(8)


def test_a_new_pair_of_volumes_without_data_is_duplex_at_once(site: Site) -> None:
    system = site.make("100b", "105b", "106b", size=1 << 40)
    pair = system.create_local_pair("105b", "106b")
    state = pair.status()
    assert (state.status, state.pending_count, pair.job) == (PairStatus.DUPLEX, 0, None)
    assert state.target_consistent
    system.volume("105b").pwrite(b"first", 1 << 39)
    assert system.volume("106b").io().pread(5, 1 << 39) == b"first"
    pair.split()
    system = site.reopen("100b")
    assert system.pair(pair.pair_id).status().status is PairStatus.SPLIT


def test_a_new_pair_whose_target_holds_data_is_copied(site: Site) -> None:
    system = site.make("100b", "105b", "106b")
    fill(system.volume("106b"), 1)
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    assert content(system.volume("106b")) == bytes(SIZE)


def test_a_write_while_a_new_pair_is_looked_at_is_mirrored(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = site.make("100b", "105b", "106b")
    looks: list[str] = []
    look = LocalCopies._is_blank

    def write_after_the_first_look(self: LocalCopies, mirror: Mirror) -> bool:
        blank = look(self, mirror)
        looks.append(mirror.row.volume_id)
        if looks == ["105b"]:
            system.volume("105b").pwrite(b"between", 5000)
        return blank

    monkeypatch.setattr(LocalCopies, "_is_blank", write_after_the_first_look)
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    assert len(looks) > 2
    assert equal(system.volume("105b"), system.volume("106b"))


def test_a_new_pair_that_cannot_be_made_durable_at_once_is_copied(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = site.make("100b", "105b", "106b")
    finish = LocalCopies._finish_forward
    failed: list[str] = []

    def fail_once(self: LocalCopies, source: Mirror, target: Mirror) -> None:
        if not failed:
            failed.append("flush")
            raise DeviceError("flush failed", errno_code=5)
        finish(self, source, target)

    monkeypatch.setattr(LocalCopies, "_finish_forward", fail_once)
    pair = system.create_local_pair("105b", "106b")
    assert pair.wait(timeout_s=LONG_S).status is PairStatus.DUPLEX


@pytest.mark.parametrize("failing", [1, 3, 4])
@pytest.mark.parametrize("error", [DeviceError("cannot tell", errno_code=5), KeyboardInterrupt()])
def test_a_new_pair_that_cannot_be_looked_at_stays_pending(
    site: Site, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
) -> None:
    system = site.make("100b", "105b", "106b")
    looks: list[str] = []

    def look(_self: LocalCopies, mirror: Mirror) -> bool:
        looks.append(mirror.row.volume_id)
        if len(looks) == failing:
            system.volume("105b").pwrite(b"before the error", 5000)
            raise error
        return True

    monkeypatch.setattr(LocalCopies, "_is_blank", look)
    fill(system.volume("105b"), 1)
    fill(system.volume("106b"), 2)
    with contextlib.suppress(KeyboardInterrupt):
        system.create_local_pair("105b", "106b")
    assert len(looks) == failing
    system = site.reopen("100b")
    [pair] = system.pairs()
    pair.wait(timeout_s=LONG_S)
    assert equal(system.volume("105b"), system.volume("106b"))


def test_the_primary_paces_and_pauses_a_copy_that_the_secondary_makes(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    write_all(rig.spvol, b"3")
    job = crawl(pair, direction=Direction.REVERSE)
    pair.pause_copy()
    job.rate = CopyRate()
    other = rig.b.pair(pair.pair_id).job
    assert other is not None
    wait_until(lambda: other.is_paused and other.rate == CopyRate(), timeout_s=LONG_S)
    pair.resume_copy()
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("direction", list(Direction))
def test_a_copy_that_a_lost_path_has_interrupted_goes_on_at_its_rate_and_paused(
    rig: Rig, direction: Direction
) -> None:
    """It was given a rate, or paused, for the sake of a path or of hosts that are there still."""
    near, far = rig.a.create_volume("205a", 8 * MIB), rig.b.create_volume("205b", 8 * MIB)
    pair = rig.a.create_remote_pair("205a", "100b", "205b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    write_all(near if direction is Direction.FORWARD else far, b"4")
    first = crawl(pair, direction=direction, compare=Compare.NEVER)
    source = (rig.a if direction is Direction.FORWARD else rig.b).pair(pair.pair_id)
    wait_until(lambda: not source.status().unsettled)  # what was sent is durable there
    rig.path.cut()
    with pytest.raises((PathLostError, CancelledError)):  # as the other side's end is told
        first.wait(LONG_S)
    rig.path.connect()
    wait_until(lambda: pair.job not in {None, first})
    second = pair.job
    assert second is not None
    assert (second.rate, second.is_paused) == (CRAWL, False)
    wait_until(lambda: second.total_bytes > 0)
    assert second.total_bytes < first.total_bytes == near.size_bytes  # from where it was
    pair.pause_copy()
    rig.path.cut()
    with pytest.raises((PathLostError, CancelledError)):
        second.wait(LONG_S)
    rig.path.connect()
    wait_until(lambda: pair.job not in {None, second})
    third = pair.job
    assert third is not None
    assert (third.rate, third.is_paused) == (CRAWL, True)
    third.rate = CopyRate()
    pair.resume_copy()
    third.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(near, far)
    rig.path.cut()  # that copy has come to its end: the next one is as the options say
    write_all(near, b"5")
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    assert equal(near, far)


def test_a_cancel_ends_a_copy_that_the_secondary_makes_there_too(rig: Rig) -> None:
    near, far = rig.a.create_volume("205a", 8 * MIB), rig.b.create_volume("205b", 8 * MIB)
    pair = rig.a.create_remote_pair("205a", "100b", "205b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    write_all(far, b"6")
    job = crawl(pair, direction=Direction.REVERSE)
    there = rig.b.pair(pair.pair_id)
    copying = there.job
    assert copying is not None
    job.cancel()
    with pytest.raises(CancelledError):
        job.wait(LONG_S)
    wait_until(lambda: copying.is_done and there.job is None)
    left = there.status().pending_bytes
    assert 0 < left < near.size_bytes
    assert (pair.status().status, pair.status().stopped) == (PairStatus.COPY, True)
    again = pair.resync(direction=Direction.REVERSE)
    assert again is not None
    again.wait(LONG_S)
    assert again.total_bytes <= left + MIB  # and what wasn't known to be durable yet
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(near, far)


@pytest.mark.parametrize("direction", list(Direction))
def test_copies_of_several_pairs_run_at_once(rig: Rig, direction: Direction) -> None:
    """None waits for the end of another one, which may be paused, or slow, for weeks."""
    forward = direction is Direction.FORWARD
    pairs = [rig.remote(), rig.a.create_remote_pair("106a", "100b", "107b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
        pair.split()
    write_all(rig.pvol if forward else rig.spvol, b"7")
    write_all(rig.a.volume("106a") if forward else rig.b.volume("107b"), b"8")
    jobs = [crawl(pair, direction=direction) for pair in pairs]
    assert not any(job.is_done for job in jobs)
    for job in jobs:
        job.rate = CopyRate()
        job.wait(LONG_S)
    for pair in pairs:
        rig.both(pair, PairStatus.DUPLEX)
