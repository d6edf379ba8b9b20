"""A channel over an established TLS session.

OpenSSL only turns bytes into others, in memory; the socket is the core's. So that it has few calls:
what has come is received by the 256 KiB, not record by record, and waiting is the kernel's. One
OpenSSL object must not be used by two threads at once, but a channel is received from and sent over
at the same time: each call into OpenSSL is short, made under a lock, and no wait is below it.
"""

from __future__ import annotations

import contextlib
import mmap
import socket
import ssl
import threading
import time
from collections.abc import Callable

from pyrep._core import Line
from pyrep.errors import PathLostError
from pyrep.interconnect.channel import ended, is_readable, is_writable
from pyrep.model.ids import SystemId
from pyrep.seams import Buffer

__all__ = ["Session", "TlsChannel"]

_PIECE_BYTES = 256 << 10
"""Encrypted, or received, at once: what OpenSSL and the socket pass on stays in a core's cache."""

_JOIN_BYTES = 32 << 10
_TURN_BYTES = 128 << 10
"""Decrypted at most before a sender of the other direction gets its turn."""

_HANDSHAKE_BYTES = 16 << 10


class Session:
    """One side of a TLS session, between plain bytes and those that a socket carries."""

    def __init__(self, context: ssl.SSLContext, *, server_side: bool) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side)

    def shake_hands(self, sock: socket.socket) -> None:
        """Agree with the other side, within the socket's time-out in all.

        What it is told in vain, why it isn't trusted, it is told all the same.

        Raises:
            OSError: as the socket and OpenSSL raise it: SSLEOFError if the other side ended it.
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
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._tell(sock)
            except OSError:
                with contextlib.suppress(OSError):
                    self._tell(sock)
                raise
            else:
                self._tell(sock)
                return
            came = sock.recv(_HANDSHAKE_BYTES)
            if came:
                self.incoming.write(came)
            else:
                self.incoming.write_eof()

    def _tell(self, sock: socket.socket) -> None:
        told = self.outgoing.read()
        if told:  # of an end nothing is to be noticed before somebody reads
            sock.sendall(told)


def lost(error: OSError) -> PathLostError:
    """Return what to raise for OpenSSL's error in an established session."""
    if isinstance(error, ssl.SSLEOFError):
        return ended()
    reason = getattr(error, "reason", None)
    why = (reason or str(error)).replace("_", " ").lower()
    hint = "look into the other system's log: it names the certificate that it refused"
    return PathLostError(f"the path was lost: {why}", hint=hint)


class TlsChannel:
    """A channel over an established session. See `Channel`."""

    def __init__(self, sock: socket.socket, session: Session, peer_id: SystemId) -> None:
        self.peer_id: SystemId | None = peer_id
        self.line: Line | None = None  # what it would send is to be encrypted before
        self._sock = sock
        sock.settimeout(None)
        self._carrier = Line(sock.fileno())
        self._session = session
        # The receiver's alone. Begins on a page: the kernel copies to multiples of 32 faster.
        self._came = memoryview(mmap.mmap(-1, _PIECE_BYTES))
        self._sending = threading.Lock()
        self._use = threading.Lock()
        self._life = threading.Lock()  # none shuts down a descriptor that is somebody else's by now

    # --- receiving -------------------------------------------------------------------------------

    def recv_into(self, view: memoryview) -> int:
        """See `Channel`."""
        while not (got := self._decrypt(view[:_TURN_BYTES])):
            self._receive()
        return got

    def fill(self, view: memoryview) -> None:
        """See `Channel`."""
        at = 0
        while at < len(view):
            got = self._decrypt(view[at : at + _TURN_BYTES])
            if got:
                at += got
            else:
                self._receive()

    def has_come(self) -> bool:
        """See `Channel`."""
        with self._use:
            waiting = self._session.incoming.pending or self._session.tls.pending()
        try:
            return bool(waiting) or is_readable(self._sock)
        except (OSError, ValueError):  # ValueError: it was freed; who receives next is told
            return True

    def _receive(self) -> None:
        """Wait for what OpenSSL lacks."""
        count = self._carrier.recv_into(self._came)
        with self._use:
            self._session.incoming.write(self._came[:count])

    def _decrypt(self, view: memoryview) -> int:
        """Fill a view as far as whole records have come."""
        got = 0
        incoming, tls = self._session.incoming, self._session.tls
        try:
            with self._use:
                # Asked before: to be told by an exception made a small write slower.
                while got < len(view) and (incoming.pending or tls.pending()):
                    # With a buffer it returns how many, which its types don't know.
                    count: int = tls.read(len(view) - got, view[got:])  # type: ignore[assignment]
                    if not count:
                        raise ended()
                    got += count
        except ssl.SSLWantReadError:
            pass
        except OSError as error:
            raise lost(error) from error
        return got

    # --- sending ---------------------------------------------------------------------------------

    def send_all(self, *buffers: Buffer) -> None:
        """See `Channel`."""
        with self._sending:
            self._send(buffers)

    def send_at_once(self, make: Callable[[], tuple[Buffer, ...]]) -> None:
        """See `Channel`."""
        if not self._sending.acquire(blocking=False):
            return
        try:
            if is_writable(self._sock):
                self._send(make())
        except ValueError as error:
            raise PathLostError(
                "the path was lost: it was cut on this side",
                hint="restore the path; system.paths() says why it is down",
            ) from error
        finally:
            self._sending.release()

    def _send(self, buffers: tuple[Buffer, ...]) -> None:
        if sum(len(one) for one in buffers) <= _JOIN_BYTES:
            buffers = (b"".join(buffers),)  # one record for an envelope and what is in it
        whole = [memoryview(one) for one in buffers if len(one)]
        for number, view in enumerate(whole, 1):
            for at in range(0, len(view), _PIECE_BYTES):
                piece = view[at : at + _PIECE_BYTES]
                is_last = number == len(whole) and at + len(piece) == len(view)
                encrypted = self._encrypt(piece, is_last=is_last)
                if encrypted:
                    self._carrier.send(encrypted)

    def _encrypt(self, piece: memoryview, *, is_last: bool) -> bytes:
        """Return what is to be sent now, of this piece and those before."""
        outgoing = self._session.outgoing
        try:
            with self._use:
                self._session.tls.write(piece)  # all of it: memory takes anything
                return outgoing.read() if is_last or outgoing.pending >= _PIECE_BYTES else b""
        except OSError as error:
            raise lost(error) from error

    # --- life ------------------------------------------------------------------------------------

    def close(self) -> None:
        """See `Channel`. Without a goodbye: frames and messages have digests and lengths."""
        with self._life, contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def free(self) -> None:
        """See `Channel`."""
        self.close()
        self._carrier.end()
        with self._sending, self._life:
            self._sock.close()
