"""When a copy compares digests, and what a comparison that nobody asked for passes over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrep.model import GIB, MIB, Compare, Comparison, DigestKind, Fruitless

WINDOW = 8 * MIB


@pytest.mark.parametrize("overmarked", [True, False])
def test_a_copy_compares_as_it_was_told_and_by_itself_where_it_may_pay(overmarked: bool) -> None:
    def plan(compare: Compare) -> Comparison | None:
        return compare.plan(overmarked=overmarked, by_itself=DigestKind.SHA256)

    assert plan(Compare.NEVER) is None
    assert plan(Compare.XXH3) == Comparison(kind=DigestKind.XXH3, is_sparing=False)
    assert plan(Compare.SHA256) == Comparison(kind=DigestKind.SHA256, is_sparing=False)
    by_itself = Comparison(kind=DigestKind.SHA256, is_sparing=True)
    assert plan(Compare.AUTO) == (by_itself if overmarked else None)


def compare(equal: list[bool]) -> tuple[int, int]:
    """Compare a volume, a window for each; return windows looked at, and equal ones passed over."""
    state = Fruitless()
    looked = missed = at = 0
    while at < len(equal):
        windows = state.pass_bytes // WINDOW
        state = state.passed(state.pass_bytes)
        missed += sum(equal[at : at + windows])
        at += windows
        if at < len(equal):
            looked += 1
            state = state.compared(WINDOW, equal_bytes=WINDOW if equal[at] else 0)
            at += 1
    return looked, missed


def test_where_everything_differs_a_hundredth_of_a_large_volume_is_read_for_nothing() -> None:
    windows = 1024 * GIB // WINDOW
    looked, _ = compare([False] * windows)
    assert looked < 0.01 * windows


def test_where_everything_is_equal_everything_is_compared() -> None:
    assert compare([True] * 1000) == (1000, 0)


@pytest.mark.parametrize("differing", [1, 3, 10, 1000, 100_000])
def test_behind_a_stretch_that_differs_a_quarter_of_it_or_a_gib_is_sent_for_nothing(
    differing: int,
) -> None:
    _, missed = compare([False] * differing + [True] * 10_000)
    assert missed <= min(differing / 4, GIB / WINDOW)


@given(st.lists(st.booleans(), max_size=400))
def test_one_window_in_eight_that_is_equal_keeps_it_looking(equal: list[bool]) -> None:
    state = Fruitless()
    for one in equal:
        state = state.compared(8 * WINDOW, equal_bytes=WINDOW if one else WINDOW - 1)
        if one:
            assert state.pass_bytes == 0


def test_a_single_busy_region_is_no_sign_of_the_rest() -> None:
    state = Fruitless()
    for _ in range(3):
        state = state.compared(WINDOW, equal_bytes=0)
        assert state.pass_bytes == 0
    assert state.compared(WINDOW, equal_bytes=0).pass_bytes == WINDOW
