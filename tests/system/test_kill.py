"""`kill -9` under load: what was acknowledged is there, and pairs come back by themselves.

`PYREP_KILLS` (10): how often; `PYREP_KILL_SEED`: which side, after how many writes, and how.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.errors import PyrepError
from pyrep.testing import wait_until
from system.killing import (
    BLOCK,
    LONG_S,
    SIDES,
    Host,
    Served,
    TlsServed,
    environment_count,
    writing,
)

KILLS = environment_count("PYREP_KILLS", 10)
SEED = environment_count("PYREP_KILL_SEED", 1)
BLOCKS = 512
REGION = 1 << 20
REGIONS = 32
SIZE = REGIONS * REGION
STRIDE = SIZE // BLOCKS // BLOCK
# Twice as many regions as may be hot: they leave, and of what is pending there log and pages know.
HOT_REGIONS = 16
CONFIG = f"""
[path.timing]
retry_first_s = 0.05
retry_most_s = 0.5
[engine]
hot_regions = {HOT_REGIONS}
region_bytes = 1048576
ack_timeout_s = 100.0  # no write counts as done on one side alone while the path is up
ageing_s = 0.5  # kills come between any two steps of it
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    volumes = {"100a": {"105a": SIZE}, "100b": {"105b": SIZE, "106b": SIZE, "107b": SIZE}}
    made = TlsServed(tmp_path, volumes)
    for side in reversed(SIDES):
        (tmp_path / side / "pyrep.toml").write_text(CONFIG)
        made.start(side)
    yield made
    made.close()
    for side in SIDES:  # a kill never costs a log: everything would be pending
        text = (tmp_path / f"{side}.log").read_text("utf-8")
        assert "alog.unusable" not in text
        assert "alog.missing" not in text


def _mirror(served: Served, ack: str = "received") -> str:
    """Make the remote mirror and a local one."""
    with served.client("100a") as a, served.client("100b") as b:
        a.wait_for_path("100b", timeout_s=LONG_S)
        made = a.finish(a.create_pair("105a", "105b", system_id="100b", ack=ack))
        pair_id = str(made["pair_id"])
        a.wait_for_pair(pair_id, timeout_s=LONG_S)
        for svol in ("106b", "107b"):  # one is split to protect what a resync would overwrite
            local = b.finish(b.create_pair("105b", svol))
            b.wait_for_pair(local["pair_id"], timeout_s=LONG_S)
    return pair_id


def _kill(served: Served, pair_id: str, hosts: list[Host], draw: random.Random) -> None:
    """Write, kill one side or both, look at the survivor, go on until both are equal again."""
    sides = draw.choice([["100a"], ["100b"], ["100b", "100a"]])
    while_writing = draw.random() < 0.5
    twice = draw.random() < 0.3
    with writing(hosts):
        until = sum(one.count for one in hosts) + draw.randint(5, 60)
        wait_until(lambda: sum(one.count for one in hosts) >= until)
        for side in sides:
            served.kill(side)
        if while_writing:
            for side in sides:
                served.start(side)
    if not while_writing:
        for side, volume in zip(SIDES, ("105a", "105b"), strict=True):
            if side not in sides:  # it has all that was acknowledged, before the other is back
                with served.client(side) as client:
                    survivor = client.read(volume, SIZE, 0)
                for host in hosts:
                    host.check(survivor)
        for side in sides:
            served.start(side)
    for side in sides if twice else ():  # in its recovery, or before anything was copied
        served.kill(side)
        served.start(side)
    served.wait_duplex(pair_id)
    with served.client("100a") as a, served.client("100b") as b:
        a.flush("105a")
        data = a.read("105a", SIZE, 0)
        for host in hosts:
            host.check(data)
        # What is received is applied: a read at the secondary needs no flush of it.
        assert b.read("105b", SIZE, 0) == data


@pytest.mark.timeout(0)
def test_what_was_acknowledged_survives_kills_and_the_pair_is_duplex_and_equal_again(
    served: Served,
) -> None:
    pair_id = _mirror(served, random.Random(SEED).choice(["received", "durable"]))
    hosts = [
        Host(served, "105a", range(first, BLOCKS, 3), seed=first + 1, stride=STRIDE)
        for first in range(3)
    ]
    for seed in range(SEED, SEED + KILLS):
        try:
            _kill(served, pair_id, hosts, random.Random(seed))
        except (AssertionError, PyrepError, OSError) as error:
            again = f"Again: PYREP_KILL_SEED={seed} PYREP_KILLS=1, or from {SEED} on"
            raise AssertionError(f"{error}\n{again}") from error
    assert all(one.count for one in hosts)


def test_what_was_pending_in_more_regions_than_are_hot_survives_two_kills(served: Served) -> None:
    pair_id = _mirror(served)
    served.kill("100b")
    with served.client("100a") as a:
        for region in range(REGIONS):
            a.write("105a", b"x" * BLOCK, region * REGION)
    for _ in range(2):  # the second time only the pages know
        served.kill("100a")
        served.start("100a")
    with served.client("100a") as a:
        pair = a.pair(pair_id)
        most = HOT_REGIONS * REGION + REGIONS * int(pair["chunk_bytes"])
        assert REGIONS * int(pair["chunk_bytes"]) <= int(pair["pending_bytes"]) <= most
    served.start("100b")
    served.wait_duplex(pair_id)
    with served.client("100a") as a, served.client("100b") as b:
        assert b.read("105b", SIZE, 0) == a.read("105a", SIZE, 0)


def test_a_lost_acknowledged_write_is_seen(tmp_path: Path) -> None:
    host = Host(Served(tmp_path, {side: {} for side in SIDES}), "105a", range(2), seed=1)
    host.acked = {0: 7}
    host.check((7).to_bytes(8, "little") * (BLOCK // 8) + bytes(BLOCK))
    with pytest.raises(AssertionError, match="block 0 holds 0"):
        host.check(bytes(2 * BLOCK))
    host.asked = {0: {8}}  # not acknowledged: it may be there
    host.check((8).to_bytes(8, "little") * (BLOCK // 8) + bytes(BLOCK))


@pytest.mark.parametrize("undo", [False, True], ids=["resume", "abandon"])
@pytest.mark.parametrize("side", SIDES)
def test_a_backup_whose_process_is_killed_is_listed_and_can_be_ended(
    served: Served, side: str, undo: bool
) -> None:
    pair_id = _mirror(served)
    with served.client("100a") as a:
        a.write("105a", b"x" * BLOCK, 0)
        a.backup(["105a"], label="wanted")
    served.kill(side)  # wherever it is by now
    served.start(side)
    served.wait_duplex(pair_id)
    with served.client("100a") as a, served.client("100b") as b:
        for record in a.workflows():
            if record["state"] in {"done", "abandoned"}:
                continue
            wait_until(lambda: a.workflows()[-1]["state"] == "stopped", timeout_s=LONG_S)
            if undo:
                a.finish(a.abandon_workflow(record["workflow_id"]))
            else:
                a.finish(a.resume_workflow(record["workflow_id"]))
        assert {one["state"] for one in a.workflows()} <= {"done", "abandoned"}
        done = [one for one in a.workflows() if one["state"] == "done"]
        mine = [one for one in b.generations() if one["label"] == "wanted"]
        complete = [one for one in mine if one["state"] == "complete"]
        assert len(complete) == len(done)
        report = a.finish(a.backup(["105a"], label="again", reuse_last=True))
        assert report["generations"][0]["state"] == "complete"
        with pytest.raises(PyrepError):
            a.delete_volume("105a")  # still paired, and nothing is leased
