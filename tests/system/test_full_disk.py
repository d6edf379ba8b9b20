"""A file system that is really full below volumes, bitmaps, logs or tables, or all of a system.

At either side, with and without a crash meanwhile: `full_disk.py`, in a mount namespace of its own.
It raises if an acknowledged write is lost, a difference isn't covered, a file is damaged, or if
with room again the pairs don't become DUPLEX and equal.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conftest import MACHINE

SCRIPT = Path(__file__).with_name("full_disk.py")
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@pytest.fixture(scope="module", autouse=True)
def needs_namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    where = str(tmp_path_factory.mktemp("mount"))
    mount = ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", where)
    try:
        tried = subprocess.run([*NAMESPACE, *mount], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"{MACHINE}unshare: {error}")
    if tried.returncode:
        pytest.skip(f"{MACHINE}tmpfs in a user and mount namespace: {tried.stderr.strip()}")


def _answers(base: Path, side: str, what: str) -> dict[str, Any]:
    command = [*NAMESPACE, sys.executable, str(SCRIPT), str(base), side, what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("side", ["100a", "100b"])
@pytest.mark.parametrize("what", ["bitmaps", "log"])
def test_hosts_go_on_while_bitmaps_or_logs_have_no_room(
    tmp_path: Path, side: str, what: str
) -> None:
    found = _answers(tmp_path, side, what)
    assert "NoSpaceError" not in found
    assert found["remote DUPLEX"] == found["local DUPLEX"] == 2


@pytest.mark.parametrize("what", ["volumes", "all"])
def test_hosts_are_told_that_the_pvol_has_no_room(tmp_path: Path, what: str) -> None:
    assert _answers(tmp_path, "100a", what)["NoSpaceError"] > 100


@pytest.mark.parametrize("what", ["volumes", "all"])
def test_hosts_go_on_and_the_pairs_split_where_the_svol_has_no_room(
    tmp_path: Path, what: str
) -> None:
    found = _answers(tmp_path, "100b", what)
    assert "NoSpaceError" not in found
    assert found["remote SPLIT device_error"] == 2


@pytest.mark.parametrize("side", ["100a", "100b"])
def test_commands_are_refused_and_hosts_go_on_while_the_tables_have_no_room(
    tmp_path: Path, side: str
) -> None:
    found = _answers(tmp_path, side, "tables")
    assert "NoSpaceError" not in found
    assert found["remote split NoSpaceError"] >= 1
