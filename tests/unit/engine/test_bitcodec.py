from __future__ import annotations

import pytest
from pyroaring import BitMap

from pyrep._core import Bitmap
from pyrep.engine.bitcodec import to_pyroaring
from pyrep.errors import WireError


def _bits(size: int, *runs: tuple[int, int]) -> Bitmap:
    bitmap = Bitmap(size)
    for first, count in runs:
        bitmap.set(first, count)
    return bitmap


@pytest.mark.parametrize("size", [1, 63, 64, 65, 100_000])
def test_no_bit_one_bit_and_all_bits_travel(size: int) -> None:
    for bits in (_bits(size), _bits(size, (size - 1, 1)), _bits(size, (0, size))):
        into = Bitmap(size)
        into.update_roaring(bits.to_roaring())
        assert list(into.runs()) == list(bits.runs())


def test_what_is_set_already_stays_set() -> None:
    into = _bits(100, (5, 3))
    into.update_roaring(_bits(100, (50, 2)).to_roaring())
    assert list(into.runs()) == [(5, 3), (50, 2)]


def test_a_bit_past_the_end_is_refused_and_nothing_is_set() -> None:
    into = Bitmap(100)
    with pytest.raises(WireError, match="bit 100 is past its 100"):
        into.update_roaring(_bits(101, (0, 101)).to_roaring())
    assert not into.any()


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 7, b"not a bitmap at all"])
def test_what_is_no_bitmap_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match=f"{len(data)} bytes"):
        Bitmap(100).update_roaring(data)


def test_embedders_get_a_set_of_chunk_indices() -> None:
    assert to_pyroaring(_bits(1000, (1, 2), (999, 1))) == BitMap([1, 2, 999])
