"""A restore asked at the system that doesn't lead it, as a job."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cli_served import Served
from pyrep import CopyRate, StorageSystem
from pyrep.api import Client
from pyrep.host import CommandHostAgent
from pyrep.model import MIB, VolumeId
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


def test_a_host_that_takes_long_to_stop_is_seen_and_its_command_killed_by_a_cancel(
    mirrored: Served, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    command = ["/bin/sh", "-c", 'echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 600', "sh"]
    mirrored.a.state.options.host_agents[VolumeId("105a")] = CommandHostAgent(
        stop=[*command, str(pid)], timeout_s=600
    )
    report = mirrored.ask("b", "backup", "105a", "--primary", "100a")["result"]
    name = report["generations"][0]["generation_id"]
    job = mirrored.ask("b", "restore", "volume", name, "105a", "--no-wait")
    with Client.of_system(mirrored.b.directory) as client:

        def stops() -> bool:
            now = client.job(job["id"])
            assert not now.is_over, now.told
            progress = now.progress
            return progress is not None and "stopping the application" in progress.what

        wait_until(lambda: stops() and pid.exists())
        assert client.job(job["id"]).steps == (600, 620)
    mirrored.run("b", "job", "cancel", job["id"])
    done = mirrored.run("b", "job", "wait", job["id"], code=50)
    assert "the stop command for volume 105a was cancelled, and killed" in done.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    (stopped,) = [one for one in mirrored.ask("b", "workflow", "list") if one["step"] == 620]
    mirrored.run("b", "workflow", "abandon", stopped["workflow_id"])
