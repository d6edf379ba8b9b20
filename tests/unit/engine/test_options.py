"""Options that can't be."""

from __future__ import annotations

import pytest

from pyrep.engine import Options
from pyrep.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ack_timeout_s", -0.1),
        ("ack_timeout_s", float("nan")),
        ("queue_bytes", 0),
        ("queue_bytes", (4 << 20) - 1),
        ("copy_wait_s", "600"),
        ("hold_max_ms", -1),
        ("digest_rate_bytes_s", None),
        ("copy_workers", 0),
        ("hot_regions", 15),
        ("hot_regions", 65536),
        ("ack_timeout_s", float("inf")),
        ("copy_wait_s", 1e300),
        ("queue_bytes", 9 * 10**18),
        ("region_bytes", 1 << 19),
        ("region_bytes", 3 << 20),
        ("region_bytes", 1 << 27),
    ],
)
def test_an_option_that_cant_be_is_refused_before_anything_is_opened(
    name: str, value: object
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        Options(**{name: value})  # type: ignore[arg-type]
    assert repr(value) in str(caught.value)
    assert caught.value.hint


def test_the_least_that_an_option_may_be_is_taken() -> None:
    least = Options(ack_timeout_s=0, queue_bytes=4 << 20, copy_wait_s=0, digest_rate_bytes_s=0)
    assert least.queue_bytes == 4 << 20
