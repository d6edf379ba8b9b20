"""The job of a pair that copies: progress and cancel of initial copies too."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrep import Cancel, PairStatus, Progress, StorageSystem, connect
from pyrep.errors import CancelledError

SIZE = 8 << 20


def test_an_initial_copy_can_be_cancelled_and_goes_on_by_a_resync(tmp_path: Path) -> None:
    with (
        StorageSystem.create(tmp_path / "a", "100a") as a,
        StorageSystem.create(tmp_path / "b", "100b") as b,
    ):
        pvol = a.create_volume("105a", SIZE)
        svol = b.create_volume("105b", SIZE)
        pvol.pwrite(b"x" * SIZE, 0)
        path = connect(a, b)
        path.stall()  # so that the copy is still under way when it is looked at
        pair = a.create_remote_pair("105a", "100b", "105b")
        job = pair.job
        assert job is not None
        cancel = Cancel()
        reports: list[Progress] = []

        def progress(now: Progress) -> None:
            reports.append(now)
            if now.total_bytes:  # else its thread hasn't begun
                cancel.cancel()

        with pytest.raises(CancelledError):
            job.wait(progress=progress, cancel=cancel)
        assert reports[-1].total_bytes == SIZE
        assert pair.status().status is PairStatus.COPY
        assert pair.job is None

        path.resume()
        again = pair.resync()
        assert again is not None
        again.wait(30)
        assert pair.status().status is PairStatus.DUPLEX
        assert svol.pread(SIZE, 0) == pvol.pread(SIZE, 0)


def test_a_pair_at_rest_has_no_job(tmp_path: Path) -> None:
    with StorageSystem.create(tmp_path / "a", "100a") as a:
        for name in ("105", "106"):
            a.create_volume(name, SIZE)
        pair = a.create_local_pair("105", "106")
        pair.wait(timeout_s=30)
        if (job := pair.job) is not None:  # its thread may still be on its way out
            job.wait(30)
        assert pair.job is None
