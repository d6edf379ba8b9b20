"""Links: one row of a volume at work."""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyrep._core.bitmap import Bitmap
from pyrep._core.bitmapfile import BitmapFile
from pyrep._core.native import Owned, check, ffi, held, lib
from pyrep._core.stream import Ack, Stream
from pyrep._core.volume import VolumeCore
from pyrep.errors import InvalidArgumentError

__all__ = [
    "LinkCore",
    "LinkInfo",
    "LinkMode",
]


class LinkMode(enum.IntEnum):
    """What a link does with a write."""

    IDLE = lib.REP_LINK_IDLE
    MARK = lib.REP_LINK_MARK
    FORWARD = lib.REP_LINK_FORWARD
    SHIP = lib.REP_LINK_SHIP


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkInfo:
    """What a link is doing.

    Attributes:
        mode: what it does with a write; MARK in effect when it is broken.
        broken: the positive errno that ended its work, or 0.
        source_failed: whether it was the link's own volume that failed: its target is whole.
        epoch_start: the first interval of shared marks that belongs to it, or 0.
        any_pending: whether anything is pending in the row's own P.
        any_unsettled: whether anything is in U.
        unsettled_epoch: of U that is open: what was unsettled at a number is so no longer two on.
    """

    mode: LinkMode
    broken: int
    source_failed: bool
    epoch_start: int
    any_pending: bool
    any_unsettled: bool
    unsettled_epoch: int

    @property
    def pulled_ahead(self) -> bool:
        """Whether it left a full stream, with all of its group, at one point."""
        return self.broken == errno.EXFULL


