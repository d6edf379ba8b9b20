"""Which spans a verification of a share compares."""

from __future__ import annotations

import pytest

from pyrep.engine.draw import Draw
from pyrep.errors import InvalidArgumentError
from pyrep.model import SPAN_BYTES

SPANS = 5000
SIZE = SPANS * SPAN_BYTES - 4096


def drawn(draw: Draw) -> list[int]:
    return [span for span in range(SPANS) if draw.has(span)]


@pytest.mark.parametrize("percentage", [0.001, 0.5, 33.3, 50, 99.99, 100])
def test_it_has_the_share_that_was_asked_for_and_says_its_bytes(percentage: float) -> None:
    for seed in range(20):
        draw = Draw(SIZE, percentage, seed)
        spans = drawn(draw)
        assert max(1, SPANS * percentage / 100 - 1) <= len(spans) <= SPANS * percentage / 100 + 1
        for offset in (0, 1, 1500 * SPAN_BYTES + 7, SIZE):
            before = sum(
                max(0, min(offset, (one + 1) * SPAN_BYTES) - one * SPAN_BYTES) for one in spans
            )
            assert draw.bytes_before(offset) == before


def test_the_same_seed_draws_the_same_and_another_one_something_else() -> None:
    assert drawn(Draw(SIZE, 10, 7)) == drawn(Draw(SIZE, 10, 7))
    assert drawn(Draw(SIZE, 10, 7)) != drawn(Draw(SIZE, 10, 8))
    assert drawn(Draw(SIZE, 10, None)) != drawn(Draw(SIZE, 10, None))


def test_every_part_of_a_volume_is_drawn_some_time_however_small_the_share() -> None:
    quarters = {span * 4 // SPANS for seed in range(100) for span in drawn(Draw(SIZE, 0.01, seed))}
    assert quarters == {0, 1, 2, 3}


@pytest.mark.parametrize("wrong", [0, -1, 101, float("nan"), "50", None])
def test_what_is_no_share_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgumentError, match="cannot verify"):
        Draw(SIZE, wrong, 1)  # type: ignore[arg-type]
