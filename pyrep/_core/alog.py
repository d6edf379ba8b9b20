"""Activity logs: which regions of a volume may have writes whose cover isn't durable yet."""

from __future__ import annotations

import enum
import errno
from dataclasses import dataclass

from pyrep._core.bitmap import Bitmap
from pyrep._core.io import Io
from pyrep._core.native import Owned, Pointer, check, ffi, held, lib
from pyrep._core.volume import VolumeCore
from pyrep.errors import FormatError, InvalidArgumentError

__all__ = ["Alog", "AlogInfo", "AlogShape", "AlogState"]


class AlogState(enum.IntEnum):
    """What a log does for its volume."""

    OPENED = lib.REP_ALOG_OPENED
    WORKING = lib.REP_ALOG_WORKING
    BYPASSED = lib.REP_ALOG_BYPASSED
    FAILED = lib.REP_ALOG_FAILED


@dataclass(frozen=True, slots=True, kw_only=True)
class AlogShape:
    """Whose log it is (16-byte keys), the volume's size, bytes of a region, hot regions at most."""

    system_key: bytes
    volume_key: bytes
    size_bytes: int
    region_bytes: int
    hot_regions: int

    def native(self) -> Pointer:
        """Return it as C has it."""
        shape = ffi.new("rep_alog_shape *")
        shape.system_id = self.system_key
        shape.volume_id = self.volume_key
        shape.size_bytes = self.size_bytes
        shape.region_bytes = self.region_bytes
        shape.slot_count = self.hot_regions
        return shape

    @property
    def file_bytes(self) -> int:
        """Bytes of its file. InvalidArgumentError: there can't be such a log."""
        size = int(lib.rep_alog_bytes(self.native()))
        if not size:
            raise InvalidArgumentError(
                f"an activity log can't have {self.hot_regions} regions of {self.region_bytes} "
                f"bytes for a volume of {self.size_bytes}"
            )
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class AlogInfo:
    """What a log has done. See `rep_alog_info`."""

    state: AlogState
    error: int
    hot: int
    admissions: int
    transactions: int
    volume_flushes: int
    checkpoints: int
    page_flushes: int
    used_blocks: int
    ring_blocks: int


_FAULTS = {
    errno.EBADMSG: "it is damaged",
    errno.EPROTO: "it was written by a newer pyrep",
    errno.ENODATA: "it is truncated",
    errno.EXDEV: "it belongs to another system or volume",
}


class Alog(Owned):
    """A volume's activity log. See `csrc/rep_alog.h` for its contract."""

    def __init__(self, io: Io, shape: AlogShape) -> None:
        """Read it. FormatError: it can't be used, and says nothing."""
        out = ffi.new("rep_alog **")
        code = lib.rep_alog_open(io.pointer, shape.native(), out)
        if -code in _FAULTS:
            raise FormatError(
                f"cannot use activity log {io.name}: {_FAULTS[-code]}",
                hint="use the pyrep that wrote it, or a newer one" if code == -errno.EPROTO else "",
            )
        check(code, f"reading activity log {io.name}")
        super().__init__(out[0], lib.rep_alog_free, needs=[io])
        self.io = io

    @staticmethod
    def format(io: Io, shape: AlogShape) -> None:
        """Write an empty log; durable on return."""
        check(lib.rep_alog_format(io.pointer, shape.native()), f"making activity log {io.name}")

    @property
    def hot_regions(self) -> int:
        """Regions that can be hot at once."""
        shape = ffi.new("rep_alog_shape *")
        lib.rep_alog_shape_get(self.pointer, shape)
        return int(shape.slot_count)

    @property
    def region_bytes(self) -> int:
        """Bytes of a region."""
        shape = ffi.new("rep_alog_shape *")
        lib.rep_alog_shape_get(self.pointer, shape)
        return int(shape.region_bytes)

    @property
    def past_hot(self) -> int:
        """Regions that were hot when it was written last; until `begin`."""
        return int(lib.rep_alog_past_hot(self.pointer))

    def replay(self, row_key: bytes, chunk_bytes: int, bits: Bitmap) -> None:
        """OR into `bits` what it holds for a row: what left, and all of the hot regions."""
        code = lib.rep_alog_replay(self.pointer, row_key, chunk_bytes, bits.pointer)
        check(code, f"replaying activity log {self.io.name}")

    def begin(self, volume: VolumeCore) -> None:
        """Forget what it held, durably, and serve this volume's writes from now on."""
        # Not the other way round: the volume's end stops it, then it is freed.
        volume.handle.keep("log", self.handle)
        with held(volume):
            code = lib.rep_alog_begin(self.pointer, volume.pointer)
        check(code, f"beginning activity log {self.io.name}")

    def flush(self) -> None:
        """Make the volume durable before a copy out of it: what was written before isn't hot."""
        check(lib.rep_alog_flush(self.pointer), "flushing a volume that is about to be copied")

    def checkpoint(self, at_least: int = 0) -> bool:
        """Write the pages of what left; return whether there was anything to do."""
        code = lib.rep_alog_checkpoint(self.pointer, at_least)
        return bool(check(code, f"writing the bitmaps of activity log {self.io.name}"))

    def forget(self) -> None:
        """Make durable what checkpoints have freed: a recovery no longer replays that."""
        code = lib.rep_alog_forget(self.pointer)
        check(code, f"writing activity log {self.io.name}")

    def info(self) -> AlogInfo:
        """Return what it has done."""
        out = ffi.new("rep_alog_info *")
        lib.rep_alog_info_get(self.pointer, out)
        return AlogInfo(
            state=AlogState(out.state),
            error=-out.error,
            hot=out.hot,
            admissions=out.admissions,
            transactions=out.transactions,
            volume_flushes=out.volume_flushes,
            checkpoints=out.checkpoints,
            page_flushes=out.page_flushes,
            used_blocks=out.used_blocks,
            ring_blocks=out.ring_blocks,
        )
