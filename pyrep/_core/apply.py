"""Incoming streams: frames applied to volumes."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from pyrep._core.link import LinkCore
from pyrep._core.native import Buffer, Owned, check, error_of, ffi, held, lib
from pyrep._core.wake import Wake
from pyrep.errors import RefusedError, WireError

__all__ = [
    "Apply",
    "ApplyInfo",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyInfo:
    """What an incoming stream has applied and made durable, as record numbers."""

    attempt: int
    applied: int
    durable: int


class Apply(Owned):
    """The incoming side of a stream."""

    def __init__(self, stream_id: int) -> None:
        out = ffi.new("rep_apply **")
        check(lib.rep_apply_new(stream_id, out), "making an incoming stream")
        super().__init__(out[0], lib.rep_apply_free)
        self.stream_id = stream_id
        self._links: dict[int, LinkCore] = {}

    def start(self, attempt: int, next_number: int) -> None:
        """Begin a connection. WireError: not newer than the last one."""
        if lib.rep_apply_start(self.pointer, attempt, next_number):
            raise WireError(f"attempt {attempt} isn't newer than the last one")

    def bind(self, channel: int, link: LinkCore) -> None:
        """Let records of `channel` come through `link`."""
        with held(link):
            code = lib.rep_apply_bind(self.pointer, channel, link.pointer)
            if code == -errno.EEXIST:
                raise RefusedError(f"channel {channel} is bound already")
            check(code, f"binding channel {channel}")
            self.handle.keep(channel, link.handle)
        self._links[channel] = link

    def unbind(self, channel: int) -> tuple[LinkCore, int] | None:
        """Take no more records of `channel`, and make durable what came through it.

        Waits for a frame in progress.

        Returns:
            If its volume failed, in this or before, and nobody was told: the link and the positive
            errno. What was lost is pending in its row, and this stream's durable number stays where
            it is until the next connection.
        """
        code = -lib.rep_apply_unbind_durably(self.pointer, channel)
        link = self._links.pop(channel, None)
        self.handle.keep(channel, None)
        return (link, code) if link is not None and code else None

    def unbind_all(self) -> list[tuple[LinkCore, int]]:
        """Unbind every channel; return what `unbind` has to tell of each."""
        return self._unbind(list(self._links))

    def unbind_link(self, link: LinkCore) -> list[tuple[LinkCore, int]]:
        """Unbind every channel that comes through `link`; return what `unbind` has to tell."""
        return self._unbind([number for number, one in self._links.items() if one is link])

    def _unbind(self, channels: list[int]) -> list[tuple[LinkCore, int]]:
        return [told for told in map(self.unbind, channels) if told is not None]

    def drop_all(self) -> None:
        """Unbind every channel as a crash does: what came isn't flushed, and isn't said to be."""
        for channel in list(self._links):
            lib.rep_apply_unbind(self.pointer, channel)
            self._links.pop(channel, None)
            self.handle.keep(channel, None)

    def frame(self, frame: Buffer, wake: Wake) -> bool:
        """Apply a frame whose digest was checked; return whether it held a barrier.

        Raises:
            WireError: malformed or out of turn; it had no effect.
            CancelledError: it was applied in part, as `info` tells.
        """
        barrier = ffi.new("int *")
        with ffi.from_buffer(frame) as source:
            code = lib.rep_apply_frame(self.pointer, source, len(source), wake.pointer, barrier)
        if code == -errno.ECANCELED:
            raise error_of(code, "applying a frame")
        if code:
            raise WireError(f"cannot apply a frame: {os.strerror(-code)}")
        return bool(barrier[0])

    def settle(self) -> None:
        """Make everything applied durable."""
        lib.rep_apply_settle(self.pointer)

    def info(self) -> ApplyInfo:
        """Return its numbers."""
        out = ffi.new("rep_apply_info *")
        lib.rep_apply_info_get(self.pointer, out)
        return ApplyInfo(attempt=out.attempt, applied=out.applied, durable=out.durable)

    def answer(self) -> ApplyInfo | None:
        """Return the numbers that may be acknowledged. None: there are errors to take before.

        In one step: a settle of another thread doesn't come between (INV-3).
        """
        out = ffi.new("rep_apply_info *")
        if lib.rep_apply_answer(self.pointer, out):
            return None
        return ApplyInfo(attempt=out.attempt, applied=out.applied, durable=out.durable)

    def take_errors(self) -> dict[int, tuple[LinkCore, int]]:
        """Return and forget, of each channel whose volume failed, the link and positive errno."""
        found = {}
        for channel, link in list(self._links.items()):
            code = -lib.rep_apply_take_error(self.pointer, channel)
            if code:
                found[channel] = (link, code)
        return found
