"""Copies that compare digests first, and send only what differs."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pyrep.engine import ChangedBacking, CopyJob, Options, Pair
from pyrep.model import (
    Compare,
    CopyRate,
    Direction,
    PairStatus,
)
from pyrep.testing import wait_until
from rig import CHUNK, KIB, LONG_S, MIB, SIZE, Rig, Site, equal, fill, row_of
from unit.engine.compared import BARELY, all_pending, resync


@pytest.mark.parametrize("compare", [Compare.XXH3, Compare.SHA256])
def test_only_what_differs_is_sent_however_much_is_pending(rig: Rig, compare: Compare) -> None:
    rig.remote()
    pair = rig.a.pairs()[0]
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    rig.pvol.pwrite(b"one", 5 * CHUNK)
    rig.pvol.pwrite(b"two", SIZE - 3)
    job, crossed = resync(rig, pair, compare=compare)
    assert 2 * CHUNK < crossed < 2 * CHUNK + BARELY
    assert (job.compared_bytes, job.sent_bytes) == (SIZE, 2 * CHUNK)
    assert job.done_bytes == job.total_bytes == SIZE
    told = job.progress()
    assert (told.compared_bytes, told.sent_bytes) == (SIZE, 2 * CHUNK)


def test_without_digests_everything_pending_is_sent(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    job, crossed = resync(rig, pair, compare=Compare.NEVER)
    assert crossed > SIZE
    assert (job.compared_bytes, job.sent_bytes) == (0, SIZE)


@pytest.mark.parametrize("ended", ["100a", "100b"])
def test_after_an_unclean_end_of_either_side_digests_are_compared_by_itself(
    rig: Rig, ended: str
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    rig.path.cut()
    rig.reopen(ended, crash=True)
    rig.pvol.pwrite(b"while it was away", 77 * CHUNK)
    path = rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert path.frame_bytes < CHUNK + BARELY


def test_after_a_crash_the_hot_regions_are_compared_and_what_differs_crosses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large volume in which everything was written to, and settled, long ago."""
    region, hot, regions = 4 * MIB, 16, 60
    rig = Rig(tmp_path)
    rig.options["100a"] = Options(hot_regions=hot)
    rig.build(size=regions * region)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    pair.wait(timeout_s=LONG_S)
    for number in range(regions - hot):
        rig.pvol.pwrite(bytes([number]) * CHUNK, number * region)
    wait_until(lambda: not pair.status().unsettled)
    for number in range(regions - hot, regions):
        rig.pvol.pwrite(bytes([number]) * CHUNK, number * region)
    wait_until(lambda: not pair.status().unsettled)
    rig.path.cut()
    rig.pvol.pwrite(b"one", (regions - 1) * region)
    rig.pvol.pwrite(b"two", (regions - 2) * region + 7 * CHUNK)
    pair = rig.reopen("100a", crash=True).pair(pair.pair_id)
    # What left the log while it was unsettled is in there, too.
    most = hot * region + (regions - hot) * CHUNK
    assert pair.status().pending_bytes <= most
    jobs: list[CopyJob] = []
    start = CopyJob.start

    def note(job: CopyJob) -> None:
        jobs.append(job)
        start(job)

    monkeypatch.setattr(CopyJob, "start", note)
    path = rig.reconnect()
    pair.wait(timeout_s=LONG_S)
    assert 0 < sum(one.compared_bytes for one in jobs) <= most
    assert path.frame_bytes < 2 * CHUNK + BARELY
    for number in (0, regions - 2, regions - 1):
        assert rig.spvol.pread(8 * CHUNK, number * region) == rig.pvol.pread(
            8 * CHUNK, number * region
        )
    rig.close()


def test_a_copy_that_an_unclean_end_interrupts_compares_when_it_goes_on(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=1))
    assert job is not None
    rig.path.cut()
    rig.reopen("100a", crash=True)
    path = rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert path.frame_bytes < BARELY


