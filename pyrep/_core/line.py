"""Lines: sockets of a path that the core itself sends and receives over.

What a call borrows it gives back before it raises: an error that is kept holds the frame of the
call, and with it the view, which can't be released, nor collected safely, while it is lent.
"""

from __future__ import annotations

import errno
import os

from pyrep._core.native import Buffer, Owned, check, ffi, lib
from pyrep.errors import PathLostError

__all__ = ["Line", "check_line"]


def check_line(code: int) -> int:
    """Return what isn't negative. PathLostError: the line ended."""
    if code >= 0:
        return code
    why = "the other side ended it" if code == -errno.EPIPE else os.strerror(-code)
    raise PathLostError(f"the path was lost: {why}", hint="restore the path")


class Line(Owned):
    """A connected socket, borrowed: shut it down, then `end` this, and only then close it.

    Any thread may send, one at a time receives.
    """

    def __init__(self, descriptor: int) -> None:
        out = ffi.new("rep_line **")
        check(lib.rep_line_new(descriptor, out), "opening a path")
        super().__init__(out[0], lib.rep_line_free)

    def send(self, head: Buffer, body: Buffer = b"") -> None:
        """Send both, in one piece. PathLostError: it ended; a part may have gone."""
        with ffi.from_buffer(head) as first, ffi.from_buffer(body) as second:
            code = lib.rep_line_send(self.pointer, first, len(first), second, len(second))
        check_line(code)

    def fill(self, view: memoryview) -> None:
        """Wait until the whole view is filled. PathLostError: it ended; a part may have come."""
        with ffi.from_buffer(view, require_writable=True) as to:
            code = lib.rep_line_fill(self.pointer, to, len(to))
        check_line(code)

    def recv_into(self, view: memoryview) -> int:
        """Wait for bytes and put them at the view's begin; return how many, at least 1."""
        with ffi.from_buffer(view, require_writable=True) as to:
            code = lib.rep_line_some(self.pointer, to, len(to))
        return check_line(code)

    def end(self) -> None:
        """Let nobody send any more."""
        lib.rep_line_end(self.pointer)

    @property
    def heard_s(self) -> float:
        """When bytes came last, by `time.monotonic`; 0: never."""
        return float(lib.rep_line_heard_ns(self.pointer)) / 1e9
