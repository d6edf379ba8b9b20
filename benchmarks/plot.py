"""Draw resync time against dirty share and against volume size: plot.py RESULTS.json DIRECTORY.

Writes resync-by-dirty-share.svg and resync-by-volume-size.svg from what bench_sweep.py measured.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

__all__ = ["Point", "Sweep", "draw", "points_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One plot: the fact that it goes over, and what stands beside its axis."""

    fact: str
    file_name: str
    title: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Medians of one place of a sweep, and the ratio of pairs with its 95 % interval."""

    at: float
    measured_ms: float
    ceiling_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float


SWEEPS = (
    Sweep(
        fact="dirty_share",
        file_name="resync-by-dirty-share.svg",
        title="Local resync, random dirty chunks of 8 KiB",
        label="dirty share of the volume",
    ),
    Sweep(
        fact="volume_bytes",
        file_name="resync-by-volume-size.svg",
        title="Local resync, the same dirty chunks in a larger sparse volume",
        label="volume, bytes",
    ),
)


def points_of(results: dict[str, Any], fact: str) -> list[Point]:
    """Return what was measured along `fact`, ascending."""
    found = [one["extra_info"] for one in results["benchmarks"]]
    return sorted(
        (
            Point(
                at=info["at"],
                measured_ms=info["measured_median_ns"] / 1e6,
                ceiling_ms=info["ceiling_median_ns"] / 1e6,
                ratio=info["ratio_median"],
                ratio_low=info["ratio_interval"][0],
                ratio_high=info["ratio_interval"][1],
            )
            for info in found
            if info.get("sweep") == fact
        ),
        key=lambda point: point.at,
    )


def draw(sweep: Sweep, points: list[Point], origin: dict[str, Any]) -> Figure:
    """Draw times above, and the ratio with its interval below."""
    figure = Figure(figsize=(7, 6), layout="constrained")
    times, ratio = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    at = [point.at for point in points]
    times.plot(at, [point.measured_ms for point in points], "o-", label="pyrep")
    times.plot(at, [point.ceiling_ms for point in points], "s--", label="plain C, one thread")
    times.set(title=sweep.title, ylabel="ms, median", xscale="log", yscale="log")
    times.legend()
    below = [max(point.ratio - point.ratio_low, 0) for point in points]
    above = [max(point.ratio_high - point.ratio, 0) for point in points]
    middle = [point.ratio for point in points]
    ratio.errorbar(at, middle, yerr=[below, above], fmt="o-", capsize=3)
    ratio.axhline(1, linestyle="--", color="gray")
    ratio.set(xlabel=sweep.label, ylabel="ratio, 95 % of median")
    for axes in (times, ratio):
        axes.grid(visible=True, alpha=0.3)
    figure.supxlabel(
        f"{origin['processor']}, {origin['processor_count']} CPUs, Linux {origin['kernel']}, "
        f"{origin['file_system']}, commit {origin['commit'][:12]}",
        fontsize=7,
    )
    return figure


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: plot.py RESULTS.json DIRECTORY\n")
        return 2
    results = json.loads(Path(arguments[0]).read_text())
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "pyrep"})
    for sweep in SWEEPS:
        points = points_of(results, sweep.fact)
        if not points:
            sys.stderr.write(f"plot: {arguments[0]} has nothing of bench_sweep.py: {sweep.fact}\n")
            return 1
        path = Path(arguments[1]) / sweep.file_name
        draw(sweep, points, results["pyrep"]).savefig(path, metadata={"Date": None})
        sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
