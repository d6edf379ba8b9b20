"""`kill -9` under load: what was acknowledged is there, and pairs come back by themselves.

`PYREP_KILLS` (10): how often; `PYREP_KILL_SEED`: which side, and after how many writes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.errors import PyrepError
from pyrep.testing import wait_until
from system.killing import BLOCK, LONG_S, SIDES, Host, Served, environment_count, writing

KILLS = environment_count("PYREP_KILLS", 10)
SEED = environment_count("PYREP_KILL_SEED", 1)
BLOCKS = 512
SIZE = BLOCKS * BLOCK


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    volumes = {"100a": {"105a": SIZE}, "100b": {"105b": SIZE, "106b": SIZE, "107b": SIZE}}
    made = Served(tmp_path, volumes)
    for side in reversed(SIDES):
        made.start(side)
    yield made
    made.close()


def _mirror(served: Served) -> str:
    """Make the remote mirror and a local one."""
    with served.client("100a") as a, served.client("100b") as b:
        a.wait_for_path("100b", timeout_s=LONG_S)
        pair_id = str(a.create_pair("105a", "105b", system_id="100b")["pair_id"])
        a.wait_for_pair(pair_id, timeout_s=LONG_S)
        for svol in ("106b", "107b"):  # one is split to protect what a resync would overwrite
            b.wait_for_pair(b.create_pair("105b", svol)["pair_id"], timeout_s=LONG_S)
    return pair_id


@pytest.mark.timeout(0)
def test_what_was_acknowledged_survives_kills_and_the_pair_is_duplex_and_equal_again(
    served: Served,
) -> None:
    pair_id = _mirror(served)
    draw = random.Random(SEED)
    hosts = [
        Host(served, "105a", range(first, BLOCKS, 3), seed=first + 1, count=0) for first in range(3)
    ]
    for kill in range(KILLS):
        sides = draw.choice([["100a"], ["100b"], ["100b", "100a"]])
        with writing(hosts):
            until = sum(one.count for one in hosts) + draw.randint(5, 60)
            wait_until(lambda until=until: sum(one.count for one in hosts) >= until)  # type: ignore[misc]
            for side in sides:
                served.kill(side)
            for side in sides:
                served.start(side)
        again = f"PYREP_KILL_SEED={SEED} PYREP_KILLS={kill + 1}: {sides}"
        served.wait_duplex(pair_id)
        with served.client("100a") as a, served.client("100b") as b:
            a.flush("105a")
            data = a.read("105a", SIZE, 0)
            for host in hosts:
                host.check(data)
            # What is received is applied: a read at the secondary needs no flush of it.
            assert b.read("105b", SIZE, 0) == data, again
    assert all(one.count for one in hosts)


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
                a.abandon_workflow(record["workflow_id"])
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
