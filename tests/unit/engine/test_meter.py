"""The meter, on a simulated clock."""

from __future__ import annotations

import pytest

from pyrep.engine.meter import Meter


def test_a_rate_is_not_known_before_some_time_has_passed() -> None:
    meter = Meter()
    assert meter.see(0.0, 0) is None
    assert meter.see(0.01, 1000) is None
    assert meter.left_s(1000) is None


def test_a_steady_rate_is_told_at_once() -> None:
    meter = Meter()
    meter.see(5.0, 100)
    assert meter.see(6.0, 1100) == pytest.approx(1000)
    assert meter.left_s(5000) == pytest.approx(5)


def test_a_change_of_pace_is_followed_smoothly() -> None:
    meter = Meter()
    done = 0
    seen = []
    for tenth in range(400):
        done += 100 if tenth < 200 else 10
        seen.append(meter.see(tenth / 10, done) or 0.0)
    assert seen[190] == pytest.approx(1000)
    assert 100 < seen[210] < 1000
    assert seen[399] == pytest.approx(100, rel=0.05)


def test_nothing_going_on_means_that_nobody_can_tell_the_end() -> None:
    meter = Meter()
    meter.see(0.0, 0)
    meter.see(1.0, 0)
    assert meter.left_s(1) is None


def test_after_a_stop_on_purpose_it_begins_anew() -> None:
    meter = Meter()
    meter.see(0.0, 0)
    meter.see(1.0, 1000)
    meter.restart()
    assert meter.see(100.0, 1000) is None
    assert meter.see(101.0, 6000) == pytest.approx(5000)
