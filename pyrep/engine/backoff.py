"""Pauses before something that was refused is tried again: each twice the one before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

__all__ = ["Backoff"]

_FIRST_S = 1.0
_MOST_S = 60.0


class Backoff:
    """When what was refused may be tried again. All may be called from any thread.

    The watch looks five times a second. What is refused for an hour would otherwise be asked, over
    the path, and logged 18,000 times.

    Attributes:
        clock: seconds, on a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._pauses: dict[Hashable, tuple[float, float]] = {}

    def may(self, key: Hashable) -> bool:
        """Return whether its pause is over; True of what wasn't refused."""
        with self._lock:
            _, until_s = self._pauses.get(key, (0.0, 0.0))
            return key not in self._pauses or self.clock() >= until_s

    def refused(self, key: Hashable) -> None:
        """Let it rest, longer than the last time."""
        with self._lock:
            last_s, _ = self._pauses.get(key, (_FIRST_S / 2, 0.0))
            pause_s = min(2 * last_s, _MOST_S)
            self._pauses[key] = (pause_s, self.clock() + pause_s)

    def forget(self, key: Hashable) -> None:
        """It went well, or nobody wants it any more: the next refusal is a first one."""
        with self._lock:
            self._pauses.pop(key, None)