class LinkCore(Owned):
    """One row of a volume at work."""

    def __init__(self, volume: VolumeCore, *, chunk_bytes: int, shares_marks: bool) -> None:
        out = ffi.new("rep_link **")
        code = lib.rep_link_new(volume.pointer, chunk_bytes, int(shares_marks), out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(
                f"volume {volume.name} can't have a pair with chunks of {chunk_bytes} bytes",
                hint="all local pairs of one source volume use one chunk size",
            )
        check(code, f"opening a pair of volume {volume.name}")
        super().__init__(out[0], lib.rep_link_free, needs=[volume])
        self.volume = volume
        self.chunk_bytes = chunk_bytes
        self._what = f"switching a pair of volume {volume.name}"

    @property
    def chunk_count(self) -> int:
        """Chunks of the volume, the last one perhaps partial."""
        return int(lib.rep_link_chunk_count(self.pointer))

    @property
    def pending(self) -> Bitmap:
        """The row's own P, borrowed."""
        return Bitmap(0, pointer=lib.rep_link_pending(self.pointer), keep=self)

    def info(self) -> LinkInfo:
        """Return what the link is doing."""
        out = ffi.new("rep_link_info *")
        lib.rep_link_info_get(self.pointer, out)
        return LinkInfo(
            mode=LinkMode(out.mode),
            broken=-out.broken,
            source_failed=bool(out.source_failed),
            epoch_start=out.epoch_start,
            any_pending=bool(out.any_pending),
            any_unsettled=bool(out.any_unsettled),
            unsettled_epoch=out.unsettled_epoch,
        )

    def pending_count(self) -> int:
        """Return the count of pending chunks, shared marks included."""
        out = ffi.new("uint64_t *")
        check(lib.rep_link_pending_count(self.pointer, out), "counting pending chunks")
        return int(out[0])

    def pending_chunks(self) -> Bitmap:
        """Return a new bitmap of what `pending_count` counts: pending and shared marks."""
        bitmap = Bitmap(self.chunk_count)
        code = lib.rep_link_collect_pending(self.pointer, bitmap.pointer)
        check(code, "collecting pending chunks")
        return bitmap

    def cover(self) -> Bitmap:
        """Return a new bitmap: pending, unsettled and shared marks together."""
        bitmap = Bitmap(self.chunk_count)
        check(lib.rep_link_collect(self.pointer, bitmap.pointer), "collecting pending chunks")
        return bitmap

    def marks_between(self, other: LinkCore) -> Bitmap | None:
        """Return what was marked between the splits of two links of one volume; None: not known."""
        bitmap = Bitmap(self.chunk_count)
        code = lib.rep_link_marks_between(self.pointer, other.pointer, bitmap.pointer)
        if code == -errno.ENODATA:
            return None
        check(code, f"comparing two mirrors of volume {self.volume.name}")
        return bitmap

    def idle(self) -> None:
        """Do nothing with writes: the volume is a target."""
        check(lib.rep_link_idle(self.pointer), self._what)
        self._works_on(None)

    def mark(self) -> None:
        """Mark writes as pending."""
        check(lib.rep_link_mark(self.pointer), self._what)

    def mark_from(self, epoch_start: int) -> None:
        """Mark, owning restored shared marks from `epoch_start` on (0: from now on)."""
        check(lib.rep_link_mark_from(self.pointer, epoch_start), self._what)

    def forward(self, target: LinkCore) -> None:
        """Write everything to the volume of `target`, its row at the other side, too."""
        with held(target):
            code = lib.rep_link_forward(self.pointer, target.volume.pointer, target.pointer)
            check(code, self._what)
            self._works_on(target)

    def ship(self, stream: Stream, channel: int, ack: Ack) -> None:
        """Append everything to `stream`."""
        with held(stream):
            code = lib.rep_link_ship(self.pointer, stream.pointer, channel, int(ack))
            check(code, self._what)
            self._works_on(stream)

    def ship_clean(self, stream: Stream, channel: int, ack: Ack) -> bool:
        """Append everything to `stream` if nothing is pending now; else go on as before: False."""
        with held(stream):
            code = lib.rep_link_ship_clean(self.pointer, stream.pointer, channel, int(ack))
            if code == -errno.EBUSY:
                return False
            check(code, self._what)
            self._works_on(stream)
            return True

    def _works_on(self, target: LinkCore | Stream | None) -> None:
        """Keep alive what the link passes writes on to; one that marks may have it to settle."""
        self.handle.keep("work", target.handle if target else None)

    def pull_ahead(self, *, when_full: bool) -> None:
        """Let writes that find no room go on, marked; else they wait."""
        ahead, block = lib.REP_CONGESTION_PULL_AHEAD, lib.REP_CONGESTION_BLOCK
        lib.rep_link_set_congestion(self.pointer, ahead if when_full else block)

    def follow(self) -> bool:
        """End a copy that ships: from here on the target follows in order, if nothing is pending.

        Returns:
            False: something is pending, the copy has to go on.

        Raises:
            PathLostError: it has broken off, and marks.
        """
        code = lib.rep_link_follow(self.pointer)
        if code == -errno.EBUSY:
            return False
        check(code, self._what)
        return True

    def guard(self, *, on: bool) -> None:
        """Fail hosts' writes unless the link ships (fence level data)."""
        check(lib.rep_link_guard(self.pointer, int(on)), self._what)

    def clean(self) -> None:
        """Forget everything pending: both sides are known to be equal."""
        check(lib.rep_link_clean(self.pointer), self._what)

    def keep(self, file: BitmapFile, row_key: bytes) -> None:
        """Let the volume's activity log keep the row's pages in `file`."""
        with held(file):
            check(lib.rep_link_keep(self.pointer, file.pointer, row_key), self._what)
            self.handle.keep("file", file.handle)

    def save(self) -> None:
        """Write the row's whole cover into its file while hosts write, and set the log mark.

        Raises:
            DeviceError: it couldn't be written, or the volume's log doesn't work.
        """
        check(lib.rep_link_save(self.pointer), f"saving a row of volume {self.volume.name}")

    @contextmanager
    def expecting(self, chunks: Bitmap) -> Iterator[None]:
        """Let what is saved hold these chunks, too, which become pending in the block.

        `save` makes them durable, and whatever is saved behind it in the block, by whomever.
        """
        with held(chunks):
            check(lib.rep_link_expect(self.pointer, chunks.pointer), self._what)
            try:
                yield
            finally:
                check(lib.rep_link_expect(self.pointer, ffi.NULL), self._what)

    def break_off(self, errno_code: int) -> None:
        """End the link's work; everything unsettled becomes pending."""
        lib.rep_link_break(self.pointer, -errno_code)

    def refuse(self, stream: Stream, errno_code: int) -> None:
        """Break off because the peer couldn't write what came through it; before its numbers count.

        Guarded writes that wait for an answer get none: the peer has them, and its volume hasn't.
        """
        with held(stream):
            lib.rep_stream_refuse(stream.pointer, self.pointer, -errno_code)

    def unsettled_count(self) -> int:
        """Return the count of unsettled chunks: sent, not yet known to be durable at the target."""
        return int(lib.rep_link_unsettled_count(self.pointer))

    def settle_epoch(self) -> None:
        """Do `settle` with one flush: what is unsettled now is settled after two of these."""
        code = lib.rep_link_settle_epoch(self.pointer)
        check(code, f"flushing a mirror of volume {self.volume.name}")

    def settle(self) -> None:
        """Make the local target durable and drop what was unsettled."""
        code = lib.rep_link_settle(self.pointer)
        check(code, f"flushing a mirror of volume {self.volume.name}")
