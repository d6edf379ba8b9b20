"""Every command against two systems that are served: what it does, prints, and exits with."""

from __future__ import annotations

import json
import random
import threading
from base64 import b64decode
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli_served import SIZE, Served
from pyrep.cli import main
from pyrep.engine import StorageSystem
from pyrep.errors import (
    BusyError,
    NotFoundError,
    NotServedError,
    OutOfRangeError,
    PathLostError,
    RefusedError,
    TimedOutError,
)
from pyrep.fs import Access, ExtFileSystem
from pyrep.model import MIB
from pyrep.workflows.backup import Backup
from pyrep.workflows.run import Run

WAIT_S = 30.0

DATA = random.Random(1).randbytes(MIB + 100)


def test_a_system_is_made_without_a_daemon(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["system", "create", str(tmp_path / "s"), "100a", "--json"])
    assert json.loads(done.stdout) == {"system_id": "100a", "directory": str(tmp_path / "s")}


def test_which_system_is_meant_comes_from_options_or_the_environment(served: Served) -> None:
    directory, socket = served.a.directory, served.b.directory / "pyrep.sock"
    for words, environment, system_id in (
        (["--system", str(directory)], {}, "100a"),
        (["--socket", str(socket)], {}, "100b"),
        ([], {"PYREP_SOCKET": str(socket)}, "100b"),
        ([], {"PYREP_SYSTEM": str(directory)}, "100a"),
        (["--system", str(directory)], {"PYREP_SOCKET": str(socket)}, "100a"),
        ([], {"PYREP_SYSTEM": str(directory), "PYREP_SOCKET": str(socket)}, "100b"),
    ):
        done = CliRunner().invoke(main, ["system", "status", "--json", *words], env=environment)
        assert json.loads(done.stdout)["system_id"] == system_id


def test_no_system_named_is_an_error_of_usage() -> None:
    done = CliRunner().invoke(main, ["pair", "list"])
    assert done.exit_code == 2
    assert "PYREP_SYSTEM" in done.stderr


def test_no_daemon_is_said_with_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["pair", "list", "--system", str(tmp_path)])
    assert done.exit_code == NotServedError.exit_code
    assert "no system is served" in done.stderr
    assert "pyrep serve" in done.stderr
    done = CliRunner().invoke(main, ["pair", "list", "--json", "--system", str(tmp_path)])
    assert json.loads(done.stderr)["error"] == "NotServedError"
    assert done.exit_code == NotServedError.exit_code


