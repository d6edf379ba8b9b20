"""A channel: one connected socket between two systems, plain or secured."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Protocol

from pyrep._core import Line, TlsSession
from pyrep.errors import PathLostError
from pyrep.model.ids import SystemId
from pyrep.seams import Buffer

__all__ = [
    "Channel",
    "Plain",
    "Security",
    "SocketChannel",
    "lost",
]


class Channel(Protocol):
    """Bytes in order, both ways. One thread receives; any may send or close."""

    peer_id: SystemId | None
    """The identity that the transport itself has proved, by a certificate; None: it proves none."""

    @property
    def line(self) -> Line:
        """By which the core sends and receives the same bytes."""
        ...

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

    def send_all(self, *buffers: Buffer) -> None:
        """Send all of it, in one piece: other senders come before or after.

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


class SocketChannel:
    """A channel over a connected socket, which the core sends and receives over.

    Args:
        sock: the socket; whatever waits for it waits as long as it takes.
        session: the TLS session that has agreed with the other side; None: it goes as it is, and
            nobody knows who is there.
        peer_id: who is there, by its certificate.
    """

    def __init__(
        self,
        sock: socket.socket,
        session: TlsSession | None = None,
        peer_id: SystemId | None = None,
    ) -> None:
        self.peer_id = peer_id
        self._sock = sock
        self._life = threading.Lock()  # none shuts down a descriptor that is somebody else's by now
        sock.settimeout(None)
        self.line = Line(sock.fileno(), session)

    def recv_into(self, view: memoryview) -> int:
        """See `Channel`."""
        return self.line.recv_into(view)

    def fill(self, view: memoryview) -> None:
        """See `Channel`. One call of the kernel, whatever pieces it comes in."""
        self.line.fill(view)

    def send_all(self, *buffers: Buffer) -> None:
        """See `Channel`."""
        head, body = buffers if len(buffers) == 2 else (b"".join(buffers), b"")
        self.line.send(head, body)

    def close(self) -> None:
        """See `Channel`. Without a goodbye of TLS: frames and messages have digests and lengths."""
        with self._life, contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def free(self) -> None:
        """See `Channel`."""
        self.close()
        self.line.end()
        with self._life:
            self._sock.close()


class Plain:
    """No security at all: for a network that nobody else is in, when asked for in words."""

    def client(self, sock: socket.socket, expected: SystemId) -> Channel:  # noqa: ARG002
        """Return the channel; who is there is only what it says."""
        return SocketChannel(sock)

    def server(self, sock: socket.socket) -> Channel:
        """Return the channel; who has dialled is only what it says."""
        return SocketChannel(sock)
