"""The hold's watchdog: hosts never wait longer than they were promised."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pyrep._core import Stream

__all__ = ["Watchdog"]


class Watchdog:
    """Uncorks when the hold has lasted too long, whatever else is waiting."""

    def __init__(self, streams: Sequence[Stream], limit_s: float) -> None:
        self._streams = streams
        self._timer = threading.Timer(limit_s, self._expire)
        self._timer.name = "hold watchdog"
        self._timer.daemon = True
        self.expired = False

    def start(self) -> None:
        """Begin to watch."""
        self._timer.start()

    def _expire(self) -> None:
        self.expired = True
        self._uncork()

    def _uncork(self) -> None:
        for stream in self._streams:
            stream.uncork()

    def end(self) -> None:
        """The hold is over."""
        self._timer.cancel()
        if self._timer.ident is not None:
            self._timer.join()  # nobody knows of it: the streams could be gone when it uncorks
        self._uncork()
