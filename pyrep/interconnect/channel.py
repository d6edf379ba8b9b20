"""A channel: one connected socket between two systems, plain or secured."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from pyrep._core import Line
from pyrep.errors import PathLostError
from pyrep.model.ids import SystemId
from pyrep.seams import Buffer

__all__ = [
    "Channel",
    "Plain",
    "PlainChannel",
    "Security",
    "ended",
    "is_readable",
    "is_writable",
    "lost",
]


class Channel(Protocol):
    """Bytes in order, both ways. One thread receives; any may send or close."""

    peer_id: SystemId | None
    """The identity that the transport itself has proved, by a certificate; None: it proves none."""

    line: Line | None
    """By which the core sends and receives the very bytes; None: it can't, they are secured."""

    def recv_into(self, view: memoryview) -> int:
        """Wait for bytes and put them at the view's begin; return how many, at least 1.

        Raises:
            PathLostError: the other side, or this one, has ended it.
        """
        ...

    def fill(self, view: memoryview) -> None:
        """Wait until the whole view is filled: fewer calls where it is known what comes.

        Raises:
            PathLostError: as `recv_into`; a part may have come.
        """
        ...

    def has_come(self) -> bool:
        """Return whether there is something to receive, or its end.

        By who receives. What there is may be a part of what the next call waits for.
        """
        ...

    def send_all(self, *buffers: Buffer) -> None:
        """Send all of it, in one piece: other senders come before or after.

        Raises:
            PathLostError: it ended; a part may have gone.
        """
        ...

    def send_at_once(self, make: Callable[[], tuple[Buffer, ...]]) -> None:
        """Send what `make` returns, some KiB, unless that would wait: then `make` isn't called.

        Raises:
            PathLostError: it ended; a part may have gone.
        """
        ...

    def close(self) -> None:
        """End it; whoever receives or sends is woken. Idempotent, and allowed when it is freed."""
        ...

    def free(self) -> None:
        """Give the socket up: it is closed, nobody receives any more. Idempotent."""
        ...


class Security(Protocol):
    """What makes channels of sockets that have just been connected.

    Both calls return within the socket's own time-out, or raise PathLostError or WireError (who is
    there isn't who it should be); the socket is closed then.
    """

    def client(self, sock: socket.socket, expected: SystemId) -> Channel:
        """Return the channel to the system `expected`, which was dialled."""
        ...

    def server(self, sock: socket.socket) -> Channel:
        """Return the channel to whoever has dialled."""
        ...


def lost(error: OSError) -> PathLostError:
    """Return what to raise for a socket's error."""
    return PathLostError(f"the path was lost: {error.strerror or error}", hint="restore the path")


def is_writable(sock: socket.socket) -> bool:
    """Return whether some KiB can be sent without waiting."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))


def is_readable(sock: socket.socket) -> bool:
    """Return whether something has come, or the end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def ended() -> PathLostError:
    """Return what to raise when the other side has ended the channel."""
    return PathLostError("the path was lost: the other side ended it", hint="restore the path")


class PlainChannel:
    """A channel that neither hides what it carries nor knows who is there."""

    peer_id: SystemId | None = None

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._life = threading.Lock()  # none shuts down a descriptor that is somebody else's by now
        sock.settimeout(None)
        self._line = Line(sock.fileno())
        self.line: Line | None = self._line

    def recv_into(self, view: memoryview) -> int:
        """See `Channel`."""
        return self._line.recv_into(view)

    def fill(self, view: memoryview) -> None:
        """See `Channel`. One call of the kernel, whatever pieces it comes in."""
        self._line.fill(view)

    def has_come(self) -> bool:
        """See `Channel`."""
        try:
            return is_readable(self._sock)
        except ValueError:  # it was freed; who receives next is told
            return True

    def send_all(self, *buffers: Buffer) -> None:
        """See `Channel`."""
        head, body = buffers if len(buffers) == 2 else (b"".join(buffers), b"")
        self._line.send(head, body)

    def send_at_once(self, make: Callable[[], tuple[Buffer, ...]]) -> None:
        """See `Channel`. Never: what would go at once, the core sends over the line itself."""
        del make

    def close(self) -> None:
        """See `Channel`."""
        with self._life, contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def free(self) -> None:
        """See `Channel`."""
        self.close()
        self._line.end()
        with self._life:
            self._sock.close()


class Plain:
    """No security at all: for a network that nobody else is in, when asked for in words."""

    def client(self, sock: socket.socket, expected: SystemId) -> Channel:  # noqa: ARG002
        """Return the channel; who is there is only what it says."""
        return PlainChannel(sock)

    def server(self, sock: socket.socket) -> Channel:
        """Return the channel; who has dialled is only what it says."""
        return PlainChannel(sock)
