"""Estimates, discards and protection, asked for at the command line: with it, over the API."""

from __future__ import annotations

import pytest

from cli_served import Served
from pyrep.api import Client
from pyrep.errors import InvalidArgumentError, NotFoundError, RefusedError
from pyrep.model import Protect
from pyrep.testing import wait_until

CHUNK = 8192
REMOTE, LOCAL = "100a.1", "100b.1"


@pytest.fixture
def apart(mirrored: Served) -> Served:
    """Return them with the remote pair split, and both its sides written to."""
    mirrored.run("a", "pair", "split", REMOTE)
    mirrored.a.volume("105a").pwrite(b"kept at a", 0)
    mirrored.b.volume("105b").pwrite(b"kept at b", 5 * CHUNK)
    return mirrored


def test_a_dry_run_tells_direction_and_bytes_and_copies_nothing(mirrored: Served) -> None:
    mirrored.run("a", "pair", "split", REMOTE)
    mirrored.a.volume("105a").pwrite(b"new", 0)
    told = mirrored.ask("a", "pair", "resync", REMOTE, "--dry-run")
    assert (told["relation"], told["direction"]) == ("bitmap", "forward")
    assert (told["chunks"], told["copy_bytes"], told["refusal"]) == (1, CHUNK, None)
    assert "8 KiB" in mirrored.run("a", "pair", "resync", REMOTE, "--dry-run").stdout
    back = mirrored.ask("a", "pair", "resync", REMOTE, "--dry-run", "--direction", "reverse")
    assert (back["direction"], back["refusal"]) == ("reverse", None)
    assert mirrored.ask("a", "pair", "show", REMOTE)["status"] == "SPLIT"
    assert mirrored.b.volume("105b").pread(3, 0) == bytes(3)
    local = mirrored.ask("b", "pair", "resync", LOCAL, "--dry-run")
    assert (local["relation"], local["copy_bytes"]) == ("nothing", 0)


def test_a_split_brain_is_refused_with_the_choices_and_goes_on_by_a_discard(apart: Served) -> None:
    done = apart.run("a", "pair", "resync", REMOTE, code=RefusedError.exit_code)
    assert "split brain" in done.stderr
    assert "pyrep pair resync --discard 100a" in done.stderr
    dry = apart.run("a", "pair", "resync", REMOTE, "--dry-run").stdout
    assert "pyrep pair resync --discard 100a" in " ".join(dry.split())
    assert "pair.resync(" not in dry
    told = apart.ask("a", "pair", "resync", REMOTE, "--dry-run", "--discard", "100a")
    assert (told["relation"], told["direction"], told["chunks"]) == ("split brain", "reverse", 2)
    assert told["refusal"] is None
    wrong = apart.run(
        "a",
        *("pair", "resync", REMOTE, "--discard", "100z"),
        code=InvalidArgumentError.exit_code,
    )
    assert "no side at 100z" in wrong.stderr
    apart.run("a", "pair", "resync", REMOTE, "--discard", "100a")
    assert apart.ask("a", "pair", "wait", REMOTE)["status"] == "DUPLEX"
    for volume in (apart.a.volume("105a"), apart.b.volume("105b")):
        assert (volume.pread(9, 0), volume.pread(9, 5 * CHUNK)) == (bytes(9), b"kept at b")


def test_all_pairs_of_a_path_are_estimated_at_once(apart: Served) -> None:
    (told,) = apart.ask("a", "path", "estimate", "100b")
    assert (told["pair_id"], told["relation"], told["chunks"]) == (REMOTE, "split brain", 2)
    assert told["refusal"]
    text = apart.run("a", "path", "estimate", "100b").stdout
    assert "split brain" in text
    assert "16 KiB" in text
    assert "no pairs" in apart.run("b", "path", "estimate", "100a").stdout
    apart.run("a", "path", "estimate", "100z", code=NotFoundError.exit_code)
    with Client.of_system(apart.a.directory) as client:
        assert client.estimate_path("100b") == [told]


def test_protection_is_said_when_a_pair_is_made_and_later(mirrored: Served) -> None:
    for side, volume in (("a", "205a"), ("b", "205b"), ("b", "206b")):
        mirrored.run(side, "volume", "create", volume, "--size", "1M")
    made = mirrored.ask("a", "pair", "create", "205a", "100b:205b", "--protect", "try", "--wait")
    pair_id = made["pair_id"]
    assert mirrored.ask("a", "pair", "show", pair_id)["protect"] == "try"
    local = mirrored.ask("b", "pair", "create", "205b", "206b", "--protect", "off", "--wait")
    assert mirrored.ask("b", "pair", "show", local["pair_id"])["protect"] == "off"
    said = mirrored.run("a", "pair", "protect", pair_id, "require").stdout
    assert said == f"pair {pair_id}: protect is require\n"
    assert mirrored.a.pair(pair_id).row.protect is Protect.REQUIRE
    mirrored.run("b", "pair", "protect", pair_id, "off", code=RefusedError.exit_code)
    mirrored.run("a", "pair", "protect", pair_id, "perhaps", code=2)
    with Client.of_system(mirrored.a.directory) as client:
        with pytest.raises(InvalidArgumentError, match="none of: require, try, off"):
            client.set_protect(pair_id, "perhaps")
        assert client.set_protect(pair_id, "off")["protect"] == "off"


@pytest.mark.parametrize(("protect", "generations"), [("require", 1), ("off", 0)])
def test_what_was_said_of_protection_is_what_a_resync_does(
    mirrored: Served, protect: str, generations: int
) -> None:
    mirrored.run("a", "pair", "protect", REMOTE, protect)
    mirrored.run("a", "pair", "split", REMOTE)
    mirrored.a.volume("105a").pwrite(b"new", 0)
    mirrored.run("a", "pair", "resync", REMOTE)
    wait_until(lambda: mirrored.ask("a", "pair", "show", REMOTE)["status"] == "DUPLEX")
    assert len(mirrored.ask("b", "generation", "list")) == generations
