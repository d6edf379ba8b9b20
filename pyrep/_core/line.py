"""Lines: sockets of a path that the core itself sends and receives over.

What a call borrows it gives back before it raises: an error that is kept holds the frame of the
call, and with it the view, which can't be released, nor collected safely, while it is lent.
"""

from __future__ import annotations

import errno
import os

from pyrep._core.native import Buffer, Owned, check, ffi, lib
from pyrep._core.tls import TlsSession
from pyrep.errors import PathLostError

__all__ = ["Line", "check_lines"]


def check_lines(code: int, *lines: Line) -> int:
    """Return what isn't negative. PathLostError: one of the lines ended."""
    if code >= 0:
        return code
    why, hint = os.strerror(-code), "restore the path"
    if code == -errno.EPIPE:
        why = "the other side ended it"
    elif code == -errno.EPROTO and (refused := [one.refusal for one in lines if one.refusal]):
        why = refused[0]
        hint = "look into the other system's log: it names the certificate that it refused"
    raise PathLostError(f"the path was lost: {why}", hint=hint)


class Line(Owned):
    """A connected socket, borrowed: shut it down, then `end` this, and only then close it.

    Any thread may send, one at a time receives.

    Args:
        descriptor: the socket.
        session: what has agreed with the other side over it; None: it goes unencrypted.
    """

    def __init__(self, descriptor: int, session: TlsSession | None = None) -> None:
        out = ffi.new("rep_line **")
        check(lib.rep_line_new(descriptor, out), "opening a path")
        needs = () if session is None else (session,)
        super().__init__(out[0], lib.rep_line_free, needs=needs)
        self._session = session
        if session is not None:
            lib.rep_line_secure(self.pointer, session.pointer)

    @property
    def refusal(self) -> str:
        """What OpenSSL said of what failed first; empty: nothing."""
        return "" if self._session is None else self._session.why

    def send(self, head: Buffer, body: Buffer = b"") -> None:
        """Send both, in one piece. PathLostError: it ended; a part may have gone."""
        with ffi.from_buffer(head) as first, ffi.from_buffer(body) as second:
            code = lib.rep_line_send(self.pointer, first, len(first), second, len(second))
        check_lines(code, self)

    def fill(self, view: memoryview) -> None:
        """Wait until the whole view is filled. PathLostError: it ended; a part may have come."""
        with ffi.from_buffer(view, require_writable=True) as to:
            code = lib.rep_line_fill(self.pointer, to, len(to))
        check_lines(code, self)

    def recv_into(self, view: memoryview) -> int:
        """Wait for bytes and put them at the view's begin; return how many, at least 1."""
        with ffi.from_buffer(view, require_writable=True) as to:
            code = lib.rep_line_some(self.pointer, to, len(to))
        return check_lines(code, self)

    def end(self) -> None:
        """Let nobody send any more."""
        lib.rep_line_end(self.pointer)

    @property
    def heard_s(self) -> float:
        """When bytes came last, by `time.monotonic`; 0: never."""
        return float(lib.rep_line_heard_ns(self.pointer)) / 1e9
