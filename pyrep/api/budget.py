"""A budget of bytes that requests hold in memory at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pyrep.errors import BusyError

__all__ = ["Budget"]


class Budget:
    """Room for so many bytes at once, given in the order of asking. Any thread may call.

    Args:
        most_bytes: what all holders together may hold; nobody asks for more.
    """

    def __init__(self, most_bytes: int) -> None:
        self._free_bytes = most_bytes
        self._queue: list[object] = []
        self._closed = False
        self._changed = threading.Condition()

    @contextmanager
    def room(self, count_bytes: int) -> Iterator[None]:
        """Hold so many bytes inside the block; wait until they are free.

        Raises:
            BusyError: it was closed before.
        """
        if count_bytes == 0:
            yield
            return
        me = object()
        with self._changed:
            self._queue.append(me)
            self._changed.wait_for(
                lambda: self._closed or (self._queue[0] is me and count_bytes <= self._free_bytes)
            )
            self._queue.remove(me)
            self._changed.notify_all()
            if self._closed:
                raise BusyError("the system ends", hint="ask again when it is served anew")
            self._free_bytes -= count_bytes
        try:
            yield
        finally:
            with self._changed:
                self._free_bytes += count_bytes
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, nor wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
