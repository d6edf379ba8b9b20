"""A restore asked at the system that doesn't lead it, as a job."""

from __future__ import annotations

from dataclasses import replace

from cli_served import Served
from pyrep import CopyRate, StorageSystem
from pyrep.api import Client
from pyrep.model import MIB
from pyrep.testing import wait_until


def pace(system: StorageSystem, ceiling_bytes_s: int | None) -> None:
    rate = CopyRate(ceiling_bytes_s=ceiling_bytes_s)
    system.state.options = replace(system.state.options, copy_rate=rate)


def test_its_job_tells_step_and_bytes_and_is_cancelled(mirrored: Served) -> None:
    mirrored.a.volume("105a").pwrite(b"1" * 4 * MIB, 0)
    report = mirrored.ask("a", "backup", "105a")["result"]
    name = report["generations"][0]["generation_id"]
    mirrored.a.volume("105a").pwrite(b"2" * 4 * MIB, 0)
    pace(mirrored.a, 64 << 10)
    job = mirrored.ask("a", "restore", "volume", name, "105a", "--no-wait")
    with Client.of_system(mirrored.a.directory) as client:

        def copies() -> bool:
            now = client.job(job["id"])
            assert not now.is_over, now.told
            progress = now.progress
            return progress is not None and progress.step == 670 and progress.total_bytes == 4 * MIB

        wait_until(copies)
        assert client.job(job["id"]).steps == (600, 620, 630, 610, 640, 650, 660, 670)
    mirrored.run("a", "job", "cancel", job["id"])
    done = mirrored.run("a", "job", "wait", job["id"], code=50)
    assert "pyrep workflow resume" in done.stderr
    assert "at system 100b" in done.stderr
    assert mirrored.ask("a", "job", "show", job["id"])["state"] == "cancelled"
    pace(mirrored.a, None)
    (stopped,) = mirrored.ask("b", "workflow", "list")
    assert (stopped["state"], stopped["step"]) == ("stopped", 670)
    mirrored.run("b", "workflow", "resume", stopped["workflow_id"])
    assert mirrored.a.volume("105a").pread(4 * MIB, 0) == b"1" * 4 * MIB
