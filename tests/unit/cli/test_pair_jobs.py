"""Commands on pairs that wait for another system, or for a copy, are jobs: no request hangs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli_served import SIZE, Served, serve
from pyrep import AckPoint, CopyRate, PairStatus, StorageSystem
from pyrep.api import Client, Job
from pyrep.errors import (
    BusyError,
    CancelledError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
    TimedOutError,
)
from pyrep.interconnect import PathTiming, Plain
from pyrep.model import MIB
from pyrep.testing import FaultProxy, Way, wait_until

PAIR = "100a.1"
LONG_S = 60.0
PATIENT = PathTiming(ping_s=1000.0)


@pytest.fixture
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy("127.0.0.1:1") as made:
        yield made


@pytest.fixture
def held(tmp_path: Path, proxy: FaultProxy) -> Iterator[Served]:
    """Return systems with 105a mirrored to 105b over a proxy that may hold what is sent."""
    with ExitStack() as stack:
        a = stack.enter_context(StorageSystem.create(tmp_path / "100a", "100a"))
        b = stack.enter_context(StorageSystem.create(tmp_path / "100b", "100b"))
        stack.callback(proxy.calm)
        proxy.target = str(b.listen("127.0.0.1:0", security=Plain(), timing=PATIENT).address)
        a.dial("100b", proxy.address, security=Plain(), timing=PATIENT)
        wait_until(lambda: a.paths()[0].is_up)
        a.create_volume("105a", SIZE)
        b.create_volume("105b", SIZE)
        a.create_remote_pair("105a", "100b", "105b", ack=AckPoint.QUEUED).wait(timeout_s=LONG_S)
        serve(stack, a)
        serve(stack, b)
        yield Served(a, b)


def waits_for(client: Client, job: Job, text: str) -> Job:
    """Wait until a job tells this."""
    found: list[Job] = []

    def tells() -> bool:
        now = client.job(job.job_id)
        assert not now.is_over, now.told
        found[:] = [now]
        return now.progress is not None and text in now.progress.what

    wait_until(tells)
    return found[0]


def hold(held: Served, proxy: FaultProxy) -> None:
    """Let a backlog be under way that doesn't arrive."""
    proxy.stall(Way.THERE)
    held.a.volume("105a").pwrite(b"7" * MIB, 0)


@pytest.mark.parametrize("command", ["split", "dissolve"])
def test_a_backlog_that_does_not_arrive_is_told_and_the_job_may_be_cancelled(
    held: Served, proxy: FaultProxy, command: str
) -> None:
    hold(held, proxy)
    with Client.of_system(held.a.directory) as client:
        job = getattr(client, f"{command}_pair")(PAIR)
        now = waits_for(client, job, "waiting until what was written is at system 100b")
        assert now.progress is not None
        assert now.progress.total_bytes > MIB
        assert now.progress.final == ""
        busy = held.run("a", "pair", "split", PAIR, code=BusyError.exit_code)
        assert "is running" in busy.stderr
        client.cancel_job(job.job_id)
        with pytest.raises(CancelledError):
            client.finish(job, timeout_s=LONG_S)
        assert client.job(job.job_id).state == "cancelled"
        assert client.pair(PAIR)["status"] == "DUPLEX"  # nothing has changed
        proxy.go_on()
        client.finish(getattr(client, f"{command}_pair")(PAIR), timeout_s=LONG_S)
    if command == "split":
        assert held.b.pair(PAIR).row.status is PairStatus.SPLIT
        assert held.b.volume("105b").pread(MIB, 0) == b"7" * MIB
    else:
        assert held.a.pairs() == held.b.pairs() == ()


