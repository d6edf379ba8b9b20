"""`pyrep pair resync --compare`, and the same over the API."""

from __future__ import annotations

import random
from typing import Any

import pytest

from cli_served import SIZE, Served
from pyrep.api import SOCKET_NAME, ApiConnections, Client
from pyrep.errors import InvalidArgumentError
from pyrep.model import Compare, PairId

PAIR = "100a.1"
CHUNK = 8192


@pytest.fixture
def split(mirrored: Served) -> Served:
    """Return them with the remote pair split, all of it pending, one chunk of it another."""
    mirrored.a.volume("105a").pwrite(random.Random(1).randbytes(SIZE), 0)
    mirrored.run("a", "pair", "split", PAIR)
    mirrored.a.state.mirror(PairId(PAIR)).mark_all()
    mirrored.a.volume("105a").pwrite(b"one", 3 * CHUNK)
    return mirrored


def check(served: Served, told: dict[str, Any], compare: str) -> None:
    """Compare what a job's progress told, and what the volumes hold, with what was asked for."""
    compares = compare in {"xxh3", "sha256"}  # nothing ended unclean: auto doesn't
    assert told["compared_bytes"] == (SIZE if compares else 0)
    assert told["sent_bytes"] == (CHUNK if compares else SIZE)
    ios = [served.a.state.volume(served.a.volume("105a").volume_id).io]
    ios.append(served.b.state.volume(served.b.volume("105b").volume_id).io)
    assert ios[0].pread(SIZE, 0) == ios[1].pread(SIZE, 0)


@pytest.mark.parametrize("compare", [one.value for one in Compare])
def test_the_command_takes_every_value(split: Served, compare: str) -> None:
    told = split.ask("a", "pair", "resync", PAIR, "--compare", compare)
    assert told["result"]["status"] == "DUPLEX"
    job = split.ask("a", "job", "show", told["job"])
    check(split, job["progress"], compare)


@pytest.mark.parametrize("compare", [one.value for one in Compare])
def test_a_request_takes_every_value(split: Served, compare: str) -> None:
    with Client(split.a.directory / SOCKET_NAME) as client:
        job = client.resync_pair(PAIR, compare=compare)
        assert job is not None
        assert client.finish(job)["status"] == "DUPLEX"
        told = client.job(job.job_id).progress
    assert told is not None
    check(split, {"compared_bytes": told.compared_bytes, "sent_bytes": told.sent_bytes}, compare)


def test_another_value_is_refused_with_those_there_are_and_nothing_begins(split: Served) -> None:
    done = split.run("a", "pair", "resync", PAIR, "--compare", "md5", code=2)
    for known in Compare:
        assert known.value in done.stderr
    connections = ApiConnections(split.a.directory / SOCKET_NAME, timeout_s=30)
    for wrong, says in (
        ("md5", "'md5' is none of: auto, never, xxh3, sha256"),
        ("XXH3", "'XXH3' is none of"),
        ("", "'' is none of"),
        (5, "Expected `str"),
    ):
        with pytest.raises(InvalidArgumentError, match=says):
            connections.ask("POST", ("pairs", PAIR, "resync"), body={"compare": wrong})
    connections.close()
    assert split.ask("a", "pair", "show", PAIR)["status"] == "SPLIT"


def test_a_rate_that_no_system_could_be_told_is_refused_and_nothing_begins(split: Served) -> None:
    # It was found when the secondary was told, with hosts kept off the PVOL already, for ever.
    words = ("pair", "resync", PAIR, "--direction", "reverse", "--rate", "99999999T")
    done = split.run("a", *words, code=2)
    assert "ceiling_bytes_s" in done.stderr
    for side in "ab":
        assert split.ask(side, "pair", "show", PAIR)["status"] == "SPLIT"
    split.a.volume("105a").pwrite(b"hosts go on", 0)
