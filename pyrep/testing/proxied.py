"""One direction of a proxy's connections: what may befall the bytes, and who carries them."""

from __future__ import annotations

import contextlib
import enum
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

__all__ = ["Direction", "Faults", "HowEnded", "Way"]

_PIECE_BYTES = 64 << 10
_LOOK_S = 0.1
"""How often a writer whose target takes nothing looks whether its connection is over."""
_UNDER_WAY_BYTES = 4 << 20
"""Most that one connection has under way in one direction; then its sender is stopped."""


class Way(enum.Enum):
    """A direction of bytes through a proxy."""

    THERE = "there"
    BACK = "back"


class HowEnded(enum.Enum):
    """How one direction of a connection ended."""

    ORDERLY = "orderly"
    """Its source had come to its end, and its target was told."""
    BROKEN = "broken"


@dataclass(slots=True)
class _Armed:
    """Something that strikes at one byte."""

    left_bytes: int
    on: Collection[int] | None
    mask: int = 0
    strike: Callable[[], None] | None = None

    def meets(self, number: int, length: int) -> bool:
        """Whether it strikes within so many bytes of a connection; they are counted if not."""
        if self.on is not None and number not in self.on:
            return False
        if self.left_bytes < length:
            return True
        self.left_bytes -= length
        return False


class Faults:
    """What befalls the bytes of one direction, on all connections. Any thread may call."""

    def __init__(self) -> None:
        self.passed_bytes = 0
        self._changed = threading.Condition()
        self._delay_s = 0.0
        self._bytes_s: float | None = None
        self._stalled = False
        self._closed = False
        self._free_s = 0.0
        self._corrupt: _Armed | None = None
        self._cut: _Armed | None = None
        self._swallow: Collection[int] | None = ()
        self._swallowed: set[int] = set()

    def set(
        self,
        *,
        delay_s: float | None = None,
        bytes_s: float | None = 0.0,
        stalled: bool | None = None,
    ) -> None:
        """Change what lasts; what isn't named stays."""
        with self._changed:
            self._delay_s = self._delay_s if delay_s is None else delay_s
            self._bytes_s = self._bytes_s if bytes_s == 0.0 else bytes_s
            self._stalled = self._stalled if stalled is None else stalled
            self._changed.notify_all()

    def swallow(self, on: Collection[int] | None) -> None:
        """Pass nothing on of these connections (None: of those that are or come up)."""
        with self._changed:
            self._swallow = on

    def corrupt_after(self, count_bytes: int, mask: int, on: Collection[int] | None) -> None:
        """Flip bits of the byte that comes after so many."""
        with self._changed:
            self._corrupt = _Armed(left_bytes=count_bytes, on=on, mask=mask)

    def cut_after(
        self, count_bytes: int, on: Collection[int] | None, strike: Callable[[], None]
    ) -> None:
        """Call `strike` when exactly so many more bytes have passed."""
        with self._changed:
            # One less: it strikes with the byte that is the last to pass.
            self._cut = _Armed(left_bytes=count_bytes - 1, on=on, strike=strike)
        if count_bytes <= 0:
            with self._changed:
                self._cut = None
            strike()

    def calm(self) -> None:
        """Take back everything."""
        with self._changed:
            self._delay_s, self._bytes_s, self._stalled = 0.0, None, False
            self._corrupt = self._cut = None
            self._swallow = ()
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def look(self) -> None:
        """Wake whoever waits, to find that its connection is over."""
        with self._changed:
            self._changed.notify_all()

    # --- for who carries -------------------------------------------------------------------------

    def due_s(self, length: int) -> float:
        """Return when bytes that come now are to arrive."""
        with self._changed:
            now_s = time.monotonic()
            if self._bytes_s:
                self._free_s = max(self._free_s, now_s) + length / self._bytes_s
                return self._free_s + self._delay_s
            return now_s + self._delay_s

    def wait(self, due_s: float, is_over: Callable[[], bool]) -> bool:
        """Wait until bytes may arrive; False: the connection is over."""
        with self._changed:
            while not (self._closed or is_over()):
                rest_s = due_s - time.monotonic()
                if rest_s <= 0 and not self._stalled:
                    return True
                self._changed.wait(None if self._stalled else rest_s)
        return False

    def befall(self, number: int, data: bytes) -> tuple[bytes, Callable[[], None] | None]:
        """Return what is passed on of a connection's bytes, and what is to be done after that."""
        with self._changed:
            if self.is_swallowed(number):
                return b"", None
            if self._corrupt is not None and self._corrupt.meets(number, len(data)):
                at = self._corrupt.left_bytes
                data = data[:at] + bytes([data[at] ^ self._corrupt.mask]) + data[at + 1 :]
                self._corrupt = None
            strike = None
            if self._cut is not None and self._cut.meets(number, len(data)):
                data = data[: self._cut.left_bytes + 1]
                strike, self._cut = self._cut.strike, None
            self.passed_bytes += len(data)
            return data, strike

    def is_swallowed(self, number: int) -> bool:
        """Whether nothing of a connection is passed on."""
        if self._swallow is None or number in self._swallow:
            self._swallowed.add(number)
        return number in self._swallowed


