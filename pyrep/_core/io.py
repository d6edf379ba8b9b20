"""Storage: files, memory, a copy-on-write look, and a double that fails and forgets."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyrep._core.native import Buffer, Owned, Pointer, check, ffi, lib
from pyrep.errors import InUseError, InvalidArgumentError

__all__ = [
    "DeviceIdentity",
    "DeviceIo",
    "FileIdentity",
    "FileIo",
    "Io",
    "MemoryIo",
    "OverlayIo",
    "SliceIo",
    "VolatileIo",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """What identifies a backing file. Times in nanoseconds."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceIdentity:
    """What the kernel says of a block device. `sequence` 0: this kernel doesn't number disks."""

    major: int
    minor: int
    size_bytes: int
    sequence: int


class Io(Owned):
    """A piece of storage. Offsets and lengths in bytes; a range past the end is refused."""

    def __init__(
        self,
        pointer: Pointer,
        name: str,
        *,
        free: Callable[[Pointer], None] = lib.rep_io_free,
        keep: Sequence[Owned] = (),
    ) -> None:
        self.name = name
        super().__init__(pointer, free, needs=keep)

    @property
    def address(self) -> int:
        """The address of the C object, for another extension that calls its vtable."""
        return int(ffi.cast("uintptr_t", self.pointer))

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return int(lib.rep_io_size(self.pointer))

    def pread(self, length: int, offset: int) -> bytes:
        """Return `length` bytes at `offset`."""
        data = bytearray(length)
        self.pread_into(data, offset)
        return bytes(data)

    def pread_into(self, buffer: bytearray | memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on."""
        with ffi.from_buffer(buffer, require_writable=True) as target:
            code = lib.rep_io_pread(self.pointer, target, len(target), offset)
        check(code, f"reading {self.name}")

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write `data` at `offset`."""
        with ffi.from_buffer(data) as source:
            code = lib.rep_io_pwrite(self.pointer, source, len(source), offset)
        check(code, f"writing {self.name}")

    def zero(self, length: int, offset: int) -> None:
        """Make the range read as zeros."""
        check(lib.rep_io_zero(self.pointer, offset, length), f"zeroing {self.name}")

    def trim(self, length: int, offset: int) -> None:
        """Say that the range isn't needed; it reads as zeros."""
        check(lib.rep_io_trim(self.pointer, offset, length), f"trimming {self.name}")

    def flush(self) -> None:
        """Make everything written before durable."""
        check(lib.rep_io_flush(self.pointer), f"flushing {self.name}")

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the data extents (offset, length) of the range."""
        end = self.size_bytes if length is None else offset + length
        out = ffi.new("rep_extent[64]")
        count = ffi.new("size_t *")
        resume = ffi.new("uint64_t *", offset)
        while resume[0] < end:
            at = resume[0]
            code = lib.rep_io_extents(self.pointer, at, end - at, out, 64, count, resume)
            check(code, f"mapping {self.name}")
            for index in range(count[0]):
                yield int(out[index].offset), int(out[index].length)


class FileIo(Io):
    """A regular file, locked for this object; or read-only and without the lock."""

    def __init__(self, path: Path, *, locked: bool = True) -> None:
        out = ffi.new("rep_io **")
        opening = lib.rep_io_file_open if locked else lib.rep_io_file_open_readonly
        code = opening(os.fsencode(path), out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(
                f"cannot open {path}: not a regular file",
                hint="name a regular file or a block device",
            )
        check(code, f"opening {path}")
        super().__init__(out[0], str(path))

    def identify(self) -> FileIdentity:
        """Return what identifies the file at this moment."""
        out = ffi.new("rep_io_file_identity *")
        check(lib.rep_io_file_identify(self.pointer, out), f"looking at {self.name}")
        return FileIdentity(
            device=out.device,
            inode=out.inode,
            size_bytes=out.size_bytes,
            mtime_ns=out.mtime_ns,
            ctime_ns=out.ctime_ns,
        )


class DeviceIo(Io):
    """A block device, claimed for this object alone."""

    def __init__(self, path: Path) -> None:
        out = ffi.new("rep_io **")
        code = lib.rep_io_device_open(os.fsencode(path), out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(
                f"cannot open {path}: not a block device",
                hint="name a regular file or a block device",
            )
        if code == -errno.EBUSY:
            raise InUseError(
                f"cannot open {path}: the device is in use",
                hint="it may be mounted, a swap device, part of another device, or a volume "
                "already: lsblk and findmnt say which; release it there first",
            )
        check(code, f"opening {path}")
        super().__init__(out[0], str(path))

    def identify(self) -> DeviceIdentity:
        """Return what the kernel says of the device at this moment."""
        out = ffi.new("rep_io_device_identity *")
        check(lib.rep_io_device_identify(self.pointer, out), f"looking at {self.name}")
        return DeviceIdentity(
            major=out.major, minor=out.minor, size_bytes=out.size_bytes, sequence=out.sequence
        )


class MemoryIo(Io):
    """Zero-filled private memory."""

    def __init__(self, size_bytes: int) -> None:
        out = ffi.new("rep_io **")
        check(lib.rep_io_memory_new(size_bytes, out), "making memory storage")
        super().__init__(out[0], "memory")


class OverlayIo(Io):
    """A copy-on-write look at `base`, which it never writes (INV-4)."""

    def __init__(self, base: Io) -> None:
        out = ffi.new("rep_io **")
        check(lib.rep_overlay_new(base.pointer, out), f"making a view of {base.name}")
        super().__init__(out[0], f"view of {base.name}", keep=[base])

    @property
    def dirty_bytes(self) -> int:
        """Bytes held privately so far."""
        return int(lib.rep_overlay_dirty_bytes(self.pointer))


class SliceIo(Io):
    """A range of `base` as storage of its own: a partition."""

    def __init__(self, base: Io, offset: int, length: int) -> None:
        out = ffi.new("rep_io **")
        what = f"opening bytes {offset}…{offset + length} of {base.name}"
        check(lib.rep_slice_new(base.pointer, offset, length, out), what)
        super().__init__(out[0], base.name, keep=[base])


class VolatileIo(Io):
    """Keeps unflushed writes of `base` apart, can lose them, and fails on demand.

    The fault model is the contract at the top of `csrc/rep_volatile.h`.
    """

    def __init__(self, base: Io) -> None:
        out = ffi.new("rep_io **")
        check(lib.rep_volatile_new(base.pointer, out), f"making {base.name} volatile")
        super().__init__(out[0], base.name, keep=[base])

    def lose(self, *, seed: int, keep_one_in: int = 0, tear: bool = False) -> None:
        """Lose power: unflushed writes are kept or lost, decided by `seed`."""
        code = lib.rep_volatile_lose(self.pointer, seed, keep_one_in, int(tear))
        check(code, f"losing power of {self.name}")

    def fail_after(self, operations: int, errno_code: int) -> None:
        """Fail every write and flush after `operations` more of them; errno_code 0 heals."""
        lib.rep_volatile_fail_after(self.pointer, operations, -errno_code)

    def fail_reads(self, errno_code: int) -> None:
        """Fail every read; 0 heals."""
        lib.rep_volatile_fail_reads(self.pointer, -errno_code)

    @property
    def unflushed_count(self) -> int:
        """Writes that a power loss could take."""
        return int(lib.rep_volatile_unflushed_count(self.pointer))

    @property
    def flush_count(self) -> int:
        """Flushes so far."""
        return int(lib.rep_volatile_flush_count(self.pointer))
