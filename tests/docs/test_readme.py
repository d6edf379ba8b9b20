"""README's examples run as they stand and print what stands below them; its commands exist."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
