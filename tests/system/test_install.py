"""The core installed for C programs: what pkg-config tells links the example, and that mirrors."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

EXPECTED = """\
initial copy: 4194304 bytes
mirroring: equal
split: different
  pending: 2 chunk(s) from 4
  pending: 1 chunk(s) from 100
resync: 24576 bytes
mirroring: equal
"""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install into a staging directory and move the tree away from where it was meant to lie."""
    for tool in ("cmake", "pkg-config"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: install {tool}")
    base = tmp_path_factory.mktemp("core")
    run("scripts/install-core.sh", PREFIX="/opt/pyrep", DESTDIR=str(base / "staged"))
    return (base / "staged/opt/pyrep").rename(base / "moved")


def pkg_config(installed: Path, *options: str) -> list[str]:
    (found,) = installed.glob("**/pkgconfig")
    return shlex.split(run("pkg-config", *options, "pyrep-core", PKG_CONFIG_PATH=str(found)))


def build(installed: Path, program: Path, *libraries: str) -> None:
    flags = pkg_config(installed, "--cflags")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    warnings = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    source = ROOT / "examples/mirror.c"
    run(*compiler, *warnings, *flags, "-o", program, source, *libraries)


def test_the_example_mirrors_with_the_shared_library(installed: Path, tmp_path: Path) -> None:
    build(installed, tmp_path / "mirror", *pkg_config(installed, "--libs"))
    (directory,) = pkg_config(installed, "--variable=libdir")
    text = run("./mirror", "source", "target", cwd=tmp_path, LD_LIBRARY_PATH=directory)
    assert text == EXPECTED
    assert (tmp_path / "source").read_bytes() == (tmp_path / "target").read_bytes()


def test_the_example_mirrors_with_the_static_library(installed: Path, tmp_path: Path) -> None:
    libraries = pkg_config(installed, "--static", "--libs")
    build(installed, tmp_path / "mirror", "-Wl,-Bstatic", *libraries, "-Wl,-Bdynamic")
    assert run("./mirror", "source", "target", cwd=tmp_path) == EXPECTED


def test_the_shared_library_exports_what_the_headers_declare(installed: Path) -> None:
    (directory,) = pkg_config(installed, "--variable=libdir")
    exported = run("nm", "-D", "--defined-only", f"{directory}/libpyrep_core.so").splitlines()
    declared: set[str] = set()
    for header in (installed / "include/pyrep").iterdir():
        text = re.sub(
            r"/\*.*?\*/|^\s*#.*?$", "", header.read_text(), flags=re.DOTALL | re.MULTILINE
        )
        declared.update(re.findall(r"\b(rep_\w+)\(", text))
    assert sorted(line.split()[2] for line in exported) == sorted(declared)


def test_what_is_the_cores_own_is_not_installed(installed: Path) -> None:
    headers = {path.name for path in (installed / "include/pyrep").iterdir()}
    assert headers == {path.name for path in (ROOT / "csrc").glob("rep_*.h")}
    assert not any(name.endswith("parts.h") for name in headers)
