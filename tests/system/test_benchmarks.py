import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_benchmark_runs_tiny_and_shows_its_ceiling() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks", "--benchmark-enable", "--smoke", "-q"],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if " ceiling " in line and "ratio" in line]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None, done.stdout
    assert len(lines) == int(passed[1]) > 0, done.stdout
