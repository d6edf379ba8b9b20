"""Copiers: they send what is pending in a row."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep._core.link import LinkCore
from pyrep._core.native import Owned, check, ffi, in_slices, lib
from pyrep._core.wake import Wake

__all__ = [
    "Copier",
    "CopyProgress",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """Bytes of chunks sent so far, and of these sent as zeros."""

    copied_bytes: int
    zero_bytes: int


class Copier(Owned):
    """Sends what is pending in a link's row. Used by one thread at a time."""

    def __init__(self, link: LinkCore) -> None:
        out = ffi.new("rep_copier **")
        check(lib.rep_copier_new(link.pointer, out), "making a copier")
        super().__init__(out[0], lib.rep_copier_free, needs=[link])
        self._link = link
        self._progress = ffi.new("rep_copy_progress *")

    def run(self, most_bytes: int, wake: Wake) -> bool:
        """Send about `most_bytes`; return whether more is pending.

        Raises:
            PathLostError: the link broke (see its info).
            CancelledError: `wake` was raised.
            DeviceError: the source couldn't be read; the chunk is pending again.
        """

        def call(deadline: int) -> int:
            handle, progress = wake.pointer, self._progress
            return int(lib.rep_copier_run(self.pointer, most_bytes, deadline, handle, progress))

        return bool(check(in_slices(call, None), f"copying volume {self._link.volume.name}"))

    @property
    def progress(self) -> CopyProgress:
        """What it has sent."""
        return CopyProgress(
            copied_bytes=self._progress.copied_bytes, zero_bytes=self._progress.zero_bytes
        )