def test_a_pair_in_sync_again_has_nothing_to_compare_after_a_clean_end(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    rig.reopen("100b", crash=True)
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    rig.pvol.pwrite(b"x", 0)
    pair = rig.a.pair(pair.pair_id)
    all_pending(rig, pair)
    job, _ = resync(rig, pair)
    assert job.compared_bytes == 0


def test_a_reverse_copy_sends_back_only_what_differs(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    rig.spvol.pwrite(b"restored", 9 * CHUNK)
    job, crossed = resync(
        rig, pair, direction=Direction.REVERSE, discard="100a", compare=Compare.XXH3
    )
    assert crossed < CHUNK + BARELY
    assert (job.compared_bytes, job.sent_bytes) == (SIZE, CHUNK)
    assert rig.pvol.pread(8, 9 * CHUNK) == b"restored"


def test_what_was_torn_at_the_target_is_found_and_sent(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.b.state.volume(rig.spvol.volume_id).io.pwrite(b"torn", 3 * CHUNK + 100)
    rig.a.state.mirror(pair.pair_id).mark_all()
    job, _ = resync(rig, pair, compare=Compare.XXH3)
    assert job.sent_bytes == CHUNK


def test_zeros_and_long_runs_cross_as_few_records(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    rig.pvol.zero(MIB, 0)
    rig.pvol.pwrite(random.Random(2).randbytes(512 * KIB), MIB)
    _, crossed = resync(rig, pair, compare=Compare.XXH3)
    # 512 KiB in two records of 256 KiB; a MiB of zeros in one of 32 bytes.
    assert 512 * KIB < crossed < 513 * KIB


def put_an_old_copy_back(rig: Rig, pair: Pair, tmp_path: Path) -> None:
    """Put 100b back as it was before the last resync; the pair waits for a command."""
    pair.split()
    rig.pvol.pwrite(b"one", 5 * CHUNK)
    rig.path.cut()
    rig.b.close()
    shutil.copytree(rig.root / "100b", tmp_path / "old")
    rig.open("100b")
    rig.reconnect()
    resync(rig, pair)
    rig.path.cut()
    rig.b.close()
    shutil.rmtree(rig.root / "100b")
    shutil.copytree(tmp_path / "old", rig.root / "100b")
    rig.options["100b"] = Options(changed_backing=ChangedBacking.ASSUME_UNCHANGED)
    rig.open("100b")
    rig.reconnect()
    rig.both(pair, PairStatus.SPLIT)


def test_an_old_copy_that_was_put_back_is_compared(rig: Rig, tmp_path: Path) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    put_an_old_copy_back(rig, pair, tmp_path)
    job, crossed = resync(rig, pair)
    assert job.compared_bytes == SIZE
    assert crossed < CHUNK + BARELY


def test_options_say_when_digests_are_compared(site: Site) -> None:
    site.options["100a"] = Options(compare=Compare.SHA256)
    rig = Rig(site.root, options=site.options).build()
    pair = rig.remote()
    fill(rig.pvol, 3)
    all_pending(rig, pair)
    job, _ = resync(rig, pair)
    assert job.compared_bytes  # but for the volume's holes
    rig.close()


@pytest.mark.parametrize("ended", ["100a", "100b"])
def test_a_clean_end_after_an_unclean_one_is_no_reason_to_send_it_all(rig: Rig, ended: str) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.path.cut()
    rig.reopen(ended, crash=True)
    rig.reopen("100a")
    rig.reopen("100b")
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    rig.a.state.mirror(pair.pair_id).mark_all()
    rig.pvol.pwrite(b"meanwhile", 77 * CHUNK)
    job, crossed = resync(rig, pair)
    assert job.compared_bytes == SIZE
    assert crossed < CHUNK + BARELY
    for system in (rig.a, rig.b):
        assert not row_of(system, pair).overmarked


def test_the_copy_of_an_old_copy_compares_after_a_clean_end_too(rig: Rig, tmp_path: Path) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    put_an_old_copy_back(rig, pair, tmp_path)
    pair = rig.a.pair(pair.pair_id)
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=1))
    assert job is not None
    rig.path.cut()
    rig.reopen("100a")
    path = rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert path.frame_bytes < CHUNK + BARELY
