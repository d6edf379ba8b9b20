from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ceilings import Ceilings
from figures import Beside, interval, ratios
from surroundings import describe, mount_of


class Recorder:
    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}


@pytest.fixture
def beside() -> Beside:
    return Beside(Recorder(), cast("Ceilings", None), [])


@pytest.mark.parametrize(
    ("count", "low", "high"),
    # As in tables of the sign test: at most 2.5 % of samples have their median outside each end.
    [(1, 1, 1), (5, 1, 5), (6, 1, 6), (9, 2, 8), (11, 2, 10), (15, 4, 12), (21, 6, 16)],
)
def test_the_interval_of_the_median_is_that_of_the_sign_test(
    count: int, low: int, high: int
) -> None:
    assert interval([float(value) for value in range(count, 0, -1)]) == (low, high)


def test_ratios_are_taken_pair_by_pair() -> None:
    # The median of the ratios isn't the ratio of the medians: noise hits both sides of a pair.
    found = ratios([(2.0, 1.0), (20.0, 10.0), (300.0, 100.0)])
    assert found["ratio_median"] == 2.0
    assert found["measured_median_ns"] == 20.0
    assert found["pair_count"] == 3


def test_each_side_of_a_pair_comes_first_every_other_time(beside: Beside) -> None:
    order: list[str] = []
    times = iter(range(1, 100))

    def take(name: str) -> float:
        order.append(name)
        return float(next(times))

    beside.interleave(3, lambda: take("measured"), lambda: take("ceiling"))
    assert order == ["measured", "ceiling", "ceiling", "measured", "measured", "ceiling"]
    assert beside.pairs == [(1, 2), (4, 3), (5, 6)]


def test_a_bar_is_kept_or_missed_and_peers_stand_beside(beside: Beside) -> None:
    beside.pairs.extend([(12.0, 10.0)] * 3)
    beside.peer("another", 12.0, 24.0)
    beside.report(at_most=1.1, dirty_bytes=5)
    info = beside.benchmark.extra_info
    assert (info["bar"], info["verdict"], info["dirty_bytes"]) == (1.1, "MISSED", 5)
    assert info["peers"]["another"]["ratio_median"] == 0.5
    beside.report(at_most=1.2)
    assert info["verdict"] == "kept"


def test_a_bar_that_only_the_interval_reaches_is_told_as_that(beside: Beside) -> None:
    beside.pairs.extend((ratio, 1.0) for ratio in [1.0] * 4 + [1.3] * 7)
    beside.report(at_most=1.1)
    assert beside.benchmark.extra_info["verdict"] == "within the interval"


def test_results_say_where_they_come_from(tmp_path: Path) -> None:
    found = describe(tmp_path)
    assert {"commit", "processor", "kernel", "device", "file_system"} <= found.keys()
    assert mount_of(Path("/proc"))["file_system"] == "proc"
