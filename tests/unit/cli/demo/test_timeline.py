from __future__ import annotations

import threading

import pytest

from pyrep.cli.demo.timeline import Timeline


class Pairs:
    """Statuses that a test changes, and a clock that says how often it was asked."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.time_s = 0.0

    def look(self) -> dict[str, str]:
        return dict(self.now)

    def clock(self) -> float:
        self.time_s += 1.0
        return self.time_s


def test_only_changes_are_kept_each_under_what_was_going_on() -> None:
    pairs = Pairs()
    timeline = Timeline(pairs.look, clock=pairs.clock)
    timeline.doing(1)
    pairs.now = {"105a→105b": "COPY"}
    timeline.look()
    timeline.look()
    pairs.now = {"105a→105b": "DUPLEX"}
    timeline.doing(2, 520)  # seen now, but it became so before
    pairs.now = {"105a→105b": "SPLIT"}
    timeline.look()
    assert [(one.phase, one.step, one.statuses.get("105a→105b")) for one in timeline.moments] == [
        (0, None, None),
        (1, None, "COPY"),
        (1, None, "DUPLEX"),
        (2, 520, "SPLIT"),
    ]


def test_what_was_seen_since_counts_from_the_status_it_had_then() -> None:
    pairs = Pairs()
    timeline = Timeline(pairs.look, clock=pairs.clock)
    for status in ("COPY", "DUPLEX"):
        pairs.now = {"pair": status}
        timeline.look()
    since = len(timeline.moments)
    assert timeline.seen("pair", since=since) == {"DUPLEX"}
    pairs.now = {"pair": "SPLIT"}
    timeline.look()
    assert timeline.seen("pair", since=since) == {"DUPLEX", "SPLIT"}


def test_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrep.cli.demo.timeline._INTERVAL_S", 0.0)
    looked = threading.Event()

    def look() -> dict[str, str]:
        looked.set()
        return {}

    with Timeline(look):
        assert looked.wait(60)
    assert not any(thread.name == "timeline" for thread in threading.enumerate())
