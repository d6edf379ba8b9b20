"""README's examples run as they stand and print what stands below them; its commands exist."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pyrep.api import Client

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


EXAMPLES = list(zip(_blocks("python"), _blocks("text"), strict=True))


@pytest.mark.parametrize(("example", "expected"), EXAMPLES, ids=["mirrors", "generations"])
def test_an_example_prints_what_stands_below_it(
    tmp_path: Path, example: str, expected: str
) -> None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if shutil.which("mke2fs", path=path) is None:
        pytest.skip("mke2fs is missing: install e2fsprogs")
    if importlib.util.find_spec("pyrep._ext_native") is None:
        pytest.skip("pyrep was built without libext2fs: install libext2fs-dev")
    (tmp_path / "example.py").write_text(example)

    done = subprocess.run(
        [sys.executable, "-W", "error", "example.py"],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "PYTHONUTF8": "1"},
        text=True,
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == expected


def test_the_commands_are_targets_that_say_what_they_do() -> None:
    helped = dict(
        re.findall(r"^([a-z-]+):.*## (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    )

    named = re.findall(r"^make ([a-z-]+)", "".join(_blocks("sh")), re.MULTILINE)

    assert named == ["demo", "test"]
    assert all(helped[one].startswith("set up") for one in named)


def test_the_packages_that_apt_brings_are_those_that_the_set_up_asks_for() -> None:
    script = (ROOT / "scripts/setup.sh").read_text()

    named = re.search(r"What apt must bring \(([^)]*)\)", TEXT)

    assert named is not None
    packages = re.findall(r"`([^`]+)`", named.group(1))
    assert {"gcc", "libext2fs-dev", "e2fsprogs", "cmake"} <= set(packages)
    for package in packages:
        assert package in script or package.replace("python3", "python$version") in script


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_the_commands_for_two_sites_restore_the_letter(tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    if shutil.which("mke2fs", path=path) is None:
        pytest.skip("mke2fs is missing: install e2fsprogs")
    if importlib.util.find_spec("pyrep._ext_native") is None:
        pytest.skip("pyrep was built without libext2fs: install libext2fs-dev")
    address = _free_address()
    blocks = [one.replace("127.0.0.1:4150", address) for one in _blocks("sh") if "pyrep" in one]
    secondary, primary, work = (f"set -e\n{one}" for one in blocks)
    environment = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
    with ExitStack() as stack:
        for script in (secondary, primary):
            terminal = stack.enter_context(
                subprocess.Popen(
                    ["bash", "-c", script.replace("pyrep serve", "exec pyrep serve")],
                    cwd=tmp_path,
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(terminal.terminate)
            assert terminal.stdout is not None
            assert any("is served at" in line for line in terminal.stdout)
        with Client.of_system(tmp_path / "100a") as client:
            client.wait_for_path("100b", timeout_s=120)

        done = subprocess.run(
            ["bash", "-c", work],
            cwd=tmp_path,
            env=environment,
            text=True,
            capture_output=True,
            check=False,
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("dear all\n")
    for said in ("evening", "/letter", "by Fig. 5", "DUPLEX"):
        assert said in done.stdout
