"""A window: runs of chunks that are read and compared together."""

from __future__ import annotations

from pyrep._core import Runs
from pyrep.engine.datamap import RunList
from pyrep.engine.sums import WINDOW_BYTES, WINDOW_RUNS

__all__ = ["REACH_BYTES", "Window"]

REACH_BYTES = 16 << 30
"""From the first to the last byte of a window: a begin takes a pass over all of it."""


class Window:
    """Runs that are read together: for one question, and no farther apart than a pass is short."""

    def __init__(self, chunk_bytes: int) -> None:
        self.runs: RunList = []
        self._chunk_bytes = chunk_bytes
        self._chunks = 0

    @property
    def past(self) -> int:
        """The chunk behind the last one."""
        return sum(self.runs[-1])

    def bytes(self, size: int) -> int:
        """Return their bytes in a volume of this size."""
        whole = self._chunks * self._chunk_bytes
        return whole - max(0, self.past * self._chunk_bytes - size)

    def takes(self, run: tuple[int, int]) -> bool:
        """Whether there is room for one more."""
        if not self.runs:
            return True
        reach = sum(run) - self.runs[0][0]
        return (
            len(self.runs) < WINDOW_RUNS
            and (self._chunks + run[1]) * self._chunk_bytes <= WINDOW_BYTES
            and reach * self._chunk_bytes <= REACH_BYTES
        )

    def add(self, run: tuple[int, int]) -> None:
        """Take one more."""
        self.runs.append(run)
        self._chunks += run[1]

    def close(self) -> Runs:
        """Return them, and begin again."""
        runs, self.runs, self._chunks = Runs.of(self.runs), [], 0
        return runs
