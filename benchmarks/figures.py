"""What benchmarks share: sizes, and the figure beside its ceiling."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from ceilings import Ceilings

__all__ = ["Beside", "Sizes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large and how often."""

    rounds: int
    volume_bytes: int
    bits: int
    writes: int


@dataclass(slots=True)
class Beside:
    """Pairs of the measured and its ceiling, interleaved in one run. Nanoseconds."""

    benchmark: Any
    ceilings: Ceilings
    pairs: list[tuple[float, float]]

    def report(self, **facts: object) -> None:
        """Put the medians, and the interval of the ratios' median, beside the figure."""
        ratios = sorted(measured / ceiling for measured, ceiling in self.pairs)
        # The 95 % interval of the median by order statistics, of 11 pairs: the 2nd and the 10th.
        edge = max(len(ratios) // 2 - 4, 0)
        self.benchmark.extra_info.update(
            facts,
            measured_median_ns=statistics.median(measured for measured, _ in self.pairs),
            ceiling_median_ns=statistics.median(ceiling for _, ceiling in self.pairs),
            ratio_median=statistics.median(ratios),
            ratio_interval=[ratios[edge], ratios[-1 - edge]],
        )
