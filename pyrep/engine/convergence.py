"""Convergence: whether a copy beside hosts' writes comes to its end. Pure; told the time."""

from __future__ import annotations

from collections import deque

__all__ = ["Convergence"]


class Convergence:
    """Looks at the share of the last time in which hosts found the queue full.

    A copy that hosts leave no room, and that leaves them none, doesn't end as long as they write
    so; nobody is stuck, but nobody would know. Not for several threads at once.

    Args:
        window_s: the time looked at. Before it has passed nothing is said.
        share: 0 to 1; from which on it doesn't converge. 0: it is never said.
    """

    def __init__(self, *, window_s: float, share: float) -> None:
        self._window_s = window_s
        self._share = share
        self._seen: deque[tuple[float, float]] = deque()
        self.converges = True

    def note(self, now_s: float, full_s: float) -> bool:
        """Take in for how long, in all, hosts found no room; return whether it converges."""
        self._seen.append((now_s, full_s))
        while len(self._seen) > 2 and self._seen[1][0] <= now_s - self._window_s:
            self._seen.popleft()
        then_s, then_full_s = self._seen[0]
        passed_s = now_s - then_s
        if self._share and passed_s >= self._window_s and passed_s > 0:
            self.converges = (full_s - then_full_s) / passed_s < self._share
        return self.converges
