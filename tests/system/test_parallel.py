"""A test that takes its process down is named, with its stack, and the others still run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CRASHING = """
import ctypes

def test_that_reads_nowhere():
    ctypes.string_at(0)

def test_that_comes_after():
    pass
"""


def test_a_crash_is_reported_by_its_test_and_the_others_still_run(tmp_path: Path) -> None:
    (tmp_path / "test_crashing.py").write_text(CRASHING)
    options = ["-n", "1", "--dist=worksteal", "-p", "no:cacheprovider", "-c"]
    configuration = Path(__file__).parents[2] / "pyproject.toml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, configuration, f"--rootdir={tmp_path}", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "crashed while running 'test_crashing.py::test_that_reads_nowhere'" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "Fatal Python error: Segmentation fault" in done.stderr
    assert 'test_crashing.py", line 5 in test_that_reads_nowhere' in done.stderr
