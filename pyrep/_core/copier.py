"""Copiers: they send what is pending in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrep._core.link import LinkCore
from pyrep._core.native import Owned, Pointer, check, ffi, in_slices, lib
from pyrep._core.wake import Wake

__all__ = [
    "Copier",
    "CopyProgress",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """What was copied so far.

    Attributes:
        copied_bytes: bytes of chunks done, holes included.
        zero_bytes: of these, not written as data: zeros, and holes at both ends.
        passes: regions entered.
        crowded: of these, while hosts wrote in the tree, or read one of the two volumes.
    """

    copied_bytes: int
    zero_bytes: int
    passes: int = 0
    crowded: int = 0

    @property
    def data_bytes(self) -> int:
        """Bytes written as data."""
        return self.copied_bytes - self.zero_bytes


class Copier(Owned):
    """Sends what is pending in a link's row, with one worker or several.

    Each worker, a number from 0 on, is used by one thread at a time.
    """

    def __init__(self, link: LinkCore, *, workers: int = 1) -> None:
        out = ffi.new("rep_copier **")
        check(lib.rep_copier_new(link.pointer, workers, out), "making a copier")
        super().__init__(out[0], lib.rep_copier_free, needs=[link])
        self._link = link
        self._progress = [ffi.new("rep_copy_progress *") for _ in range(workers)]

    def expect_blank(self) -> None:
        """Send no zeros: the target of the shipping row was blank, and was sent nothing yet.

        It ends with the row's work: what is pending after a break isn't taken for blank.

        Raises:
            DeviceError: not everything is pending, so that something may have been sent.
        """
        check(lib.rep_copier_expect_blank(self.pointer), "copying onto a blank volume")

    def run(self, most_bytes: int, wake: Wake, *, worker: int = 0) -> bool:
        """Send about `most_bytes`; return whether something is left for this worker.

        When every worker was told that nothing is left, nothing is pending.

        Raises:
            PathLostError: the link broke (see its info).
            CancelledError: `wake` was raised.
            DeviceError: the source couldn't be read; the chunk is pending again.
        """

        def call(deadline: int) -> int:
            handle, progress = wake.pointer, self._progress[worker]
            return int(
                lib.rep_copier_run(self.pointer, worker, most_bytes, deadline, handle, progress)
            )

        return bool(check(in_slices(call, None), f"copying volume {self._link.volume.name}"))

    @property
    def progress(self) -> CopyProgress:
        """What all workers have done."""
        return _sum(self._progress)

    def progress_of(self, worker: int) -> CopyProgress:
        """Return what one worker has done."""
        return _sum([self._progress[worker]])


def _sum(counts: Sequence[Pointer]) -> CopyProgress:
    return CopyProgress(
        copied_bytes=sum(one.copied_bytes for one in counts),
        zero_bytes=sum(one.zero_bytes for one in counts),
        passes=sum(one.passes for one in counts),
        crowded=sum(one.crowded for one in counts),
    )
