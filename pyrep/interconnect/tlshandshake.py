"""The handshake of TLS over a socket that has just been connected."""

from __future__ import annotations

import contextlib
import socket
import time

from pyrep._core import TlsProblem, TlsSession

__all__ = ["shake_hands"]

_HANDSHAKE_BYTES = 16 << 10


def shake_hands(session: TlsSession, sock: socket.socket) -> None:
    """Agree with the other side, within the socket's time-out in all.

    What it is told in vain, why it isn't trusted, it is told all the same.

    Raises:
        TlsProblem: it isn't trusted, or they can't agree.
        OSError: as the socket raises it; ConnectionResetError if the other side ended it, too.
    """
    timeout_s = sock.gettimeout()
    until_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        if until_s is not None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            sock.settimeout(left_s)
        try:
            is_agreed = session.shake_hands()
        except TlsProblem:
            with contextlib.suppress(OSError):
                _tell(session, sock)
            raise
        _tell(session, sock)
        if is_agreed:
            return
        came = sock.recv(_HANDSHAKE_BYTES)
        if not came:
            raise ConnectionResetError
        session.give(came)


def _tell(session: TlsSession, sock: socket.socket) -> None:
    while told := session.take():
        sock.sendall(told)
