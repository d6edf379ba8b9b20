"""Whether a copy comes to its end: said only of a whole window, and taken back."""

from __future__ import annotations

from pyrep.engine.convergence import Convergence


def test_nothing_is_said_before_the_window_has_passed() -> None:
    seen = Convergence(window_s=10, share=0.5)
    assert all(seen.note(now, now) for now in range(10))
    assert not seen.note(10, 10)


def test_it_is_the_share_of_the_last_window_that_counts_and_it_clears() -> None:
    seen = Convergence(window_s=10, share=0.5)
    said = [seen.note(now, min(now, 20)) for now in range(40)]
    assert not any(said[10:25])
    assert all(said[26:])


def test_a_share_below_the_limit_converges() -> None:
    seen = Convergence(window_s=10, share=0.5)
    assert all(seen.note(now, now * 0.49) for now in range(100))


def test_a_share_of_none_is_never_said() -> None:
    seen = Convergence(window_s=1, share=0)
    assert all(seen.note(now, now) for now in range(10))


def test_a_window_of_none_is_from_one_look_to_the_next() -> None:
    seen = Convergence(window_s=0, share=0.5)
    assert seen.note(0, 0)
    assert not seen.note(1, 1)
    assert seen.note(2, 1)
