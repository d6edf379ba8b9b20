"""The pacer: decides how long a copy's worker rests after a piece of work. Pure; told the time."""

from __future__ import annotations

from pyrep.model import CopyRate

__all__ = ["Pacer"]

_BATCH_BYTES = 16 << 20
"""Between two looks at pause and pace: some milliseconds. At 4 MiB the looks cost a tenth."""
_BATCHES_PER_S = 8
_REST_SHARE_MAX = 7 / 8
"""Beside hosts that are always there a copy works at least one eighth of the time."""
_SMOOTHING = 0.25


class Pacer:
    """Paces the workers of one copy together.

    The ceiling is a debt: what was sent moves the moment from which the next byte may go, and a
    worker rests until then. Beside it, a worker gives way: the share of its regions in which it met
    somebody (hosts, mostly) is the share of time that it rests, smoothed over some batches, at most
    seven eighths, and never so long that the copy falls below its floor.

    Not for several threads at once: the job holds its lock.
    """

    def __init__(self, rate: CopyRate, *, workers: int = 1) -> None:
        self.rate = rate
        self._workers = workers
        self._free_at_s: float | None = None
        self._crowded = 0.0

    @property
    def batch_bytes(self) -> int:
        """How much a worker sends at once: less under a low ceiling, which would go by jerks."""
        ceiling = self.rate.ceiling_bytes_s
        return (
            _BATCH_BYTES
            if ceiling is None
            else max(min(_BATCH_BYTES, ceiling // _BATCHES_PER_S), 1)
        )

    def change(self, rate: CopyRate) -> None:
        """Go on with other bounds. What is owed under the old ceiling is forgiven."""
        self.rate = rate
        self._free_at_s = None

    def rest_s(
        self, *, now_s: float, took_s: float, sent_bytes: int, passes: int, crowded: int
    ) -> float:
        """Return how long the worker rests that has just done a piece.

        Args:
            now_s: the time, in seconds from anywhere.
            took_s: how long the piece took.
            sent_bytes: its bytes of data.
            passes: regions entered.
            crowded: of these, while somebody else was there.
        """
        if passes:
            self._crowded += _SMOOTHING * (crowded / passes - self._crowded)
        return max(self._owed_s(now_s, took_s, sent_bytes), self._given_s(took_s, sent_bytes))

    def _owed_s(self, now_s: float, took_s: float, sent_bytes: int) -> float:
        ceiling = self.rate.ceiling_bytes_s
        if ceiling is None:
            return 0.0
        began_s = now_s - took_s
        free_at_s = began_s if self._free_at_s is None else max(self._free_at_s, began_s)
        self._free_at_s = free_at_s + sent_bytes / ceiling
        return max(0.0, self._free_at_s - now_s)

    def _given_s(self, took_s: float, sent_bytes: int) -> float:
        share = min(self._crowded, _REST_SHARE_MAX)
        wanted_s = took_s * share / (1 - share)
        allowed_s = sent_bytes * self._workers / self.rate.least_bytes_s - took_s
        return max(0.0, min(wanted_s, allowed_s))
