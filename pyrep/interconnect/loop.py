"""The path between two systems of one process: the same frames, handshake and commands as a socket.

Nothing but bytes crosses it. Frames and commands are handled in the thread that sends them. Tests
cut it, stall it and bring it back.
"""

from __future__ import annotations

import contextlib
import threading
import time

from pyrep.errors import PathLostError
from pyrep.seams import Buffer, Connection, Endpoint

__all__ = ["LoopPath"]


class _LoopConnection(Connection):
    """One side's end of one attempt."""

    def __init__(self, path: LoopPath, attempt: int, far: Endpoint) -> None:
        self._path = path
        self._far = far
        self.attempt = attempt
        self.other: _LoopConnection | None = None

    def send_frame(self, frame: Buffer) -> None:
        self._path.wait_passable(self.attempt)
        self._path.count(len(frame))
        self._far.take_frame(self._peer(), frame)

    def send_ack(self, ack: bytes) -> None:
        self._path.check(self.attempt)
        self._far.take_ack(self._peer(), ack)

    def request(self, message: bytes) -> bytes:
        self._path.check(self.attempt)
        answer = self._far.answer(self._peer(), message)
        self._path.check(self.attempt)
        return answer

    def close(self) -> None:
        self._path.cut_attempt(self.attempt)

    def _peer(self) -> Connection:
        if self.other is None:
            raise PathLostError("the path has one end only", hint="connect both systems first")
        return self.other


class LoopPath:
    """Path 150 between two systems in one process (Fig. 1).

    Args:
        one, other: the systems' endpoints, in any order.
    """

    def __init__(self, one: Endpoint, other: Endpoint) -> None:
        self._ends = (one, other)
        self._changed = threading.Condition()
        self._attempt = 0
        self._up = False
        self._cutting = False
        self._stalled = False
        self._connections: tuple[_LoopConnection, _LoopConnection] | None = None
        self._bytes = 0

    def connect(self) -> None:
        """Bring the path up: a new attempt, the handshake, then both systems are told.

        It waits until both systems have got over the loss before.

        Raises:
            WireError: the systems don't understand each other; the path stays down.
        """
        one, other = self._ends
        with self._changed:
            self._changed.wait_for(lambda: not self._cutting)
            if self._up:
                return
            self._attempt = max(self._attempt + 1, time.time_ns())
            attempt = self._attempt
            self._up = True
            near, far = (
                _LoopConnection(self, attempt, other),
                _LoopConnection(self, attempt, one),
            )
            near.other, far.other = far, near
            self._connections = (near, far)
        try:
            hello_one, hello_other = one.hello(), other.hello()
            one.greet(near, hello_other)
            other.greet(far, hello_one)
        except BaseException:
            self.cut()
            raise
        one.path_up(near)
        other.path_up(far)

    restore = connect

    def cut(self) -> None:
        """Lose the path: what was queued stays with its sender as pending.

        When it returns, or `connect` begins, both systems have taken notice; but not when somebody
        else is cutting it.
        """
        self.cut_attempt(None)

    def cut_attempt(self, attempt: int | None) -> None:
        """Cut the path if it is still in this attempt (None: in any).

        A sender of an older connection may find out late; the one that is up isn't its concern.
        """
        with self._changed:
            if not self._up or attempt not in {None, self._attempt}:
                return
            self._up = False
            self._cutting = True
            self._stalled = False
            connections, self._connections = self._connections, None
            self._changed.notify_all()
        try:
            with contextlib.ExitStack() as both:  # the second one also when the first one fails
                for end, connection in zip(self._ends, connections or (), strict=False):
                    both.callback(end.path_down, connection)
        finally:
            with self._changed:
                self._cutting = False
                self._changed.notify_all()

    def stall(self) -> None:
        """Let frames wait, in both directions, until `resume` or `cut`; commands still pass."""
        with self._changed:
            self._stalled = True

    def resume(self) -> None:
        """End a stall."""
        with self._changed:
            self._stalled = False
            self._changed.notify_all()

    @property
    def is_up(self) -> bool:
        """Whether the path is there."""
        return self._up

    @property
    def frame_bytes(self) -> int:
        """Bytes of all frames that crossed so far, in both directions, headers included."""
        return self._bytes

    def close(self) -> None:
        """Cut for good; both systems have taken notice when it returns."""
        self.cut()
        with self._changed:
            self._changed.wait_for(lambda: not self._cutting)

    def check(self, attempt: int) -> None:
        """Raise PathLostError unless this attempt is the one that is up."""
        if not self._up or attempt != self._attempt:
            raise PathLostError("the path was lost", hint="restore the path")

    def wait_passable(self, attempt: int) -> None:
        """Wait out a stall."""
        with self._changed:
            while self._stalled and self._up and attempt == self._attempt:
                self._changed.wait()
        self.check(attempt)

    def count(self, frame_bytes: int) -> None:
        """Count a frame."""
        with self._changed:
            self._bytes += frame_bytes
