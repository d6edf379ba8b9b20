"""Log lines that come again and again: the first is written, then how often it came."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Repeats"]

_EACH_S = 3600.0
_MOST = 64
"""Different lines that are told apart: who dials may have a new one each time."""


@dataclass(slots=True)
class _Line:
    text: str
    source: str
    count: int = 0


class Repeats:
    """Warnings of things that strangers, or systems that are refused, cause as often as they like.

    A line that is new is written at once. One that was written is counted, and written with the
    count after an hour, and when something else comes of the same source. May be used from any
    thread.

    Args:
        log: where they are written.
        clock: seconds that only grow.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: dict[str, _Line] = {}
        self._others = 0
        self._since_s = clock()

    def warn(self, source: str, text: str) -> None:
        """Write a line, or count it.

        Args:
            source: who caused it.
            text: the line, which has nothing in it that is new each time.
        """
        with self._lock:
            said = self._each_hour()
            known = self._lines.get(text)
            if known is not None:
                known.count += 1
            elif len(self._lines) < _MOST:
                said += self._counted(source)
                self._lines[text] = _Line(text, source)
                said.append(text)
            else:
                self._others += 1
                if self._others == 1:
                    said.append(f"path.refused many more in many ways, the last: {text}")
        self._write(said)

    def close(self) -> None:
        """Write what was counted."""
        with self._lock:
            said = self._counted()
        self._write(said)

    def _each_hour(self) -> list[str]:
        """Return what was counted in the last hour, once it is over; forget what came no more."""
        now_s = self._clock()
        if now_s - self._since_s < _EACH_S:
            return []
        self._since_s = now_s
        self._lines = {text: one for text, one in self._lines.items() if one.count}
        return self._counted()

    def _counted(self, source: str | None = None) -> list[str]:
        said = []
        for one in self._lines.values():
            if one.count and source in {None, one.source}:
                said.append(f"{one.text} again={one.count}")
                one.count = 0
        if self._others > 1 and source is None:
            said.append(f"path.refused in many more ways again={self._others - 1}")
        if source is None:
            self._others = 0
        return said

    def _write(self, lines: list[str]) -> None:
        for one in lines:
            self._log.warning("%s", one)
