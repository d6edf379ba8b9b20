"""Roaring bitmaps of pyrep read by pyroaring, and the other way round."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from pyrep._core import Bitmap
from pyrep.errors import WireError

_SIZE = 400_000

_RUNS = st.lists(
    st.tuples(st.integers(0, _SIZE - 1), st.sampled_from([1, 2, 3, 63, 64, 5000, 70_000])),
    max_size=12,
)
_STEPS = st.tuples(st.integers(0, 5), st.sampled_from([0, 2, 13, 15, 16, 17, 100]))
"""Every n-th value of one container: arrays and bitsets up to, at and past their border."""


def _indices(runs: list[tuple[int, int]], steps: tuple[int, int]) -> BitMap:
    out = BitMap()
    for first, count in runs:
        out.add_range(first, min(first + count, _SIZE))
    container, step = steps
    if step:
        out |= BitMap(range(container * 65536, min((container + 1) * 65536, _SIZE), step))
    return out


@given(runs=_RUNS, steps=_STEPS)
def test_pyroaring_reads_what_is_written_and_writes_nothing_smaller(
    runs: list[tuple[int, int]], steps: tuple[int, int]
) -> None:
    indices = _indices(runs, steps)
    bitmap = Bitmap(_SIZE)
    for index in indices:
        bitmap.set(index)
    sent = bitmap.to_roaring()
    assert BitMap.deserialize(sent) == indices
    indices.run_optimize()
    assert len(sent) <= len(indices.serialize())


@given(runs=_RUNS, steps=_STEPS, optimized=st.booleans())
def test_what_pyroaring_writes_is_read(
    runs: list[tuple[int, int]], steps: tuple[int, int], optimized: bool
) -> None:
    indices = _indices(runs, steps)
    if optimized:
        indices.run_optimize()
    bitmap = Bitmap.from_roaring(indices.serialize(), _SIZE)
    assert bitmap.count() == len(indices)
    assert BitMap(range(0)).union(*(BitMap(range(f, f + n)) for f, n in bitmap.runs())) == indices


@given(runs=_RUNS, steps=_STEPS, data=st.data())
def test_a_shorter_size_refuses_and_sets_nothing(
    runs: list[tuple[int, int]], steps: tuple[int, int], data: st.DataObject
) -> None:
    indices = _indices([*runs, (7, 1)], steps)
    bitmap = Bitmap(data.draw(st.integers(1, indices.max())))
    with pytest.raises(WireError, match=f"bit {indices.max()} is past its {len(bitmap)}"):
        bitmap.update_roaring(indices.serialize())
    assert not bitmap.any()
