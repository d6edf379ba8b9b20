"""The sdist holds what builds the package and the core, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FILES = {"CHANGELOG.md", "CMakeLists.txt", "LICENSE", "MANIFEST.in", "README.md", "setup.py"}
MADE = {"PKG-INFO", "pyproject.toml", "setup.cfg"}


def kept_files() -> set[str]:
    """What git keeps, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Names without the leading directory, and contents."""
    base = tmp_path_factory.mktemp("sdist")
    for name in kept_files():
        path = base / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((ROOT / name).read_bytes())
    (base / "source/csrc/left.o").write_bytes(b"junk")
    script = "from setuptools import build_meta; build_meta.build_sdist('../dist')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=base / "source",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (base / "dist").iterdir()
    found: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            if member.isfile():
                file = archive.extractfile(member)
                assert file is not None
                found[member.name.partition("/")[2]] = file.read()
    return found


def test_it_holds_the_sources_and_nothing_else(sdist: dict[str, bytes]) -> None:
    directories = ("pyrep/", "csrc/", "cmake/", "examples/", "packaging/")
    wanted = {name for name in kept_files() if name.startswith(directories)} | FILES | MADE
    assert {name for name in sdist if not name.startswith("pyrep.egg-info/")} == wanted


def test_its_metadata_is_complete(sdist: dict[str, bytes]) -> None:
    metadata = Parser().parsestr(sdist["PKG-INFO"].decode())
    assert metadata["Name"] == "pyrep"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Version"] in sdist["pyrep/version.py"].decode()
    assert "Mirrored block volumes" in str(metadata.get_payload())
