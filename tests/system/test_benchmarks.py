"""The benchmarks run tiny, each beside its ceiling, and their results can be drawn."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # pytest-benchmark would take itself for a worker of the run that this test is in.
    alone = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=BENCHMARKS.parent,
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_benchmark_runs_tiny_shows_its_ceiling_and_can_be_drawn(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ["--benchmark-enable", "--smoke", "-q", f"--benchmark-json={results}"]
    done = run("-m", "pytest", "benchmarks", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if " ceiling " in line and "ratio" in line]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert len(lines) == int(passed[1]) > 0, done.stdout
    assert json.loads(results.read_text())["pyrep"]["file_system"] != "unknown"

    drawn = run("benchmarks/plot.py", results, tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    for name, label in (("dirty-share", "dirty share of"), ("volume-size", "volume, bytes")):
        assert label in (tmp_path / f"resync-by-{name}.svg").read_text()


def test_results_without_a_sweep_are_not_drawn_empty(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing: the extra bench")
    results = tmp_path / "results.json"
    results.write_text('{"benchmarks": [], "pyrep": {}}')
    drawn = run("benchmarks/plot.py", results, tmp_path)
    assert drawn.returncode == 1
    assert "bench_sweep.py: dirty_share" in drawn.stderr
    assert not list(tmp_path.glob("*.svg"))
