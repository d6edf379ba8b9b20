"""Statuses over time, looked at often enough to see copies that take a moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from pyrep.errors import PyrepError

__all__ = ["HOLD_STEPS", "Moment", "Timeline"]

_INTERVAL_S = 0.05
HOLD_STEPS = range(410, 470)
"""Steps of a backup in which writers wait: looking or printing then makes them wait longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The statuses from one time on.

    Attributes:
        at_s: seconds since the run began.
        phase: its number, from 1.
        step: the workflow's, or None.
        statuses: by the pair's name.
    """

    at_s: float
    phase: int
    step: int | None
    statuses: Mapping[str, str]


class Timeline:
    """Looks at all statuses, from a thread of its own and whenever asked. A context manager.

    Args:
        look: returns the statuses by the pair's name.
        clock: seconds, monotonic.
    """

    def __init__(
        self, look: Callable[[], Mapping[str, str]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = look
        self._clock = clock
        self._start_s = clock()
        self._phase = 0
        self._step: int | None = None
        self._moments: list[Moment] = []
        self._lock = threading.Lock()
        self._error: PyrepError | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="timeline", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end.set()
        self._thread.join()
        if kind is None and self._error is not None:
            raise self._error

    @property
    def moments(self) -> tuple[Moment, ...]:
        """One for each change of a status, the first of all included."""
        return tuple(self._moments)

    def doing(self, phase: int, step: int | None = None) -> None:
        """Say what is going on from now on."""
        if (phase, step) == (self._phase, self._step):
            return
        if step not in HOLD_STEPS:
            self.look()  # what has changed so far belongs to what was going on
        self._phase, self._step = phase, step

    def look(self) -> None:
        """Note the statuses if one of them has changed."""
        with self._lock:
            statuses = self._look()
            if not self._moments or self._moments[-1].statuses != statuses:
                at_s = self._clock() - self._start_s
                self._moments.append(
                    Moment(at_s=at_s, phase=self._phase, step=self._step, statuses=statuses)
                )

    def seen(self, name: str, *, since: int) -> set[str]:
        """Return the statuses that a pair had from the moment before the index `since` on."""
        return {one.statuses.get(name, "") for one in self._moments[max(0, since - 1) :]}

    def _watch(self) -> None:
        try:
            while not self._end.wait(_INTERVAL_S):
                self.look()
        except PyrepError as error:
            self._error = error
