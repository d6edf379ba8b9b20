"""A clock of simulated seconds, for paths whose messages take time."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable

__all__ = ["SimulatedClock"]

_PACE_S = 0.0002


class SimulatedClock:
    """Time that passes only while somebody waits for it, and leaps to when the first one is due.

    Whoever is due first waits a fifth of a real millisecond before the leap, so that what others do
    in the meantime still comes before it: messages that take 1 and 5 simulated milliseconds arrive
    in this order, also if the later one was sent first. May be used from any thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._now_s = 0.0
        self._waiting: list[tuple[float, int]] = []
        self._numbers = itertools.count()

    @property
    def now_s(self) -> float:
        """Seconds since the clock was made."""
        return self._now_s

    def wait_until(self, due_s: float, is_over: Callable[[], bool]) -> None:
        """Return when it is `due_s`, or when `is_over` says so (tell it by `poke`)."""
        with self._changed:
            mine = (due_s, next(self._numbers))
            heapq.heappush(self._waiting, mine)
            try:
                while self._now_s < due_s and not is_over():
                    if self._waiting[0] is not mine:
                        self._changed.wait()
                    elif not self._changed.wait(_PACE_S) and self._waiting[0] is mine:
                        self._now_s = due_s
            finally:
                self._waiting.remove(mine)
                heapq.heapify(self._waiting)
                self._changed.notify_all()

    def poke(self) -> None:
        """Let those who wait ask again whether it is over."""
        with self._changed:
            self._changed.notify_all()
