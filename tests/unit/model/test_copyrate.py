"""Bounds of a copy."""

from __future__ import annotations

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.model import COPY_WORKERS_MAX, CopyRate, check_copy_workers

MIB = 1 << 20


def test_a_copy_has_no_ceiling_and_a_floor_of_16_mib() -> None:
    rate = CopyRate()
    assert rate.ceiling_bytes_s is None
    assert rate.least_bytes_s == 16 * MIB


def test_a_ceiling_below_the_default_floor_lowers_it() -> None:
    assert CopyRate(ceiling_bytes_s=MIB).least_bytes_s == MIB
    assert CopyRate(ceiling_bytes_s=100 * MIB).least_bytes_s == 16 * MIB
    assert CopyRate(ceiling_bytes_s=MIB, floor_bytes_s=7).least_bytes_s == 7


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["ceiling_bytes_s", "floor_bytes_s"])
def test_a_bound_below_1_is_refused_with_the_way_to_pause(name: str, value: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name}={value}") as caught:
        CopyRate(**{name: value})
    assert "pause_copy" in (caught.value.hint or "")


@pytest.mark.parametrize("value", [1 << 63, 1 << 70, 1.5, "fast"])
@pytest.mark.parametrize("name", ["ceiling_bytes_s", "floor_bytes_s"])
def test_a_bound_that_no_system_could_be_told_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{name}={value!r}") as caught:
        CopyRate(**{name: value})  # type: ignore[arg-type]
    assert "whole number" in (caught.value.hint or "")
    assert CopyRate(**{name: (1 << 63) - 1}) != CopyRate()


def test_a_floor_above_the_ceiling_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="above") as caught:
        CopyRate(ceiling_bytes_s=1, floor_bytes_s=2)
    assert caught.value.hint


@pytest.mark.parametrize("workers", [0, -1, COPY_WORKERS_MAX + 1])
def test_a_number_of_workers_that_cannot_be_is_refused(workers: int) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{workers} workers"):
        check_copy_workers(workers)


def test_workers_that_are_no_whole_number_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match=r"1\.5 workers"):
        check_copy_workers(1.5)  # type: ignore[arg-type]
