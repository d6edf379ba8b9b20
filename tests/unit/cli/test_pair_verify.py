"""`pyrep pair verify`: what it tells, its exit status, and the repair."""

from __future__ import annotations

import json
import random
from base64 import b64decode
from pathlib import Path

import pytest

from cli_served import Served
from pyrep._core import Runs
from pyrep.api import SOCKET_NAME, Client
from pyrep.engine.farside import RemoteFar
from pyrep.engine.sums import Sums
from pyrep.errors import BusyError, InvalidArgumentError, NotFoundError, PairDiffersError
from pyrep.fs import Access, ExtFileSystem
from pyrep.model import MIB

ODD = b"/odd \xff\n"
"""A name that isn't UTF-8, with a control character."""


def test_it_tells_where_a_pair_differs_and_repairs_it(mirrored: Served) -> None:
    mirrored.a.volume("105a").pwrite(b"written", 8192)
    assert "differing" in mirrored.run("a", "pair", "verify", "100a.1").stdout
    io = mirrored.b.state.volume(mirrored.b.volume("105b").volume_id).io
    io.pwrite(b"rotten", 8192)
    done = mirrored.run("a", "pair", "verify", "100a.1", code=PairDiffersError.exit_code)
    assert "differ in 1 places" in done.stderr
    assert "--repair" in done.stderr
    repaired = mirrored.run("a", "pair", "verify", "100a.1", "--repair")
    assert "copied" in repaired.stdout
    assert io.pread(7, 8192) == b"written"
    # 106b and 107b followed 105b until then, and may hold what differed.
    (made,) = mirrored.ask("b", "generation", "list")
    assert (made["cause"], made["label"]) == ("repair", "before a repair")
    assert "repair" in mirrored.run("b", "generation", "list").stdout
    mirrored.run("a", "pair", "verify", "100a.1", "--percentage", "50", "--digest", "sha256")


def test_what_is_not_told_of_many_places_is_counted(
    mirrored: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyrep.engine.pairverify_result.TOLD_MAX", 2)
    io = mirrored.b.state.volume(mirrored.b.volume("105b").volume_id).io
    for number in range(5):
        io.pwrite(b"rotten", 2 * number * 8192)
    code = PairDiffersError.exit_code
    done = mirrored.run("a", "pair", "verify", "100a.1", code=code)
    assert "differ in 5 places" in done.stderr
    assert "and 3 more differing places" in done.stdout
    done = mirrored.run("a", "pair", "verify", "100a.1", "--json", code=code)
    (told,) = (json.loads(line) for line in done.stdout.splitlines() if '"result"' in line)
    assert (len(told["result"]["differing"]), told["result"]["differing_count"]) == (2, 5)


def test_what_hosts_kept_changing_is_not_said_to_be_equal(
    mirrored: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    pvol, far = mirrored.a.volume("105a"), RemoteFar.digests
    written = iter(range(1, 256))

    def digests(self: RemoteFar, sums: Sums, runs: Runs) -> bytes:
        found = far(self, sums, runs)
        pvol.pwrite(bytes([next(written)]), 8192)
        return found

    pvol.pwrite(b"written", 8192)
    monkeypatch.setattr(RemoteFar, "digests", digests)
    done = mirrored.run("a", "pair", "verify", "100a.1", code=BusyError.exit_code)
    assert "equal as far as judged; 1 places kept changing" in done.stdout
    assert "is equal" not in done.stdout
    assert "hosts kept writing to 1 places" in done.stderr
    done = mirrored.run("a", "pair", "verify", "100a.1", "--json", code=BusyError.exit_code)
    (told,) = (json.loads(line) for line in done.stdout.splitlines() if '"result"' in line)
    assert (told["result"]["is_equal"], told["result"]["is_judged"]) == (True, False)
    io = mirrored.b.state.volume(mirrored.b.volume("105b").volume_id).io
    io.pwrite(b"rotten", 65536)
    code = PairDiffersError.exit_code  # goes before what isn't known
    done = mirrored.run("a", "pair", "verify", "100a.1", code=code)
    assert "differs in 1 places; 1 places kept changing" in done.stdout
    mirrored.run("a", "pair", "verify", "100a.1", "--repair", code=BusyError.exit_code)
    monkeypatch.undo()
    whole = mirrored.ask("a", "pair", "verify", "100a.1")["result"]
    assert (whole["is_judged"], whole["verdict"]) == (True, "equal")


def test_what_can_not_be_verified_is_refused(mirrored: Served) -> None:
    mirrored.run("a", "pair", "verify", "100a.77", code=NotFoundError.exit_code)
    code = InvalidArgumentError.exit_code
    mirrored.run("a", "pair", "verify", "100a.1", "--percentage", "0", code=code)


@pytest.fixture
def rotten(mirrored: Served, ext_image: Path) -> Served:
    """Return them with a file system on 105a; at 105b a byte of two of its three files differs."""
    volume = mirrored.a.volume("105a")
    volume.pwrite(ext_image.read_bytes(), 0)
    held = {}
    with (
        volume.io() as io,
        ExtFileSystem.open(io.address, access=Access.READ_WRITE, name="105a") as fs,
    ):
        fs.mkdir("/mail")
        for number, name in enumerate((b"/mail/letter", b"/sound", ODD)):
            held[name] = random.Random(number).randbytes(100_000)
            fs.create(name)
            fs.write_difference(name, held[name])
    io_b = mirrored.b.state.volume(mirrored.b.volume("105b").volume_id).io
    image = io_b.pread(8 * MIB, 0)
    for name in (b"/mail/letter", ODD):
        at = image.index(held[name][50_000:50_512])
        io_b.pwrite(b"rot", at)
    return mirrored


def test_files_of_which_something_differs_are_named_over_the_api(rotten: Served) -> None:
    with Client(rotten.a.directory / SOCKET_NAME) as client:
        files = client.finish(client.verify_pair("100a.1"))["files"]
    names = {
        b64decode(one["path_b64"]) if "path_b64" in one else one["path"].encode()
        for one in files["files"]
    }
    assert names == {b"/mail/letter", ODD}
    assert files["file_bytes"] > 0


def test_files_of_which_something_differs_are_named_by_the_command(rotten: Served) -> None:
    code = PairDiffersError.exit_code
    done = rotten.run("a", "pair", "verify", "100a.1", code=code)
    assert "/mail/letter" in done.stdout
    assert "/odd \\xff\\n" in done.stdout
    assert "/sound" not in done.stdout
    told = rotten.run("a", "pair", "verify", "100a.1", "--json", code=code)
    (found,) = (json.loads(line) for line in told.stdout.splitlines() if '"result"' in line)
    names = [one["path"] for one in found["result"]["files"]["files"]]
    assert names == ["/mail/letter", "/odd \\xff\n"]
    repaired = rotten.ask("a", "pair", "verify", "100a.1", "--repair")["result"]
    assert repaired["repair"] == "copied"
    assert [one["path"] for one in repaired["files"]["files"]] == names
    whole = rotten.ask("a", "pair", "verify", "100a.1")["result"]
    assert (whole["is_equal"], whole["files"]) == (True, None)


def test_without_a_file_system_no_file_is_named(mirrored: Served) -> None:
    mirrored.b.state.volume(mirrored.b.volume("105b").volume_id).io.pwrite(b"rotten", 8192)
    done = mirrored.run("a", "pair", "verify", "100a.1", code=PairDiffersError.exit_code)
    assert "offset=8192, length=8192" in done.stdout
    assert "path=" not in done.stdout
