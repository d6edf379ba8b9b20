"""Bitmaps on disk, and what binds each to its row."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from pyrep._core.bitmap import Bitmap
from pyrep._core.io import Io
from pyrep._core.native import Buffer, Owned, Pointer, check, ffi, lib
from pyrep.errors import BitmapFileError

__all__ = [
    "BitmapFile",
    "BitmapKey",
    "crc32c",
]


def crc32c(data: Buffer, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, going on from `crc`."""
    return int(lib.rep_crc32c(crc, ffi.from_buffer(data), len(data)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BitmapKey:
    """What a bitmap file is bound to: 16-byte keys, geometry, data identifier."""

    system_key: bytes
    volume_key: bytes
    row_key: bytes
    bit_count: int
    chunk_bytes: int
    data_id: int


def _native_key(key: BitmapKey) -> Pointer:
    native = ffi.new("rep_bitmap_key *")
    native.system_id = key.system_key
    native.volume_id = key.volume_key
    native.row_id = key.row_key
    native.bit_count = key.bit_count
    native.chunk_bytes = key.chunk_bytes
    native.data_id = key.data_id
    return native


_BITMAP_FAULTS = {
    errno.EBADMSG: "it is corrupt",
    errno.EPROTO: "it was written by a newer pyrep",
    errno.ENODATA: "it is truncated",
    errno.EXDEV: "it belongs to another system, volume or pair",
    errno.ESTALE: "it belongs to another generation of the data",
    errno.ENOENT: "it is missing",
}
_REPAIR = "put a copy of it back, or let repair_system(directory) make everything pending"


class BitmapFile(Owned):
    """A bitmap on disk. See `csrc/rep_bitmap_file.h` for the format's contract."""

    def __init__(self, pointer: Pointer, path: Path, io: Io | None = None) -> None:
        self.path = path
        self._io = io
        super().__init__(pointer, lib.rep_bitmap_file_free, needs=[] if io is None else [io])

    @classmethod
    def create(cls, path: Path, key: BitmapKey, *, marked_open: bool) -> BitmapFile:
        """Make the file with all bits clear; it and its name are durable on return."""
        out = ffi.new("rep_bitmap_file **")
        name = os.fsencode(path)
        code = lib.rep_bitmap_file_create(name, _native_key(key), int(marked_open), out)
        check(code, f"creating bitmap file {path}")
        return cls(out[0], path)

    @classmethod
    def open(cls, path: Path, key: BitmapKey) -> BitmapFile:
        """Open and check against `key`. BitmapFileError says what is wrong with it."""
        out = ffi.new("rep_bitmap_file **")
        code = lib.rep_bitmap_file_open(os.fsencode(path), _native_key(key), out)
        return cls(cls._opened(code, out, path), path)

    @staticmethod
    def bytes_of(key: BitmapKey) -> int:
        """Return how large a file of this geometry is."""
        return int(lib.rep_bitmap_file_bytes(_native_key(key)))

    @classmethod
    def create_on(cls, io: Io, path: Path, key: BitmapKey, *, marked_open: bool) -> BitmapFile:
        """Do `create` on storage that reads as zeros, which is closed with it: a test's double."""
        out = ffi.new("rep_bitmap_file **")
        code = lib.rep_bitmap_file_create_on(io.pointer, _native_key(key), int(marked_open), out)
        check(code, f"creating bitmap file {path}")
        return cls(out[0], path, io)

    @classmethod
    def open_on(cls, io: Io, path: Path, key: BitmapKey) -> BitmapFile:
        """Do `open` on storage, which is closed with it: a test's double."""
        out = ffi.new("rep_bitmap_file **")
        code = lib.rep_bitmap_file_open_on(io.pointer, _native_key(key), out)
        return cls(cls._opened(code, out, path), path, io)

    @staticmethod
    def _opened(code: int, out: Pointer, path: Path) -> Pointer:
        if -code in _BITMAP_FAULTS:
            what = f"cannot use bitmap file {path}: {_BITMAP_FAULTS[-code]}"
            raise BitmapFileError(what, is_torn=code == -errno.EBADMSG, hint=_REPAIR)
        if code == -errno.EIO:
            raise _unreadable(path)
        check(code, f"opening bitmap file {path}")
        return out[0]

    def close(self) -> None:
        """Free it, and the storage that was given. Idempotent."""
        super().close()
        if self._io is not None:
            self._io.close()

    @property
    def marked_open(self) -> bool:
        """Whether its last user didn't close cleanly."""
        return bool(lib.rep_bitmap_file_marked_open(self.pointer))

    @property
    def marked_logged(self) -> bool:
        """Whether its pages are true together with the volume's activity log."""
        return bool(lib.rep_bitmap_file_marked_logged(self.pointer))

    def load(self, bitmap: Bitmap) -> None:
        """OR the stored bits into `bitmap`.

        Raises:
            BitmapFileError: a page is torn: its bits are set; or can't be read: all are.
        """
        code = lib.rep_bitmap_file_load(self.pointer, bitmap.pointer)
        if code == -errno.EBADMSG:
            raise BitmapFileError(
                f"cannot use bitmap file {self.path}: a page is corrupt", hint=_REPAIR
            )
        if code == -errno.EIO:
            bitmap.fill()
            raise _unreadable(self.path)
        check(code, f"reading bitmap file {self.path}")

    def save(self, first: Bitmap, second: Bitmap | None = None) -> None:
        """Write first OR second; durable when it returns."""
        other = ffi.NULL if second is None else second.pointer
        code = lib.rep_bitmap_file_save(self.pointer, first.pointer, other)
        check(code, f"writing bitmap file {self.path}")

    def mark_open(self) -> None:
        """Set the open mark, durably."""
        check(lib.rep_bitmap_file_mark_open(self.pointer), f"marking {self.path} open")

    def mark_logged(self) -> None:
        """Say, durably, that the pages are true together with the volume's activity log."""
        check(lib.rep_bitmap_file_mark_logged(self.pointer), f"marking {self.path} logged")

    def mark_closed(self, data_id: int) -> None:
        """Clear the open mark and set the data identifier, durably."""
        code = lib.rep_bitmap_file_mark_closed(self.pointer, data_id)
        check(code, f"marking {self.path} closed")


def _unreadable(path: Path) -> BitmapFileError:
    what = f"cannot use bitmap file {path}: {os.strerror(errno.EIO)} as it was read"
    return BitmapFileError(what, is_unreadable=True, hint=_REPAIR)