class _Queue:
    """Bytes under way in one direction of one connection; b"" is their end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self.over = False

    def put(self, due_s: float, data: bytes) -> bool:
        """Add a piece, when there is room; False: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or self._bytes < _UNDER_WAY_BYTES)
            self._pieces.append((due_s, data))
            self._bytes += len(data)
            self._changed.notify_all()
            return not self.over

    def get(self) -> tuple[float, bytes] | None:
        """Take the next piece, when there is one; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self.over or bool(self._pieces))
            if self.over:
                return None
            due_s, data = self._pieces.popleft()
            self._bytes -= len(data)
            self._changed.notify_all()
            return due_s, data

    def end(self) -> None:
        """Nobody puts or gets any more."""
        with self._changed:
            self.over = True
            self._changed.notify_all()


class Direction:
    """One direction of one connection: two threads, one that reads and one that writes.

    Args:
        faults: of the direction.
        number: the connection's.
        source, target: where bytes come from and go to.
        ended: told when nothing passes any more, and how that came.
        gone: told by each thread when it is done with the sockets.
    """

    def __init__(
        self,
        faults: Faults,
        number: int,
        source: socket.socket,
        target: socket.socket,
        *,
        ended: Callable[[HowEnded], None],
        gone: Callable[[], None],
    ) -> None:
        self._faults = faults
        self._number = number
        self._source = source
        self._target = target
        self._ended = ended
        self._gone = gone
        self._queue = _Queue()
        self.threads = [
            threading.Thread(target=self._run, args=(job,), name=f"proxy {number}", daemon=True)
            for job in (self._read, self._write)
        ]

    def start(self) -> None:
        """Begin."""
        for one in self.threads:
            one.start()

    def end(self) -> None:
        """Let both threads come to their end; the source is shut down by the caller."""
        self._queue.end()
        self._faults.look()

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        finally:
            self._gone()

    def _read(self) -> None:
        data = b"more"
        while data:
            try:
                data = self._source.recv(_PIECE_BYTES)
            except OSError:
                self._ended(HowEnded.BROKEN)
                return
            if not self._queue.put(self._faults.due_s(len(data)), data):
                return

    def _write(self) -> None:
        while (piece := self._queue.get()) is not None:
            due_s, data = piece
            if not self._faults.wait(due_s, lambda: self._queue.over):
                return
            if not data:
                if self._faults.is_swallowed(self._number):
                    continue  # nor does the end arrive
                with contextlib.suppress(OSError):
                    self._target.shutdown(socket.SHUT_WR)
                self._ended(HowEnded.ORDERLY)
                return
            passed, strike = self._faults.befall(self._number, data)
            if not self._send(memoryview(passed)):
                self._ended(HowEnded.BROKEN)
                return
            if strike is not None:
                strike()
                return

    def _send(self, data: memoryview) -> bool:
        """Send all; False: the target is gone, or nobody wants it any more."""
        while data:
            try:
                sent = self._target.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                select.select([], [self._target], [], _LOOK_S)
                if self._queue.over:
                    return False
                continue
            except OSError:
                return False
            data = data[sent:]
        return True
