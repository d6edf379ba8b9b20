"""What is logged of things that come again and again."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from pyrep.interconnect.repeats import Repeats

HOUR_S = 3600.0
Said = Callable[[], list[str]]


class Clock:
    def __init__(self) -> None:
        self.now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repeats(clock: Clock) -> Repeats:
    return Repeats(logging.getLogger("pyrep.test"), clock=clock)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Said:
    """Return what takes the lines that were written since it was asked last."""

    def take() -> list[str]:
        lines = [one.getMessage() for one in caplog.records]
        caplog.clear()
        return lines

    return take


def test_a_line_is_written_once_and_then_its_count_each_hour(
    repeats: Repeats, clock: Clock, said: Said
) -> None:
    for _ in range(1000):
        repeats.warn("h", "refused")
    assert said() == ["refused"]
    clock.now_s += HOUR_S
    repeats.warn("h", "refused")
    assert said() == ["refused again=999"]
    clock.now_s += HOUR_S
    repeats.warn("h", "refused")
    assert said() == ["refused again=1"]
    repeats.close()
    assert said() == ["refused again=1"]
    repeats.close()
    assert said() == []


def test_what_came_no_more_for_an_hour_is_new_when_it_comes_again(
    repeats: Repeats, clock: Clock, said: Said
) -> None:
    repeats.warn("h", "refused")
    clock.now_s += HOUR_S
    repeats.warn("h", "refused")
    assert said() == ["refused"] * 2


def test_another_reason_of_one_source_is_written_at_once_and_what_was_counted_before_it(
    repeats: Repeats, said: Said
) -> None:
    for _ in range(3):
        repeats.warn("h", "expired")
        repeats.warn("other", "expired too")
    said()
    repeats.warn("h", "denied")
    assert said() == ["expired again=2", "denied"]
    for _ in range(10):  # two that take turns are two, not twenty
        repeats.warn("h", "expired")
        repeats.warn("h", "denied")
    assert said() == []


def test_who_says_something_new_each_time_fills_no_log(repeats: Repeats, said: Said) -> None:
    for number in range(10_000):
        repeats.warn("h", f"no system {number}")
    assert len(said()) == 65
    repeats.close()
    assert said() == ["path.refused in many more ways again=9935"]
