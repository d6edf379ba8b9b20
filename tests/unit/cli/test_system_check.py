"""`pyrep system check` and `repair`: what a monitor reads, and what an operator types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pyrep import StorageSystem
from pyrep.cli import main
from pyrep.errors import InUseError
from pyrep.model import MIB


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["system", *words])


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "100a"
    with StorageSystem.create(path, "100a") as system:
        for name in ("105a", "106a"):
            system.create_volume(name, MIB)
        system.volume("105a").pwrite(b"x", 0)
        system.create_local_pair("105a", "106a").wait(timeout_s=30)
    return path


def test_what_is_well_is_told_thing_by_thing_with_status_0(directory: Path) -> None:
    done = run("check", str(directory))
    assert done.exit_code == 0
    assert "OK: volume 105a: " in done.output
    assert done.output.splitlines()[-1].startswith("OK: 0 of ")
    assert run("check", str(directory), "--quiet", "--json").output == ""


def test_what_is_wrong_has_a_status_of_its_own_and_is_repaired(directory: Path) -> None:
    next((directory / "bitmaps").iterdir()).unlink()
    done = run("check", str(directory), "--quiet", "--json")
    assert done.exit_code == 61
    (told,) = [json.loads(line) for line in done.output.splitlines()]
    assert told["severity"] == "FAILED"
    assert told["thing"].startswith("pair 100a.1 at volume 10")
    assert "SPLIT (requested)" in told["repair"]
    repaired = run("repair", str(directory), "--json")
    assert repaired.exit_code == 0
    assert json.loads(repaired.output)["kept"] == str(directory / "before-repair-1")
    assert run("check", str(directory)).exit_code == 0
    assert "nothing needed a repair" in run("repair", str(directory)).output


def test_a_system_that_is_open_is_left_alone(directory: Path) -> None:
    with StorageSystem.open(directory):
        for verb in ("check", "repair"):
            assert run(verb, str(directory)).exit_code == InUseError.exit_code


def test_lost_tables_are_repaired_when_the_id_is_named(directory: Path) -> None:
    for path in directory.glob("pyrep.db*"):
        path.unlink()
    assert run("check", str(directory)).exit_code == 61
    assert "--id" in run("repair", str(directory)).stderr
    done = run("repair", str(directory), "--id", "100a")
    assert done.exit_code == 0
    assert "volume 105a: its record is made anew" in done.output
