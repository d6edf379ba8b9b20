from __future__ import annotations

import pytest

from pyrep._core import Bitmap
from pyrep.errors import InvalidArgumentError


def _bits(size: int, *runs: tuple[int, int]) -> Bitmap:
    bitmap = Bitmap(size)
    for first, count in runs:
        bitmap.set(first, count)
    return bitmap


def _borrowed(owner: Bitmap) -> Bitmap:
    return Bitmap(0, pointer=owner.pointer, keep=owner)


def test_runs_of_a_union_and_of_a_difference_come_in_bulk() -> None:
    one, other = _bits(1000, (10, 20), (500, 1)), _bits(1000, (25, 10), (999, 1))
    union = [(list(f), list(n)) for f, n in one.run_arrays(union=other)]
    assert union == [([10, 500, 999], [25, 1, 1])]
    assert [list(f) for f, _ in one.run_arrays(minus=other)] == [[10, 500]]
    assert list(one.runs()) == [(10, 20), (500, 1)]


def test_runs_with_both_or_with_another_size_are_refused() -> None:
    one, other = Bitmap(10), Bitmap(11)
    for union, minus in ((other, None), (None, other), (one, one)):
        with pytest.raises(InvalidArgumentError, match="no runs of a bitmap of 10 bits"):
            next(one.run_arrays(union=union, minus=minus))


def test_extents_end_with_the_volume() -> None:
    found = _bits(10, (0, 2), (8, 2)).extents(chunk_bytes=4096, size_bytes=9 * 4096 + 5)
    assert list(found) == [(0, 8192), (8 * 4096, 4096 + 5)]


def test_a_bitmap_in_use_takes_bits_and_no_set_algebra() -> None:
    owner = _bits(100, (1, 3))
    borrowed = _borrowed(owner)
    borrowed.update(_bits(100, (50, 2)))
    borrowed.update_roaring(_bits(100, (99, 1)).to_roaring())
    borrowed.fill()
    borrowed.clear(3, 90)
    assert list(owner.runs()) == [(0, 3), (93, 7)]
    for change in (
        borrowed.intersection_update,
        borrowed.difference_update,
        borrowed.symmetric_difference_update,
    ):
        with pytest.raises(InvalidArgumentError, match="in use"):
            change(_bits(100, (0, 100)))
    assert list(owner.runs()) == [(0, 3), (93, 7)]


def test_a_view_outlives_its_bitmap() -> None:
    bitmap = _bits(100_000, (70_000, 3))
    view, expected = bitmap.roaring_view(), bitmap.to_roaring()
    bitmap.close()
    assert bytes(view) == expected
    assert view.readonly


def test_what_32_bits_can_not_name_is_refused() -> None:
    bitmap = _bits((1 << 32) + 1, (1 << 32, 1))
    with pytest.raises(InvalidArgumentError, match="ends at bit 4294967295"):
        bitmap.to_roaring()
