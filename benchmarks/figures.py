"""What benchmarks share: sizes, and figures beside their ceilings and peers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ceilings import Ceilings

__all__ = ["Beside", "Pairs", "Sizes", "interval", "ratios"]

Pairs = list[tuple[float, float]]
"""What was measured and what it is compared with, each pair from one moment. Nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large and how often."""

    rounds: int
    volume_bytes: int
    bits: int
    writes: int
    is_smoke: bool = False


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median by order statistics; of 11, the 2nd and the 10th.

    With fewer than 6 values no two of them reach 95 %: the answer is then the least and the most.
    """
    ordered = sorted(values)
    count = len(ordered)
    below, edge = 0.0, 0
    for k in range(count // 2):
        below += math.comb(count, k) / 2**count
        if below > 0.025:
            break
        edge = k
    return ordered[edge], ordered[-1 - edge]


def ratios(pairs: Pairs) -> dict[str, object]:
    """Return the median ratio of the pairs, its interval, and the two medians in nanoseconds."""
    each = [measured / other for measured, other in pairs]
    return {
        "measured_median_ns": statistics.median(measured for measured, _ in pairs),
        "other_median_ns": statistics.median(other for _, other in pairs),
        "ratio_median": statistics.median(each),
        "ratio_interval": list(interval(each)),
        "pair_count": len(each),
    }


def _verdict(each: Sequence[float], at_most: float) -> str:
    if statistics.median(each) <= at_most:
        return "kept"
    return "within the interval" if interval(each)[0] <= at_most else "MISSED"


def _tail_verdict(each: Sequence[float], ceiling: Sequence[float], at_most: float) -> str:
    verdict = _verdict(each, at_most)
    if verdict != "kept" and statistics.median(ceiling) > at_most:
        verdict += ", by the ceiling too"
    return verdict


@dataclass(slots=True)
class Beside:
    """Pairs of the measured and its ceiling, interleaved in one run. Nanoseconds.

    `peers` has the same for other programs or earlier ways, by name: `beside.peer("numpy", …)`.
    """

    benchmark: Any
    ceilings: Ceilings
    pairs: Pairs
    peers: dict[str, Pairs] = field(default_factory=dict)

    def peer(self, name: str, measured_ns: float, peer_ns: float) -> None:
        """Put one more pair beside the peer of that name."""
        self.peers.setdefault(name, []).append((measured_ns, peer_ns))

    def interleave(
        self, rounds: int, measure: Callable[[], float], ceiling: Callable[[], float]
    ) -> None:
        """Take `rounds` pairs, each side first every other time: what warms or cools hits both."""
        for _ in range(rounds):
            if len(self.pairs) % 2:
                other = ceiling()
                self.pairs.append((measure(), other))
            else:
                measured = measure()
                self.pairs.append((measured, ceiling()))

    def tail(self, each: list[float], ceiling: list[float], *, at_most: float) -> None:
        """Put what the slow ones among the measured take, by their median, beside the ceiling's.

        A machine that lets the ceiling wait lets everything wait: the verdict says so.
        """
        self.benchmark.extra_info["tail"] = {
            "ratio_median": statistics.median(each),
            "ratio_interval": list(interval(each)),
            "ceiling_median": statistics.median(ceiling),
            "bar": at_most,
            "verdict": _tail_verdict(each, ceiling, at_most),
        }

    def report(self, *, at_most: float | None = None, **facts: object) -> None:
        """Put the medians, and the interval of the ratios' median, beside the figure.

        `at_most` is the bar, if the ratio has one: `verdict` says whether the median keeps it, or
        the interval at least reaches it. It fails nothing, since the machine may be busy; whoever
        reads the figure judges.
        """
        found = ratios(self.pairs)
        found["ceiling_median_ns"] = found.pop("other_median_ns")
        if at_most is not None:
            found["bar"] = at_most
            found["verdict"] = _verdict([a / b for a, b in self.pairs], at_most)
        found["peers"] = {name: ratios(pairs) for name, pairs in self.peers.items()}
        self.benchmark.extra_info.update(facts, **found)
