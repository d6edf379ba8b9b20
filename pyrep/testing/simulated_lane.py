"""Messages on their way in one direction of a simulated path, in their order."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from pyrep.testing.clock import SimulatedClock

__all__ = ["Kind", "Lane", "Message"]


class Kind(StrEnum):
    """What a message is."""

    FRAME = "frame"
    ACK = "ack"
    REQUEST = "request"
    ANSWER = "answer"
    NOTICE = "notice"
    """No message: the moment at which the path finds out that one was lost."""


@dataclass(slots=True, kw_only=True, eq=False)
class Message:
    """Something on its way; `over` is told to who waits for it, `arrived` says whether it came."""

    kind: Kind
    data: bytes = b""
    due_s: float = 0.0
    arrived: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class Lane:
    """One direction of one connection: each message takes its time, none overtakes another.

    Args:
        name: of the lane's thread, which delivers.
        clock: when messages are due.
        seed: what their times come from.
        latency_s: the shortest and the longest time.
        deliver: what becomes of a message that is due.
        is_over: nothing is delivered any more.
    """

    def __init__(
        self,
        name: str,
        clock: SimulatedClock,
        *,
        seed: str,
        latency_s: tuple[float, float],
        deliver: Callable[[Message], None],
        is_over: Callable[[], bool],
    ) -> None:
        self._name = name
        self._clock = clock
        self._random = random.Random(seed)  # noqa: S311 (repeatable, nothing secret)
        self._latency_s = latency_s
        self._deliver = deliver
        self._is_over = is_over
        self._changed = threading.Condition()
        self._messages: deque[Message] = deque()
        self._last_due_s = 0.0
        self._stalled = False
        self._thread: threading.Thread | None = None

    def put(self, message: Message, *, later_s: float = 0.0) -> None:
        """Send a message; it is due after those before it."""
        due_s = self._clock.now_s + later_s + self._random.uniform(*self._latency_s)
        with self._changed:
            message.due_s = self._last_due_s = max(self._last_due_s, due_s)
            self._messages.append(message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stall(self, *, stalled: bool) -> None:
        """Let messages wait, or go on."""
        with self._changed:
            self._stalled = stalled
            self._changed.notify_all()

    def poke(self) -> None:
        """Look whether it is over."""
        with self._changed:
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until the lane's thread has ended, unless it is the caller's; it is over."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def take_rest(self) -> list[Message]:
        """Take what was never delivered."""
        with self._changed:
            rest = list(self._messages)
            self._messages.clear()
        return rest

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._messages

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._messages or self._is_over())
                if self._is_over():
                    return
                message = self._messages[0]
            self._clock.wait_until(message.due_s, self._is_over)
            with self._changed:
                self._changed.wait_for(lambda: not self._stalled or self._is_over())
                if self._is_over():
                    return
            self._deliver(message)
            with self._changed:
                if self._messages and self._messages[0] is message:
                    self._messages.popleft()