def test_a_split_that_has_begun_says_why_it_is_not_cancelled(
    held: Served, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = held.a.remote_pairs.line.tell_split

    def held_up(*args: object, **more: object) -> None:
        proxy.stall(Way.THERE)
        tell(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(held.a.remote_pairs.line, "tell_split", held_up)
    told = held.ask("a", "pair", "split", PAIR, "--no-wait")
    with Client.of_system(held.a.directory) as client:
        job = waits_for(client, client.job(told["id"]), "telling system 100b of the split")
        done = held.run("a", "job", "cancel", job.job_id)
        assert "but goes on: the split has begun" in done.stdout
        assert client.pair(PAIR)["status"] == "SPLIT"
        proxy.go_on()
        assert client.finish(job, timeout_s=LONG_S) == {"generation": None}
    assert held.b.pair(PAIR).row.status is PairStatus.SPLIT


def test_a_pair_whose_secondary_does_not_answer_is_a_job_that_says_what_it_waits_for(
    held: Served, proxy: FaultProxy
) -> None:
    held.a.create_volume("205a", SIZE)
    held.b.create_volume("205b", SIZE)
    proxy.stall(Way.THERE)
    with Client.of_system(held.a.directory) as client:
        job = client.create_pair("205a", "205b", system_id="100b")
        now = waits_for(client, job, "waiting for system 100b")
        assert now.progress is not None
        assert now.progress.final == ""
        client.cancel_job(job.job_id)  # heard of when the secondary has answered
        proxy.go_on()
        with pytest.raises(CancelledError):
            client.finish(job, timeout_s=LONG_S)
        assert [one["pair_id"] for one in client.pairs()] == [PAIR]
        assert [one.pair_id for one in held.b.pairs()] == [PAIR]
        made = client.finish(client.create_pair("205a", "205b", system_id="100b"), timeout_s=LONG_S)
    held.a.pair(made["pair_id"]).wait(timeout_s=LONG_S)


def test_what_is_refused_is_refused_before_the_command_ends(mirrored: Served) -> None:
    """With the exit code that it had as long as these weren't jobs."""
    for words, code in (
        (("split", "nothing"), NotFoundError),
        (("split", "100a.1", "nothing"), NotFoundError),
        (("dissolve", "nothing"), NotFoundError),
        (("create", "105a", "100b:105b"), RefusedError),
        (("create", "nothing", "100b:105b"), NotFoundError),
        (("create", "105a", "100c:105b"), NotFoundError),
        (("create", "1", "2", "--ack", "durable"), InvalidArgumentError),
        (("create", "1", "2", "--wait", "--no-wait"), InvalidArgumentError),
    ):
        for more in ((), ("--no-wait",)):
            mirrored.run("a", "pair", *words, *more, code=code.exit_code)
    with Client.of_system(mirrored.a.directory) as client, pytest.raises(InvalidArgumentError):
        client.create_pair("105a", "105b", system_id="100b", protect="always")


@pytest.mark.parametrize(("svol", "missing"), [(":105b", "system"), ("100b:", "volume")])
def test_an_svol_whose_name_is_half_there_is_refused_with_what_is_missing(
    served: Served, svol: str, missing: str
) -> None:
    done = served.run("a", "pair", "create", "105a", svol, code=InvalidArgumentError.exit_code)
    assert f"it names no {missing}" in done.stderr
    assert "SYSTEM:VOLUME" in done.stderr


def test_a_copy_that_was_stopped_is_told_and_not_waited_for(served: Served) -> None:
    for name in ("1", "2"):
        served.a.create_volume(name, SIZE)
    pair = served.a.create_local_pair("1", "2")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    served.a.volume("1").pwrite(b"3" * SIZE, 0)
    job = served.ask("a", "pair", "resync", pair.pair_id, "--rate", "1K", "--no-wait")
    assert served.ask("a", "pair", "show", pair.pair_id)["stopped"] is False
    served.run("a", "pair", "wait", pair.pair_id, "--timeout", "0.05", code=TimedOutError.exit_code)
    served.run("a", "job", "cancel", job["id"])
    served.run("a", "job", "wait", job["id"], code=CancelledError.exit_code)
    told = served.ask("a", "pair", "show", pair.pair_id)
    assert (told["status"], told["stopped"], told["copy"]) == ("COPY", True, None)
    assert "stopped" in served.run("a", "pair", "list").stdout
    assert "pyrep pair resync goes on" in served.run("a", "pair", "show", pair.pair_id).stdout
    done = served.run("a", "pair", "wait", pair.pair_id, code=RefusedError.exit_code)
    assert "its copy was stopped" in done.stderr
    assert "pyrep pair resync" in done.stderr
    served.run("a", "pair", "resync", pair.pair_id)
    told = served.ask("a", "pair", "show", pair.pair_id)
    assert (told["status"], told["stopped"]) == ("DUPLEX", False)


def test_a_remote_copy_that_was_stopped_is_told_until_the_path_comes_back(
    held: Served, proxy: FaultProxy
) -> None:
    pair = held.a.pair(PAIR)
    pair.split()
    held.a.volume("105a").pwrite(b"4" * SIZE, 0)
    copy = pair.resync(rate=CopyRate(ceiling_bytes_s=1024))
    assert copy is not None
    copy.cancel()
    with pytest.raises(CancelledError):
        copy.wait(LONG_S)
    assert pair.status().stopped
    done = held.run("a", "pair", "sync", PAIR, code=RefusedError.exit_code)
    assert "changed" in done.stderr
    taken = proxy.taken_count
    proxy.cut()
    wait_until(lambda: proxy.taken_count >= taken + 2)
    held.run("a", "pair", "wait", PAIR, "--timeout", "60")
    assert not pair.status().stopped


def test_a_resync_that_waits_for_a_local_copy_at_the_secondary_may_be_cancelled(
    mirrored: Served,
) -> None:
    local = next(one for one in mirrored.b.pairs() if one.row.mirror_volume_id == "106b")
    local.split()
    mirrored.a.volume("105a").pwrite(b"8" * 4 * MIB, 0)
    mirrored.a.volume("105a").flush()
    slow = CopyRate(ceiling_bytes_s=64 << 10)
    copy = local.resync(rate=slow)
    assert copy is not None
    mirrored.run("a", "pair", "split", PAIR)
    mirrored.a.volume("105a").pwrite(b"9" * MIB, 0)
    job = mirrored.ask("a", "pair", "resync", PAIR, "--no-wait")
    assert job["state"] == "running"
    mirrored.run("a", "job", "cancel", job["id"])
    done = mirrored.run("a", "job", "wait", job["id"], code=CancelledError.exit_code)
    assert "cancelled" in done.stderr
    assert mirrored.ask("a", "pair", "show", PAIR)["status"] == "SPLIT"
    assert local.status().status is PairStatus.COPY
    copy.rate = CopyRate()
    copy.wait(LONG_S)
    mirrored.run("a", "pair", "resync", PAIR)
    assert mirrored.b.pair(PAIR).status().status is PairStatus.DUPLEX
