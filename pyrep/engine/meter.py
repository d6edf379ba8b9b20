"""The meter: a smoothed rate, and the time that is left. Pure; told the time."""

from __future__ import annotations

import math

__all__ = ["Meter"]

_SETTLE_S = 3.0
"""A change of pace is told after about this long: short enough to follow, long enough to read."""
_SAMPLE_S = 0.1


class Meter:
    """How fast something goes on, in bytes a second. Not for several threads at once."""

    def __init__(self) -> None:
        self._rate: float | None = None
        self._at_s: float | None = None
        self._done_bytes = 0

    def see(self, now_s: float, done_bytes: int) -> float | None:
        """Take in what is done by now; return the rate, None as long as it isn't known."""
        if self._at_s is None:
            self._at_s, self._done_bytes = now_s, done_bytes
            return None
        passed_s = now_s - self._at_s
        if passed_s >= _SAMPLE_S:
            rate = (done_bytes - self._done_bytes) / passed_s
            weight = 1 - math.exp(-passed_s / _SETTLE_S)
            old = rate if self._rate is None else self._rate
            self._rate = old + weight * (rate - old)
            self._at_s, self._done_bytes = now_s, done_bytes
        return self._rate

    def restart(self) -> None:
        """Forget the rate: it stood still on purpose."""
        self._rate = self._at_s = None

    def left_s(self, left_bytes: int) -> float | None:
        """Return how long the rest takes at this rate; None when nobody can tell."""
        if not self._rate or left_bytes < 0:
            return None
        return left_bytes / self._rate
