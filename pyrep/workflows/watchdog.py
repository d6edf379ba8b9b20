"""The hold's watchdog: hosts never wait longer than they were promised."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from pyrep._core import Stream

__all__ = ["Watchdog"]


class Watchdog:
    """Uncorks when the hold has lasted too long, whatever else is waiting.

    It is started before the streams are corked: making a thread takes longer than the cut. Whoever
    corks then looks at `expired`: either it is seen there, or uncorking comes after the cork.
    """

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
        self.uncork()

    def uncork(self) -> None:
        """470: what is queued goes on."""
        for stream in self._streams:
            stream.uncork()

    def end(self) -> None:
        """Let everything go on, first of all; then end the timer."""
        self.uncork()
        self._timer.cancel()
        if self._timer.ident is not None:
            self._timer.join()  # nobody knows of it: the streams could be gone when it uncorks
