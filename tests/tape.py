"""A channel that plays bytes which were written down."""

from __future__ import annotations

from pyrep._core import Line
from pyrep.errors import PathLostError
from pyrep.model import SystemId
from pyrep.seams import Buffer


class Tape:
    """A channel that plays bytes, a few at a time, then ends."""

    peer_id: SystemId | None = None

    def __init__(self, data: bytes, *, at_once: int = 7) -> None:
        self.left = memoryview(data)  # which a slice doesn't copy
        self.at_once = at_once

    @property
    def line(self) -> Line:
        raise AssertionError("nothing of the core's is behind it")

    def recv_into(self, view: memoryview) -> int:
        if not self.left:
            raise PathLostError("the tape is over")
        piece = self.left[: min(len(view), self.at_once)]
        view[: len(piece)] = piece
        self.left = self.left[len(piece) :]
        return len(piece)

    def fill(self, view: memoryview) -> None:
        at = 0
        while at < len(view):
            at += self.recv_into(view[at:])

    def send_all(self, *buffers: Buffer) -> None:
        raise AssertionError(buffers)

    def close(self) -> None:
        self.left = memoryview(b"")

    def free(self) -> None:
        """Nothing is behind it."""
