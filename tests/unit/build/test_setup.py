from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest
import setuptools
from setuptools import Distribution

SETUP = Path(__file__).parents[3] / "setup.py"


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py hands to setuptools, once it was run."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: found.update(arguments))
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    built, in_place = tmp_path / "built.so", tmp_path / "in-place.so"
    built.write_bytes(b"new" * 100_000)
    in_place.write_bytes(b"old")
    return built, in_place


@pytest.fixture
def build_ext(handed_over: dict[str, Any], files: tuple[Path, Path]) -> Any:
    """The command that setup.py hands to setuptools, about to replace one extension."""
    runpy.run_path(str(SETUP))
    command = handed_over["cmdclass"]["build_ext"](Distribution())
    built, in_place = files
    command.get_output_mapping = lambda: {str(built): str(in_place)}
    return command


def test_an_extension_in_place_is_whole_until_another_takes_its_name(
    build_ext: Any, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, in_place = files
    seen: list[bytes] = []
    rename = Path.replace

    def look(path: Path, target: str) -> Path:
        seen.extend([in_place.read_bytes(), path.read_bytes()])
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", look)
    build_ext.copy_extensions_to_source()
    assert seen == [b"old", built.read_bytes()]
    assert in_place.read_bytes() == built.read_bytes()
    assert sorted(in_place.parent.iterdir()) == [built, in_place]


def test_a_process_that_has_it_mapped_keeps_the_old_one(
    build_ext: Any, files: tuple[Path, Path]
) -> None:
    _, in_place = files
    with in_place.open("rb") as mapped:
        build_ext.copy_extensions_to_source()
        assert mapped.read() == b"old"
        assert os.fstat(mapped.fileno()).st_ino != in_place.stat().st_ino


@pytest.mark.parametrize("is_there", [True, False])
def test_without_libext2fs_the_core_is_built_alone_and_it_says_what_is_missing(
    is_there: bool,
    handed_over: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The linker of a machine without the library: it fails where that is asked for.
    answer = "" if is_there else 'case "$*" in *-lext2fs*) exit 1 ;; esac'
    cc = tmp_path / "cc"
    cc.write_text(f'#!/bin/sh\n{answer}\nexec cc "$@"\n')
    cc.chmod(0o755)
    monkeypatch.setenv("CC", str(cc))
    runpy.run_path(str(SETUP))
    built = ["csrc/cffi_core.py:ffibuilder", "csrc/ext/cffi_ext.py:ffibuilder"]
    assert handed_over["cffi_modules"] == built[: 1 + is_there]
    assert ("libext2fs-dev" in capsys.readouterr().err) == (not is_there)