def test_volumes_are_made_written_read_and_deleted(served: Served, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(DATA)
    assert served.ask("a", "volume", "create", "1", "--size", "2M")["size_bytes"] == 2 * MIB
    assert served.ask("a", "volume", "import", "1", str(image), "--offset", "4K")["length"] == len(
        DATA
    )
    assert served.a.volume("1").pread(len(DATA), 4096) == DATA
    out = tmp_path / "out.img"
    served.run("a", "volume", "export", "1", str(out))
    assert out.read_bytes() == bytes(4096) + DATA + bytes(2 * MIB - 4096 - len(DATA))
    served.run("a", "volume", "export", "1", str(out), code=10)  # it is there already
    served.run(
        "a", "volume", "export", "1", str(out), "--force", "--offset", "4K", "--length", "10"
    )
    assert out.read_bytes() == DATA[:10]
    served.run("a", "volume", "attach", "2", str(image))
    assert [one["volume_id"] for one in served.ask("a", "volume", "list")] == ["1", "2"]
    assert served.ask("a", "volume", "show", "2")["path"] == str(image)
    served.run("a", "volume", "delete", "2")
    assert image.exists()
    served.run("a", "volume", "show", "2", code=NotFoundError.exit_code)


def test_an_image_that_does_not_fit_is_refused(served: Served, tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(DATA)
    served.run("a", "volume", "create", "1", "--size", "1M")
    done = served.run("a", "volume", "import", "1", str(image), code=OutOfRangeError.exit_code)
    assert "1 MiB" in done.stderr


def test_pairs_are_made_split_and_dissolved_and_again_is_a_no_op(served: Served) -> None:
    served.run("a", "volume", "create", "105a", "--size", "1M")
    for name in ("105b", "106b"):
        served.run("b", "volume", "create", name, "--size", "1M")
    more = ("--group", "g", "--ack", "queued", "--congestion", "pull-ahead", "--wait")
    remote = served.ask("a", "pair", "create", "105a", "100b:105b", *more)
    told = served.ask("a", "pair", "show", remote["pair_id"])
    assert (told["ack"], told["congestion"]) == ("queued", "pull-ahead")
    done = served.run("b", "pair", "create", "105b", "106b", "--ack", "durable", code=2)
    assert "local pair has no group" in done.stderr
    local = served.ask("b", "pair", "create", "105b", "106b", "--wait")
    assert remote["status"] == local["status"] == "DUPLEX"
    assert served.ask("a", "group", "status", "g")["pairs"] == [remote["pair_id"]]
    split = served.ask("b", "pair", "split", local["pair_id"], "--label", "friday")
    assert split["generation"]["label"] == "friday"
    assert served.ask("b", "pair", "split", local["pair_id"])["generation"] is None
    served.run("b", "pair", "resync", local["pair_id"])
    done = served.run("b", "pair", "resync", local["pair_id"])
    assert done.stdout == "nothing to do\n"
    served.run("b", "pair", "dissolve", local["pair_id"])
    assert [one["pair_id"] for one in served.ask("b", "pair", "list")] == [remote["pair_id"]]
    assert len(served.ask("b", "system", "table")) == 1


def test_a_refusal_exits_with_its_code_and_shows_its_hint(mirrored: Served) -> None:
    done = mirrored.run(
        "a", "pair", "resync", "100a.1", "--direction", "reverse", code=RefusedError.exit_code
    )
    assert "status is DUPLEX" in done.stderr
    assert "hint: " in done.stderr
    mirrored.run("a", "pair", "pause", "100a.1", code=RefusedError.exit_code)
    mirrored.run("a", "pair", "show", "nothing", code=NotFoundError.exit_code)


def test_waiting_for_a_status_that_does_not_come_ends_in_time(mirrored: Served) -> None:
    mirrored.run("a", "pair", "wait", "100a.1")
    done = mirrored.run(
        "a",
        *("pair", "wait", "100a.1", "--for", "SPLIT", "--timeout", "0.05"),
        code=TimedOutError.exit_code,
    )
    assert "100a.1" in done.stderr


def test_people_see_the_pairs_in_a_table(mirrored: Served) -> None:
    text = mirrored.run("b", "status").stdout
    for word in ("PVOL", "SVOL", "DUPLEX", "100a:105a", "106b", "Remote Copy"):
        assert word in text
    assert "SPLIT" not in text


def test_a_backup_and_a_restore_of_the_volume(mirrored: Served) -> None:
    mirrored.a.volume("105a").pwrite(DATA, 0)
    report = mirrored.ask("a", "backup", "105a", "--label", "friday")["result"]
    (generation,) = report["generations"]
    name = generation["generation_id"]
    assert generation["remote_during"] == {"100a.1": "DUPLEX"}
    mirrored.a.volume("105a").pwrite(bytes(len(DATA)), 0)
    estimate = mirrored.ask("b", "restore", "volume", name, "105a", "--dry-run")["result"]
    assert (estimate["figure"], estimate["cross_bytes"] > 0) == (6, True)
    done = mirrored.run("b", "restore", "volume", name, "105a", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["result"]["figure"] == 6
    assert all("progress" in line for line in lines[:-1])
    assert mirrored.a.volume("105a").pread(len(DATA), 0) == DATA
    states = {one["state"] for one in mirrored.ask("b", "workflow", "list", "--all")}
    assert states == {"done"}
    assert mirrored.ask("b", "workflow", "list") == []


def test_generations_are_marked_checked_and_given_up_by_rule(mirrored: Served) -> None:
    for label in ("one", "two"):
        mirrored.run("a", "backup", "105a", "--label", label)
    first, second = (one["generation_id"] for one in mirrored.ask("b", "generation", "list"))
    mirrored.run("b", "generation", "digest", first)
    assert mirrored.ask("b", "generation", "verify", first)["result"]["damaged"] == []
    assert mirrored.ask("b", "generation", "protect", first)["protected"]
    assert not mirrored.ask("b", "generation", "unprotect", first)["protected"]
    told = mirrored.ask("b", "generation", "annotate", first, "ticket=4711", "owner=me")
    assert told["annotations"] == {"ticket": "4711", "owner": "me"}
    told = mirrored.ask("b", "generation", "annotate", first, "owner=")
    assert told["annotations"] == {"ticket": "4711"}
    assert mirrored.ask("b", "generation", "label", first, "old one")["label"] == "old one"
    mirrored.run("b", "policy", "set", "105b", "--keep-last", "1", "--forget-after", "2w")
    policy = mirrored.ask("b", "policy", "show")[1]
    assert policy["retention"]["forget_after_s"] == 14 * 86400
    text = mirrored.run("b", "retention", "apply", "--dry-run").stdout
    assert "would be given up" in text
    assert mirrored.ask("b", "retention", "apply")["given_up"] == [first]
    kept = [one["generation_id"] for one in mirrored.ask("b", "generation", "list")]
    assert kept == [second]
    assert len(mirrored.ask("b", "generation", "list", "--all")) == 2
    assert mirrored.ask("b", "generation", "list", "--volume", "999") == []


def test_what_a_system_holds_that_doesnt_answer_is_told_as_last_known(
    mirrored: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored.run("a", "backup", "105a")
    assert [one["is_last_known"] for one in mirrored.ask("a", "generation", "list")] == [False]
    assert "last known" not in mirrored.run("a", "generation", "list").stdout

    def dead(*_: object) -> None:
        raise PathLostError("it is dead")

    monkeypatch.setattr(StorageSystem, "ask", dead)
    (held,) = mirrored.ask("a", "generation", "list")
    assert held["is_last_known"]
    assert mirrored.ask("a", "generation", "show", held["generation_id"])["is_last_known"]
    assert "as last known" in mirrored.run("a", "generation", "list").stdout
    assert not mirrored.ask("b", "generation", "list")[0]["is_last_known"]


def test_damage_ends_the_check_with_its_code(mirrored: Served) -> None:
    mirrored.run("a", "backup", "105a")
    (one,) = mirrored.ask("b", "generation", "list")
    name = one["generation_id"]
    mirrored.run("b", "generation", "digest", name)
    with Path(mirrored.b.volume(one["members"][0]["svol"]).path).open("r+b") as file:
        file.write(b"damage")
    done = mirrored.run("b", "generation", "verify", name, code=34)
    assert "damaged" in done.stderr


def test_a_job_is_begun_listed_waited_for_and_cancelled(mirrored: Served) -> None:
    job = mirrored.ask("a", "backup", "105a", "--no-wait")
    assert job["what"] == "back up 105a"
    assert mirrored.ask("a", "job", "wait", job["id"])["result"]["workflow_id"]
    shown = mirrored.ask("a", "job", "show", job["id"])
    assert shown["state"] == "done"
    assert shown["steps"][0] == 400
    mirrored.run("a", "job", "cancel", job["id"])  # over already: nothing changes
    assert [one["id"] for one in mirrored.ask("a", "job", "list")] == [job["id"]]
    mirrored.run("a", "job", "show", "77", code=NotFoundError.exit_code)


def test_a_copy_rests_and_goes_on(served: Served) -> None:
    for name in ("1", "2"):
        served.run("a", "volume", "create", name, "--size", "8M")
    served.a.volume("1").pwrite(bytes([7]) * SIZE, 0)
    pair = served.ask("a", "pair", "create", "1", "2", "--wait")["pair_id"]
    served.run("a", "pair", "split", pair)
    served.a.volume("1").pwrite(bytes([8]) * SIZE, 0)
    job = served.ask("a", "pair", "resync", pair, "--rate", "1M", "--no-wait")
    served.run("a", "pair", "pause", pair)
    assert served.ask("a", "pair", "show", pair)["copy"]["paused"]
    assert [one["paused"] for one in served.ask("a", "pair", "list")] == [True]
    for words in (("pair", "list"), ("status",)):
        assert "paused" in served.run("a", *words).stdout
    served.run("a", "pair", "resume", pair)
    assert "paused" not in served.run("a", "pair", "list").stdout
    served.run("a", "job", "cancel", job["id"])
    served.run("a", "job", "wait", job["id"], code=22)
    assert served.ask("a", "job", "show", job["id"])["state"] == "cancelled"
    served.run("a", "pair", "resync", pair)
    assert served.ask("a", "pair", "wait", pair)["status"] == "DUPLEX"


def test_a_stopped_workflow_is_abandoned(mirrored: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise BusyError("no time")

    with monkeypatch.context() as patch:
        patch.setattr(Backup, "finish", fails)
        done = mirrored.run("a", "backup", "105a", code=50)
    assert "no time" in done.stderr
    (stopped,) = mirrored.ask("a", "workflow", "list")
    assert stopped["state"] == "stopped"
    assert stopped["workflow_id"] in mirrored.run("a", "status").stdout
    done = mirrored.run("a", "workflow", "abandon", stopped["workflow_id"])
    assert f"workflow {stopped['workflow_id']} is abandoned" in done.stdout
    assert mirrored.ask("a", "workflow", "list") == []
    refused = mirrored.run("a", "workflow", "abandon", stopped["workflow_id"], code=5)
    assert "it is abandoned" in refused.stderr


def test_abandoning_is_a_job_that_no_request_waits_for(
    mirrored: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    end = Backup.abandon

    def fails(*_: object, **__: object) -> None:
        raise BusyError("no time")

    def slow(self: Backup, run: Run, *, without_peer: bool = False) -> None:
        assert go.wait(WAIT_S)
        end(self, run, without_peer=without_peer)

    with monkeypatch.context() as patch:
        patch.setattr(Backup, "finish", fails)
        mirrored.run("a", "backup", "105a", code=50)
    monkeypatch.setattr(Backup, "abandon", slow)
    (stopped,) = mirrored.ask("a", "workflow", "list")
    workflow = stopped["workflow_id"]
    job = mirrored.ask("a", "workflow", "abandon", workflow, "--no-wait")
    assert (job["state"], job["what"]) == ("running", f"abandon workflow {workflow}")
    go.set()
    mirrored.run("a", "job", "wait", job["id"])
    assert mirrored.ask("a", "job", "show", job["id"])["result"] == {"workflow_id": workflow}
    assert mirrored.ask("a", "workflow", "list") == []


ODD = "/odd \udcff\n"  # bytes that aren't UTF-8, and a control character


@pytest.fixture
def filed(mirrored: Served, ext_image: Path) -> Served:
    """Return them with a file system on 105a, in two generations."""
    volume = mirrored.a.volume("105a")
    volume.pwrite(ext_image.read_bytes(), 0)
    for text in ("first", "second"):
        with (
            volume.io() as io,
            ExtFileSystem.open(io.address, access=Access.READ_WRITE, name="105a") as fs,
        ):
            for name in ("/letter", ODD):
                if not fs.exists(name):
                    fs.create(name)
                fs.truncate(name, 0)
                fs.write_difference(name, text.encode())
        mirrored.run("a", "backup", "105a", "--label", text)
    return mirrored


def test_files_of_generations_are_listed_read_compared_and_restored(filed: Served) -> None:
    first, second = (one["generation_id"] for one in filed.ask("b", "generation", "list"))
    found = filed.ask("b", "generation", "ls", first, "/")
    odd = next(one for one in found if "path_b64" in one)
    assert b64decode(odd["path_b64"]) == b"/odd \xff\n"
    assert filed.run("b", "generation", "cat", first, ODD).stdout_bytes == b"first"
    assert filed.run("b", "generation", "cat", second, "/letter", "--json").stdout == "second"
    text = filed.run("b", "generation", "find", first, "/o*").stdout
    assert "/odd \\xff\\n" in text
    assert "letter" not in text
    changed = filed.ask("b", "generation", "diff", first, second)
    assert {one["change"] for one in changed} == {"content"}
    named = filed.ask("b", "generation", "changes", second, "--since", first)["files"]
    assert {"path": "/letter"} in named
    versions = filed.ask("b", "generation", "history", "105a", "/letter")
    assert [one["content_changed"] for one in versions] == [None, True]

    estimate = filed.ask("b", "restore", "files", first, "105a", ODD, "--dry-run")["result"]
    (change,) = estimate["changes"]
    assert b64decode(change["path_b64"]) == b"/odd \xff\n"
    report = filed.ask("b", "restore", "files", first, "105a", ODD)["result"]
    assert (report["figure"], report["changed_paths"]) == (5, 1)
    with (
        filed.a.volume("105a").io() as io,
        ExtFileSystem.open(io.address, access=Access.READ_ONLY, name="105a") as fs,
    ):
        assert fs.read(ODD) == b"first"
        assert fs.read("/letter") == b"second"


def test_a_bad_size_is_an_error_of_usage(served: Served) -> None:
    done = served.run("a", "volume", "create", "1", "--size", "large", code=2)
    assert "10G" in done.stderr
    served.run("a", "volume", "create", "1", "--size", "1.5M")
    assert served.a.volume("1").size_bytes == 3 * MIB // 2
