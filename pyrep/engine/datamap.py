"""Where two volumes hold data: what is a hole at both ends needn't be read to be known equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from pyrep._core import Io
from pyrep.engine.sums import WINDOW_RUNS

__all__ = ["ListData", "RunList", "data_runs", "united_data"]

RunList = list[tuple[int, int]]
"""Runs of chunks: the first, the count; ascending, none touching another."""


class ListData(Protocol):
    """One side."""

    def __call__(self, first: int, past: int) -> tuple[RunList, int]:
        """As `data_runs`."""
        ...


def data_runs(
    io: Io, first: int, past: int, *, chunk_bytes: int, most: int = WINDOW_RUNS
) -> tuple[RunList, int]:
    """Return runs of chunks that aren't wholly holes, and the chunk up to which these are all.

    Storage that can't tell has no holes.

    Args:
        io: the volume's.
        first, past: which chunks.
        chunk_bytes: of one chunk.
        most: runs that are returned.

    Raises:
        DeviceError: the storage can't be looked at.
    """
    runs: RunList = []
    start, end = first * chunk_bytes, min(past * chunk_bytes, io.size_bytes)
    if start >= end:
        return runs, past
    for offset, length in io.extents(start, end - start):
        one, after = offset // chunk_bytes, -(-(offset + length) // chunk_bytes)
        if runs and one <= sum(runs[-1]):
            runs[-1] = (runs[-1][0], after - runs[-1][0])
        elif len(runs) == most:
            return runs, one
        else:
            runs.append((one, after - one))
    return runs, past


def united_data(
    here: ListData, there: ListData, first: int, past: int
) -> Iterator[tuple[RunList, int]]:
    """Yield, piece by piece, the runs of chunks in which either side has data, and where it ends.

    Both are looked at, one after the other. What is in no run was a hole at both ends, so that each
    held zeros there at its moment.
    """
    while first < past:
        mine, my_end = here(first, past)
        theirs, their_end = there(first, past)
        end = min(my_end, their_end)
        yield _united(mine, theirs, end), end
        first = end


def _united(one: RunList, other: RunList, end: int) -> RunList:
    out: RunList = []
    for first, count in sorted(one + other):
        past = min(first + count, end)
        if first >= past:
            continue
        if out and first <= sum(out[-1]):
            out[-1] = (out[-1][0], max(past, sum(out[-1])) - out[-1][0])
        else:
            out.append((first, past - first))
    return out
