"""`pyrep pair sync` and what the API tells of lag, convergence and fence level."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli_served import SIZE, Served
from pyrep.api import Client
from pyrep.engine.convergence import Convergence
from pyrep.errors import MirrorLostError, NotFoundError, PathLostError, RefusedError
from pyrep.model import PairId
from pyrep.testing import wait_until


def test_it_says_what_became_of_each_pair_and_exits_with_the_worst(mirrored: Served) -> None:
    mirrored.a.volume("105a").pwrite(b"written", 0)
    told = mirrored.ask("a", "pair", "sync", "100a.1", "--timeout", "60")
    assert told == {"outcome": "done", "pairs": {"100a.1": "done"}}
    assert mirrored.ask("a", "pair", "sync", "--group", "g", "--until", "received") == told
    assert "done" in mirrored.run("a", "pair", "sync", "100a.1").stdout
    mirrored.run("a", "pair", "split", "100a.1")
    done = mirrored.run("a", "pair", "sync", "100a.1", code=RefusedError.exit_code)
    assert "100a.1: changed" in done.stderr
    mirrored.run("a", "pair", "sync", "100b.1", code=NotFoundError.exit_code)
    mirrored.run("b", "pair", "sync", "100b.1", code=RefusedError.exit_code)
    assert "name pairs" in mirrored.run("a", "pair", "sync", code=2).stderr
    told = mirrored.run("a", "group", "status", "nogroup", code=NotFoundError.exit_code)
    assert "known groups: g" in told.stderr


def test_the_job_names_each_pair_once_and_the_group(mirrored: Served) -> None:
    with Client.of_system(mirrored.a.directory) as client:
        job = client.sync_pairs("100a.1", "100a.1", group="g")
        assert job.what == "wait for what was written, of 100a.1, group g"
        assert client.finish(job)["pairs"] == {"100a.1": "done"}
        assert client.sync_pairs(group="g").what == "wait for what was written, of group g"


@pytest.mark.parametrize(
    "command",
    [
        ("pair", "verify", "100a.1", "--percentage"),
        ("generation", "verify", "g", "--percentage"),
        ("backup", "create", "105a", "--hold-max-ms"),
    ],
)
def test_what_is_no_number_is_refused(mirrored: Served, command: tuple[str, ...]) -> None:
    for value in ("nan", "inf", "0", "-1"):
        done = mirrored.run("a", *command, value, code=2)
        assert command[-1] in done.stderr


def test_a_pair_tells_its_lag_and_that_it_converges(mirrored: Served) -> None:
    def lag() -> object:
        told = mirrored.ask("a", "pair", "show", "100a.1")
        assert told["converges"] is True
        return told["lag"]

    none = {"queued_bytes": 0, "records": 0, "received_s": 0.0, "durable_s": 0.0}
    wait_until(lambda: lag() == none)
    assert mirrored.ask("b", "pair", "show", "100a.1")["lag"] is None


def test_a_pair_whose_copy_does_not_converge_says_so_in_words(
    mirrored: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: Convergence, _now_s: float, _full_s: float) -> bool:
        self.converges = False
        return False

    monkeypatch.setattr(Convergence, "note", never)
    mirrored.run("a", "pair", "split", "100a.1")
    mirrored.a.volume("105a").pwrite(b"x" * SIZE, 0)
    words = ("pair", "resync", "100a.1", "--rate", "64K", "--no-wait")
    mirrored.run("a", *words)
    wait_until(lambda: not mirrored.ask("a", "pair", "show", "100a.1")["converges"])
    assert "does not converge" in mirrored.run("a", "pair", "show", "100a.1").stdout
    listed = mirrored.run("a", "pair", "list").stdout
    assert all(word in listed for word in ("does", "not", "converge")), listed  # in a narrow column


def test_a_pair_tells_how_often_it_pulled_ahead(mirrored: Served) -> None:
    mirror = mirrored.a.state.mirror(PairId("100a.1"))
    mirror.pulled_ahead_count, mirror.pulled_ahead_at = 3, datetime(2026, 1, 2, tzinfo=UTC)
    told = mirrored.ask("a", "pair", "show", "100a.1")
    assert (told["pulled_ahead_count"], told["pulled_ahead_at"]) == (3, "2026-01-02T00:00:00Z")
    shown = mirrored.run("a", "pair", "show", "100a.1").stdout.splitlines()
    assert ["pulled", "ahead", "count", "3"] in [line.split() for line in shown]


def test_a_pair_tells_what_isnt_durable_at_its_target(mirrored: Served) -> None:
    mirrored.b._watch.settling.close()  # it would be, in 5 s
    mirrored.b.state.mirror(PairId("100b.1")).link.settle()
    mirrored.a.volume("105a").pwrite(b"x", 0)
    mirrored.run("a", "pair", "sync", "100a.1")
    told = mirrored.ask("b", "pair", "show", "100b.1")
    assert (told["unsettled"], told["unsettled_bytes"]) == (True, 8192)
    listed = mirrored.run("b", "pair", "list").stdout
    assert "8.0 KiB" in listed or "8 KiB" in listed, listed
    wait_until(lambda: mirrored.ask("a", "pair", "show", "100a.1")["unsettled_bytes"] == 0)


def test_a_fenced_write_is_told_in_its_class(served: Served) -> None:
    served.a.create_volume("105a", SIZE)
    served.b.create_volume("105b", SIZE)
    fenced = ("--fence-level", "data", "--wait")
    served.run("a", "pair", "create", "105a", "100b:105b", *fenced)
    (peer,) = served.a.state.peers.values()
    peer.connection().close()
    wait_until(lambda: served.a.pair("100a.1").row.cause is not None)
    served.run("a", "pair", "sync", "100a.1", code=PathLostError.exit_code)
    with Client.of_system(served.a.directory) as client, pytest.raises(MirrorLostError) as caught:
        client.write("105a", b"x", 0)
    assert caught.value.hint
