"""Sizes and ceilings of the benchmarks; --smoke runs them all tiny, so that they never rot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ceilings import Ceilings
from figures import Beside, Sizes
from surroundings import describe

_REPORTS: pytest.StashKey[list[tuple[str, Beside]]] = pytest.StashKey()
_PLACE: pytest.StashKey[Path] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--smoke", action="store_true", help="tiny sizes, one round: do they run?")


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    if request.config.getoption("--smoke"):
        return Sizes(rounds=1, volume_bytes=16 << 20, bits=1 << 20, writes=100, is_smoke=True)
    return Sizes(rounds=11, volume_bytes=1 << 30, bits=1 << 31, writes=20_000)


@pytest.fixture(scope="session")
def ceilings() -> Ceilings:
    return Ceilings()


@pytest.fixture
def beside(
    benchmark: Any,
    ceilings: Ceilings,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Beside:
    made = Beside(benchmark, ceilings, [])
    request.config.stash.setdefault(_REPORTS, []).append((request.node.name, made))
    request.config.stash[_PLACE] = tmp_path_factory.getbasetemp()
    return made


def _line(name: str, facts: dict[str, Any], other_ns: float, other: str) -> str:
    low, high = facts["ratio_interval"]
    return (
        f"{name:40} {facts['measured_median_ns'] / 1e6:10.3f} ms"
        f"   {other} {other_ns / 1e6:10.3f} ms"
        f"   ratio {facts['ratio_median']:.3f} [{low:.3f}, {high:.3f}]"
    )


def _tail_line(facts: dict[str, Any]) -> str:
    low, high = facts["ratio_interval"]
    return (
        f"{'':40} p99 by median {facts['ratio_median']:.2f} [{low:.2f}, {high:.2f}]"
        f"   the ceiling's {facts['ceiling_median']:.2f}   bar {facts['bar']:g}: {facts['verdict']}"
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show each figure beside its ceiling, its bar and its peers."""
    reports = config.stash.get(_REPORTS, [])
    if not reports:
        return
    terminalreporter.section("beside the C ceiling of the same run")
    for name, beside in reports:
        facts = beside.benchmark.extra_info
        if "ratio_median" not in facts:
            continue
        line = _line(name, facts, facts["ceiling_median_ns"], "ceiling")
        if "bar" in facts:
            line += f"   bar {facts['bar']}: {facts['verdict']}"
        terminalreporter.write_line(line)
        if "tail" in facts:
            terminalreporter.write_line(_tail_line(facts["tail"]))
        for peer, found in facts["peers"].items():
            terminalreporter.write_line(_line("", found, found["other_median_ns"], peer))


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: list[object], output_json: dict[str, Any]
) -> None:
    """Say what was measured where."""
    del benchmarks
    output_json["pyrep"] = describe(config.stash.get(_PLACE, Path.cwd()))
