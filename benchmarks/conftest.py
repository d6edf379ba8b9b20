"""Sizes and ceilings of the benchmarks; --smoke runs them all tiny, so that they never rot."""

from __future__ import annotations

import platform
import subprocess
from typing import Any

import pytest

from ceilings import Ceilings
from figures import Beside, Sizes


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--smoke", action="store_true", help="tiny sizes, one round: do they run?")


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    if request.config.getoption("--smoke"):
        return Sizes(rounds=1, volume_bytes=16 << 20, bits=1 << 20, writes=100)
    return Sizes(rounds=11, volume_bytes=1 << 30, bits=1 << 31, writes=20_000)


@pytest.fixture(scope="session")
def ceilings(tmp_path_factory: pytest.TempPathFactory) -> Ceilings:
    return Ceilings(tmp_path_factory.mktemp("ceilings"))


@pytest.fixture
def beside(benchmark: Any, ceilings: Ceilings, request: pytest.FixtureRequest) -> Beside:
    made = Beside(benchmark, ceilings, [])
    request.config.stash.setdefault(_REPORTS, []).append((request.node.name, made))
    return made


_REPORTS: pytest.StashKey[list[tuple[str, Beside]]] = pytest.StashKey()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show each figure beside its ceiling."""
    reports = config.stash.get(_REPORTS, [])
    if not reports:
        return
    terminalreporter.section("beside the C ceiling of the same run")
    for name, beside in reports:
        facts = beside.benchmark.extra_info
        if "ratio_median" not in facts:
            continue
        low, high = facts["ratio_interval"]
        terminalreporter.write_line(
            f"{name:34} {facts['measured_median_ns'] / 1e6:10.3f} ms"
            f"   ceiling {facts['ceiling_median_ns'] / 1e6:10.3f} ms"
            f"   ratio {facts['ratio_median']:.3f} [{low:.3f}, {high:.3f}]"
        )


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[object], output_json: dict[str, Any]
) -> None:
    """Say what was measured where."""
    del config, benchmarks
    found = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    output_json["pyrep"] = {"commit": found.stdout.strip(), "kernel": platform.release()}
