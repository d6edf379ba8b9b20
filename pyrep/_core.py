"""The compiled core, wrapped: the only module that touches cffi and its pointers.

Every call into C releases the GIL. A negative errno becomes an exception here, once. Waits are cut
into slices of `SLICE_S`, so that Ctrl-C, a cancel and a close get through.

Objects own their C counterpart and free it in `close()` (idempotent) or when collected; each keeps
what its counterpart points to alive.
"""

from __future__ import annotations

import enum
import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyrep._core_native import ffi, lib
from pyrep.errors import (
    BitmapFileError,
    CancelledError,
    DeviceError,
    FencedError,
    InUseError,
    InvalidArgumentError,
    NoSpaceError,
    NotFoundError,
    OutOfRangeError,
    PathLostError,
    PyrepError,
    ReadOnlyError,
    RefusedError,
    TimedOutError,
    WireError,
)

__all__ = [
    "FRAME_BYTES",
    "FRAME_DIGEST_FROM",
    "FRAME_DIGEST_OFFSET",
    "SLICE_S",
    "Ack",
    "Apply",
    "ApplyInfo",
    "Bitmap",
    "BitmapFile",
    "BitmapKey",
    "Buffer",
    "CopyProgress",
    "Copier",
    "CutItem",
    "CutVerb",
    "Fence",
    "FileIdentity",
    "FileIo",
    "FrameInfo",
    "Io",
    "LinkCore",
    "LinkInfo",
    "LinkMode",
    "MemoryIo",
    "OverlayIo",
    "Stream",
    "StreamInfo",
    "Tree",
    "VolatileIo",
    "VolumeCore",
    "VolumeIo",
    "Wake",
    "check_frame",
    "crc32c",
    "group_cut",
    "move_volumes",
    "new_frame_buffer",
]

SLICE_S = 0.2
_SLICE_NS = int(SLICE_S * 1e9)
_NO_DEADLINE = 2**64 - 1
FRAME_BYTES: int = lib.REP_FRAME_BYTES
FRAME_DIGEST_OFFSET: int = lib.REP_FRAME_DIGEST_OFFSET
FRAME_DIGEST_FROM: int = lib.REP_FRAME_DIGEST_FROM

Buffer = bytes | bytearray | memoryview

_FACTORIES: dict[int, Callable[[str], PyrepError]] = {
    errno.ECANCELED: lambda what: CancelledError(f"{what}: cancelled"),
    errno.ETIMEDOUT: lambda what: TimedOutError(f"{what}: timed out"),
    errno.ERANGE: lambda what: OutOfRangeError(f"{what}: the range reaches past the end"),
    errno.EPIPE: lambda what: PathLostError(f"{what}: the path or the target is gone"),
    errno.EROFS: lambda what: ReadOnlyError(f"{what}: read-only"),
    errno.EACCES: lambda what: ReadOnlyError(
        f"{what}: permission denied",
        hint="give this user write permission for the file and its directory",
    ),
    errno.ENOSPC: lambda what: NoSpaceError(f"{what}: no space left", hint="free some space"),
    errno.EWOULDBLOCK: lambda what: InUseError(
        f"{what}: locked by another volume or process",
        hint="one backing file belongs to one volume; close the other one first",
    ),
    errno.ENOENT: lambda what: NotFoundError(f"{what}: there is no such file"),
}


def _error(code: int, what: str) -> PyrepError:
    factory = _FACTORIES.get(-code)
    if factory:
        return factory(what)
    return DeviceError(f"{what}: {os.strerror(-code)}", errno_code=-code)


def _check(code: int, what: str) -> int:
    if code < 0:
        raise _error(code, what)
    return code


def _deadline(timeout_s: float | None) -> int:
    return _NO_DEADLINE if timeout_s is None else time.monotonic_ns() + int(timeout_s * 1e9)


def _in_slices(call: Callable[[int], int], timeout_s: float | None) -> int:
    """Call until it answers something else than a slice's time-out, or the time is up."""
    end = _deadline(timeout_s)
    while True:
        slice_end = min(end, time.monotonic_ns() + _SLICE_NS)
        code = call(slice_end)
        if code != -errno.ETIMEDOUT or slice_end >= end:
            return code


class _Owned:
    """A C object, freed once."""

    def __init__(self, pointer: Any, free: Callable[[Any], None]) -> None:
        self._pointer = pointer
        self._free = free
        self._freeing = threading.Lock()

    @property
    def pointer(self) -> Any:
        """The C pointer; using a closed object is a mistake of the caller's."""
        if self._pointer is None:
            raise InvalidArgumentError(f"{type(self).__name__} is closed")
        return self._pointer

    @property
    def closed(self) -> bool:
        """Whether it was freed."""
        return self._pointer is None

    def close(self) -> None:
        """Free the C object. Harmless when done before."""
        with self._freeing:
            pointer, self._pointer = self._pointer, None
        if pointer is not None:
            self._free(pointer)

    def __del__(self) -> None:
        if getattr(self, "_pointer", None) is not None:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def crc32c(data: Buffer, crc: int = 0) -> int:
    """Return the CRC-32C of `data`, going on from `crc`."""
    return int(lib.rep_crc32c(crc, ffi.from_buffer(data), len(data)))


class Wake(_Owned):
    """Ends the waits that use it, from any thread."""

    def __init__(self) -> None:
        out = ffi.new("rep_wake **")
        _check(lib.rep_wake_new(out), "making a wake handle")
        super().__init__(out[0], lib.rep_wake_free)

    def set(self) -> None:
        """End every wait that uses the handle, now and later."""
        lib.rep_wake_raise(self.pointer)

    def clear(self) -> None:
        """Lower it again."""
        lib.rep_wake_reset(self.pointer)

    def is_set(self) -> bool:
        """Whether it is raised."""
        return bool(lib.rep_wake_raised(self.pointer))


def _wake(wake: Wake | None) -> Any:
    return ffi.NULL if wake is None else wake.pointer


# --- storage -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIdentity:
    """What identifies a backing file. Times in nanoseconds."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


class Io(_Owned):
    """A piece of storage. Offsets and lengths in bytes; a range past the end is refused."""

    def __init__(self, pointer: Any, name: str, keep: object = None) -> None:
        self.name = name
        self._keep = keep
        super().__init__(pointer, lib.rep_io_free)

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
        target = ffi.from_buffer(buffer, require_writable=True)
        what = f"reading {self.name}"
        _check(lib.rep_io_pread(self.pointer, target, len(buffer), offset), what)

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write `data` at `offset`."""
        source = ffi.from_buffer(data)
        what = f"writing {self.name}"
        _check(lib.rep_io_pwrite(self.pointer, source, len(source), offset), what)

    def zero(self, length: int, offset: int) -> None:
        """Make the range read as zeros."""
        _check(lib.rep_io_zero(self.pointer, offset, length), f"zeroing {self.name}")

    def flush(self) -> None:
        """Make everything written before durable."""
        _check(lib.rep_io_flush(self.pointer), f"flushing {self.name}")

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the data extents (offset, length) of the range."""
        end = self.size_bytes if length is None else offset + length
        out = ffi.new("rep_extent[64]")
        count = ffi.new("size_t *")
        resume = ffi.new("uint64_t *", offset)
        while resume[0] < end:
            at = resume[0]
            code = lib.rep_io_extents(self.pointer, at, end - at, out, 64, count, resume)
            _check(code, f"mapping {self.name}")
            for index in range(count[0]):
                yield int(out[index].offset), int(out[index].length)


class FileIo(Io):
    """A regular file, locked for this object; or read-only and without the lock."""

    def __init__(self, path: Path, *, locked: bool = True) -> None:
        out = ffi.new("rep_io **")
        opening = lib.rep_io_file_open if locked else lib.rep_io_file_open_readonly
        code = opening(os.fsencode(path), out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(f"cannot open {path}: not a regular file")
        _check(code, f"opening {path}")
        super().__init__(out[0], str(path))

    def identify(self) -> FileIdentity:
        """Return what identifies the file at this moment."""
        out = ffi.new("rep_io_file_identity *")
        _check(lib.rep_io_file_identify(self.pointer, out), f"looking at {self.name}")
        return FileIdentity(
            device=out.device,
            inode=out.inode,
            size_bytes=out.size_bytes,
            mtime_ns=out.mtime_ns,
            ctime_ns=out.ctime_ns,
        )


class MemoryIo(Io):
    """Zero-filled private memory."""

    def __init__(self, size_bytes: int) -> None:
        out = ffi.new("rep_io **")
        _check(lib.rep_io_memory_new(size_bytes, out), "making memory storage")
        super().__init__(out[0], "memory")


class OverlayIo(Io):
    """A copy-on-write look at `base`, which it never writes (INV-4)."""

    def __init__(self, base: Io) -> None:
        out = ffi.new("rep_io **")
        _check(lib.rep_overlay_new(base.pointer, out), f"making a view of {base.name}")
        super().__init__(out[0], f"view of {base.name}", keep=base)

    @property
    def dirty_bytes(self) -> int:
        """Bytes held privately so far."""
        return int(lib.rep_overlay_dirty_bytes(self.pointer))


class VolatileIo(Io):
    """Keeps unflushed writes of `base` apart, can lose them, and fails on demand.

    The fault model is the contract at the top of `csrc/rep_volatile.h`.
    """

    def __init__(self, base: Io) -> None:
        out = ffi.new("rep_io **")
        _check(lib.rep_volatile_new(base.pointer, out), f"making {base.name} volatile")
        super().__init__(out[0], base.name, keep=base)

    def lose(self, *, seed: int, keep_one_in: int = 0, tear: bool = False) -> None:
        """Lose power: unflushed writes are kept or lost, decided by `seed`."""
        code = lib.rep_volatile_lose(self.pointer, seed, keep_one_in, int(tear))
        _check(code, f"losing power of {self.name}")

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


# --- bitmaps -------------------------------------------------------------------------------------


class Bitmap(_Owned):
    """One bit per chunk. Borrowed ones belong to a link or a volume, kept alive by `keep`."""

    def __init__(self, bit_count: int, *, pointer: Any = None, keep: object = None) -> None:
        self._keep = keep
        if pointer is not None:
            super().__init__(pointer, lambda _pointer: None)
            return
        out = ffi.new("rep_bitmap **")
        code = lib.rep_bitmap_new(bit_count, out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(f"a bitmap can't have {bit_count} bits")
        _check(code, "making a bitmap")
        super().__init__(out[0], lib.rep_bitmap_free)

    def __len__(self) -> int:
        return int(lib.rep_bitmap_size(self.pointer))

    def set(self, first: int, count: int = 1) -> None:
        """Set bits. OutOfRangeError: nothing was set."""
        _check(lib.rep_bitmap_set(self.pointer, first, count), "setting bits")

    def clear(self, first: int, count: int = 1) -> None:
        """Clear bits. OutOfRangeError: nothing was cleared."""
        _check(lib.rep_bitmap_clear(self.pointer, first, count), "clearing bits")

    def test(self, index: int) -> bool:
        """Whether the bit is set."""
        return bool(_check(lib.rep_bitmap_test(self.pointer, index), "testing a bit"))

    def fill(self) -> None:
        """Set all bits."""
        lib.rep_bitmap_fill(self.pointer)

    def any(self) -> bool:
        """Whether a bit is set."""
        return bool(lib.rep_bitmap_any(self.pointer))

    def count(self) -> int:
        """How many bits are set."""
        return int(lib.rep_bitmap_count(self.pointer))

    def update(self, other: Bitmap) -> None:
        """OR `other` in."""
        self._operate(lib.rep_bitmap_or, other)

    def intersection_update(self, other: Bitmap) -> None:
        """AND with `other`."""
        self._operate(lib.rep_bitmap_and, other)

    def difference_update(self, other: Bitmap) -> None:
        """Clear what is set in `other` (ANDNOT)."""
        self._operate(lib.rep_bitmap_andnot, other)

    def symmetric_difference_update(self, other: Bitmap) -> None:
        """XOR with `other`."""
        self._operate(lib.rep_bitmap_xor, other)

    def _operate(self, operation: Callable[[Any, Any], int], other: Bitmap) -> None:
        if operation(self.pointer, other.pointer):
            raise InvalidArgumentError(f"bitmaps of {len(self)} and {len(other)} bits don't match")

    def runs(self) -> Iterator[tuple[int, int]]:
        """Yield (first, count) of every run of set bits, ascending."""
        capacity = 1024
        firsts = ffi.new("uint64_t[]", capacity)
        counts = ffi.new("uint64_t[]", capacity)
        resume = ffi.new("uint64_t *", 0)
        size = len(self)
        while resume[0] < size:
            got = lib.rep_bitmap_runs(self.pointer, resume[0], firsts, counts, capacity, resume)
            for index in range(_check(got, "reading runs")):
                yield int(firsts[index]), int(counts[index])


@dataclass(frozen=True, slots=True, kw_only=True)
class BitmapKey:
    """What a bitmap file is bound to: 16-byte keys, geometry, data identifier."""

    system_key: bytes
    volume_key: bytes
    row_key: bytes
    bit_count: int
    chunk_bytes: int
    data_id: int


def _native_key(key: BitmapKey) -> Any:
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


class BitmapFile(_Owned):
    """A bitmap on disk. See `csrc/rep_bitmap_file.h` for the format's contract."""

    def __init__(self, pointer: Any, path: Path) -> None:
        self.path = path
        super().__init__(pointer, lib.rep_bitmap_file_free)

    @classmethod
    def create(cls, path: Path, key: BitmapKey, *, marked_open: bool) -> BitmapFile:
        """Make the file with all bits clear. The directory's entry isn't made durable here."""
        out = ffi.new("rep_bitmap_file **")
        name = os.fsencode(path)
        code = lib.rep_bitmap_file_create(name, _native_key(key), int(marked_open), out)
        _check(code, f"creating bitmap file {path}")
        return cls(out[0], path)

    @classmethod
    def open(cls, path: Path, key: BitmapKey) -> BitmapFile:
        """Open and check against `key`. BitmapFileError says what is wrong with it."""
        out = ffi.new("rep_bitmap_file **")
        code = lib.rep_bitmap_file_open(os.fsencode(path), _native_key(key), out)
        if -code in _BITMAP_FAULTS:
            raise BitmapFileError(f"cannot use bitmap file {path}: {_BITMAP_FAULTS[-code]}")
        _check(code, f"opening bitmap file {path}")
        return cls(out[0], path)

    @property
    def marked_open(self) -> bool:
        """Whether its last user didn't close cleanly."""
        return bool(lib.rep_bitmap_file_marked_open(self.pointer))

    def load(self, bitmap: Bitmap) -> None:
        """OR the stored bits into `bitmap`. BitmapFileError: a page is torn; its bits are set."""
        code = lib.rep_bitmap_file_load(self.pointer, bitmap.pointer)
        if code == -errno.EBADMSG:
            raise BitmapFileError(f"cannot use bitmap file {self.path}: a page is corrupt")
        _check(code, f"reading bitmap file {self.path}")

    def save(self, first: Bitmap, second: Bitmap | None = None) -> None:
        """Write first OR second; durable when it returns."""
        other = ffi.NULL if second is None else second.pointer
        code = lib.rep_bitmap_file_save(self.pointer, first.pointer, other)
        _check(code, f"writing bitmap file {self.path}")

    def mark_open(self) -> None:
        """Set the open mark, durably."""
        _check(lib.rep_bitmap_file_mark_open(self.pointer), f"marking {self.path} open")

    def mark_closed(self, data_id: int) -> None:
        """Clear the open mark and set the data identifier, durably."""
        code = lib.rep_bitmap_file_mark_closed(self.pointer, data_id)
        _check(code, f"marking {self.path} closed")


# --- volumes and links ---------------------------------------------------------------------------


class LinkMode(enum.IntEnum):
    """What a link does with a write."""

    IDLE = lib.REP_LINK_IDLE
    MARK = lib.REP_LINK_MARK
    FORWARD = lib.REP_LINK_FORWARD
    SHIP = lib.REP_LINK_SHIP


class Ack(enum.IntEnum):
    """When a shipped write is acknowledged."""

    QUEUED = lib.REP_ACK_QUEUED
    RECEIVED = lib.REP_ACK_RECEIVED
    DURABLE = lib.REP_ACK_DURABLE


class Fence(enum.IntFlag):
    """What hosts may not do because of the volume's role."""

    NONE = lib.REP_FENCE_NONE
    WRITES = lib.REP_FENCE_WRITES
    READS = lib.REP_FENCE_READS


class Tree(_Owned):
    """Gate and range locks of volumes joined by local pairs. Close it after its volumes."""

    def __init__(self, tree_id: int) -> None:
        out = ffi.new("rep_tree **")
        _check(lib.rep_tree_new(tree_id, out), "making a tree")
        super().__init__(out[0], lib.rep_tree_free)
        self.tree_id = tree_id


class _Scratch(threading.local):
    """Per thread: what a write's out-parameters need, allocated once."""

    def __init__(self) -> None:
        self.ticket = ffi.new("rep_ticket *")
        self.done = ffi.new("uint64_t *")


_scratch = _Scratch()


class VolumeCore(_Owned):
    """A volume at work. `wake` ends its waits (close); `name` is for messages."""

    def __init__(self, io: Io, tree: Tree, *, name: str, wake: Wake) -> None:
        out = ffi.new("rep_volume **")
        _check(lib.rep_volume_new(io.pointer, tree.pointer, out), f"opening volume {name}")
        super().__init__(out[0], lib.rep_volume_free)
        self.name = name
        self.io = io
        self.tree = tree
        self.wake = wake
        self._trees = [tree]

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return int(lib.rep_volume_size(self.pointer))

    def pread_into(self, buffer: bytearray | memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on. FencedError: its content is inconsistent."""
        target = ffi.from_buffer(buffer, require_writable=True)
        code = lib.rep_volume_pread(self.pointer, target, len(buffer), offset)
        if code:
            raise self._refusal(code, "reading", offset, len(buffer))

    def pwrite(self, data: Buffer, offset: int, *, token: int = 0, ack_timeout_s: float) -> None:
        """Write `data`; return when its synchronous mirrors have acknowledged, or were given up."""
        source = ffi.from_buffer(data)

        def call(done: int, deadline: int, out: Any) -> int:
            return int(
                lib.rep_volume_pwrite(
                    self.pointer,
                    source + done,
                    len(source) - done,
                    offset + done,
                    token,
                    deadline,
                    self.wake.pointer,
                    _scratch.ticket,
                    out,
                )
            )

        self._write("writing", call, len(source), offset, ack_timeout_s)

    def zero(self, length: int, offset: int, *, token: int = 0, ack_timeout_s: float) -> None:
        """Make the range read as zeros."""
        self._wipe("zeroing", lib.rep_volume_zero, length, offset, token, ack_timeout_s)

    def trim(self, length: int, offset: int, *, token: int = 0, ack_timeout_s: float) -> None:
        """Say that the range isn't needed; it reads as zeros."""
        self._wipe("trimming", lib.rep_volume_trim, length, offset, token, ack_timeout_s)

    def _wipe(
        self,
        verb: str,
        operation: Callable[..., int],
        length: int,
        offset: int,
        token: int,
        ack_timeout_s: float,
    ) -> None:
        def call(done: int, deadline: int, out: Any) -> int:
            wake, ticket = self.wake.pointer, _scratch.ticket
            return operation(
                self.pointer, length - done, offset + done, token, deadline, wake, ticket, out
            )

        self._write(verb, call, length, offset, ack_timeout_s)

    def _write(
        self,
        verb: str,
        call: Callable[[int, int, Any], int],
        length: int,
        offset: int,
        ack_timeout_s: float,
    ) -> None:
        ticket, out = _scratch.ticket, _scratch.done
        ticket.count = 0
        done = 0
        while True:
            code = call(done, time.monotonic_ns() + _SLICE_NS, out)
            done += out[0]
            if code != -errno.ETIMEDOUT:
                break
        if ticket.count:
            self._acknowledged(ticket, ack_timeout_s)
        if code:
            raise self._refusal(code, verb, offset, length)

    def _acknowledged(self, ticket: Any, ack_timeout_s: float) -> None:
        """Wait for the peers; past the time-out the path counts as lost and the write as marked."""
        wake = self.wake.pointer

        def wait(deadline: int) -> int:
            return int(lib.rep_ticket_wait(ticket, deadline, wake))

        code = _in_slices(wait, ack_timeout_s)
        if code == -errno.ETIMEDOUT:
            lib.rep_ticket_give_up(ticket)
        elif code:
            ticket.count = 0
            raise _error(code, f"waiting for the mirror of volume {self.name}")

    def flush(self, *, ack_timeout_s: float) -> None:
        """Make the volume durable, and its mirrors in mode durable too."""
        ticket = _scratch.ticket
        ticket.count = 0
        _check(lib.rep_volume_flush(self.pointer, ticket), f"flushing volume {self.name}")
        if ticket.count:
            self._acknowledged(ticket, ack_timeout_s)

    def _refusal(self, code: int, verb: str, offset: int, length: int) -> PyrepError:
        what = f"{verb} volume {self.name}"
        match -code:
            case errno.ERANGE:
                return OutOfRangeError(
                    f"cannot go on {what}: bytes {offset}…{offset + length} reach past its end "
                    f"at {self.size_bytes}"
                )
            case errno.EROFS:
                return FencedError(
                    f"cannot go on {what}: it is the target of a pair or a generation",
                    hint="write to the pair's source, or dissolve the pair",
                )
            case errno.EBUSY:
                return FencedError(
                    f"cannot go on {what}: a restore holds it",
                    hint="wait until the workflow is done, or abandon it",
                )
            case errno.ESTALE:
                return FencedError(
                    f"cannot go on {what}: it is the target of a running copy and inconsistent",
                    hint="wait until the pair is DUPLEX",
                )
        return _error(code, what)

    def fence(self, fence: Fence) -> None:
        """Set the role fence; no write of the old rule is under way when it returns."""
        what = f"fencing volume {self.name}"
        _check(lib.rep_volume_fence(self.pointer, int(fence), _NO_DEADLINE, ffi.NULL), what)

    def lease(self, token: int) -> None:
        """Let only writes with `token` in; 0 lets everybody in."""
        what = f"fencing volume {self.name}"
        _check(lib.rep_volume_lease(self.pointer, token, _NO_DEADLINE, ffi.NULL), what)

    def epochs(self) -> list[tuple[int, Bitmap]]:
        """Return the intervals of shared marks as (sequence, borrowed bitmap), ascending."""
        count = lib.rep_volume_epoch_count(self.pointer)
        return [
            (
                int(lib.rep_volume_epoch_sequence(self.pointer, index)),
                Bitmap(0, pointer=lib.rep_volume_epoch_bitmap(self.pointer, index), keep=self),
            )
            for index in range(count)
        ]

    def push_epoch(self, chunk_bytes: int, sequence: int) -> None:
        """Append an empty interval: for restoring what a clean close saved."""
        code = lib.rep_volume_epoch_push(self.pointer, chunk_bytes, sequence)
        _check(code, f"restoring marks of volume {self.name}")

    def moved_to(self, tree: Tree) -> None:
        """Remember the tree that `Tree` moves have put it in; the old one stays alive with it."""
        self._trees.append(tree)
        self.tree = tree


def move_volumes(volumes: Sequence[VolumeCore], source: Tree, target: Tree) -> None:
    """Move volumes between trees with both gates closed."""
    if source is target:
        return
    array = ffi.new("rep_volume *[]", [volume.pointer for volume in volumes])
    code = lib.rep_volumes_move(array, len(volumes), source.pointer, target.pointer)
    _check(code, "joining trees")
    for volume in volumes:
        volume.moved_to(target)


class VolumeIo(Io):
    """A volume as storage for a file system: every write takes the tracked path."""

    def __init__(self, volume: VolumeCore, *, token: int = 0, ack_timeout_s: float) -> None:
        out = ffi.new("rep_io **")
        timeout_ns = int(ack_timeout_s * 1e9)
        wake = volume.wake.pointer
        code = lib.rep_volume_io_new(volume.pointer, token, timeout_ns, wake, out)
        _check(code, f"opening volume {volume.name}")
        super().__init__(out[0], f"volume {volume.name}", keep=volume)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkInfo:
    """What a link is doing. `broken` is the positive errno that ended its work, or 0."""

    mode: LinkMode
    broken: int
    epoch_start: int
    any_pending: bool
    any_unsettled: bool


class LinkCore(_Owned):
    """One row of a volume at work."""

    def __init__(self, volume: VolumeCore, *, chunk_bytes: int, shares_marks: bool) -> None:
        out = ffi.new("rep_link **")
        code = lib.rep_link_new(volume.pointer, chunk_bytes, int(shares_marks), out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(
                f"volume {volume.name} can't have a pair with chunks of {chunk_bytes} bytes",
                hint="all local pairs of one source volume use one chunk size",
            )
        _check(code, f"opening a pair of volume {volume.name}")
        super().__init__(out[0], lib.rep_link_free)
        self.volume = volume
        self.chunk_bytes = chunk_bytes
        self._what = f"switching a pair of volume {volume.name}"
        self._keep: object = None

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
            epoch_start=out.epoch_start,
            any_pending=bool(out.any_pending),
            any_unsettled=bool(out.any_unsettled),
        )

    def pending_count(self) -> int:
        """Return the count of pending chunks, shared marks included."""
        out = ffi.new("uint64_t *")
        _check(lib.rep_link_pending_count(self.pointer, out), "counting pending chunks")
        return int(out[0])

    def cover(self) -> Bitmap:
        """Return a new bitmap: pending, unsettled and shared marks together."""
        bitmap = Bitmap(self.chunk_count)
        _check(lib.rep_link_collect(self.pointer, bitmap.pointer), "collecting pending chunks")
        return bitmap

    def idle(self) -> None:
        """Do nothing with writes: the volume is a target."""
        _check(lib.rep_link_idle(self.pointer), self._what)

    def mark(self) -> None:
        """Mark writes as pending."""
        _check(lib.rep_link_mark(self.pointer), self._what)

    def mark_from(self, epoch_start: int) -> None:
        """Mark, owning restored shared marks from `epoch_start` on (0: from now on)."""
        _check(lib.rep_link_mark_from(self.pointer, epoch_start), self._what)

    def forward(self, target: LinkCore) -> None:
        """Write everything to the volume of `target`, its row at the other side, too."""
        code = lib.rep_link_forward(self.pointer, target.volume.pointer, target.pointer)
        _check(code, self._what)
        self._keep = target

    def ship(self, stream: Stream, channel: int, ack: Ack) -> None:
        """Append everything to `stream`."""
        _check(lib.rep_link_ship(self.pointer, stream.pointer, channel, int(ack)), self._what)
        self._keep = stream

    def clean(self) -> None:
        """Forget everything pending: both sides are known to be equal."""
        _check(lib.rep_link_clean(self.pointer), self._what)

    def break_off(self, errno_code: int) -> None:
        """End the link's work; everything unsettled becomes pending."""
        lib.rep_link_break(self.pointer, -errno_code)

    def settle(self) -> None:
        """Make the local target durable and drop what was unsettled."""
        code = lib.rep_link_settle(self.pointer)
        _check(code, f"flushing a mirror of volume {self.volume.name}")


# --- streams -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameInfo:
    """Header of a checked frame."""

    stream_id: int
    attempt: int
    first_number: int
    record_count: int
    body_bytes: int


def check_frame(frame: Buffer) -> FrameInfo:
    """Check a frame's structure, all records included; not its digest.

    Raises:
        WireError: malformed, or of a version that isn't spoken here.
    """
    out = ffi.new("rep_frame_info *")
    code = lib.rep_frame_check(ffi.from_buffer(frame), len(frame), out)
    if code:
        why = "an unknown version" if code == -errno.EPROTO else "malformed"
        raise WireError(f"cannot take a frame of {len(frame)} bytes: {why}")
    return FrameInfo(
        stream_id=out.stream_id,
        attempt=out.attempt,
        first_number=out.first_number,
        record_count=out.record_count,
        body_bytes=out.body_bytes,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamInfo:
    """State of an outgoing stream. Numbers of records; sizes in bytes."""

    open: bool
    corked: bool
    attempt: int
    last: int
    taken: int
    received: int
    durable: int
    queued_bytes: int
    queued_peak_bytes: int
    frame_bytes: int


class Stream(_Owned):
    """The ordered outgoing stream to one (remote system, consistency group)."""

    def __init__(self, stream_id: int, *, capacity_bytes: int) -> None:
        out = ffi.new("rep_stream **")
        code = lib.rep_stream_new(stream_id, capacity_bytes, out)
        if code == -errno.EINVAL:
            raise InvalidArgumentError(f"a queue of {capacity_bytes} bytes is under 4 MiB")
        _check(code, "making a stream")
        super().__init__(out[0], lib.rep_stream_free)

    def open(self, attempt: int) -> int:
        """Begin a connection; return the number of the first record it will carry."""
        out = ffi.new("uint64_t *")
        _check(lib.rep_stream_open(self.pointer, attempt, out), "opening a stream")
        return int(out[0])

    def break_off(self, errno_code: int = errno.EPIPE) -> None:
        """End the connection: everything unsettled becomes pending, every wait ends."""
        lib.rep_stream_break(self.pointer, -errno_code)

    def take_into(self, frame: Any, timeout_s: float, wake: Wake) -> int:
        """Fill `frame` (a cffi buffer of FRAME_BYTES); return its length, 0 at the time-out.

        Raises:
            PathLostError: the stream isn't open.
            CancelledError: `wake` was raised.
        """
        out = ffi.new("uint64_t *")
        deadline = _deadline(timeout_s)
        code = lib.rep_stream_take(self.pointer, frame, deadline, wake.pointer, out)
        if code == -errno.ETIMEDOUT:
            return 0
        _check(code, "taking a frame")
        return int(out[0])

    def ack(self, attempt: int, received: int, durable: int) -> None:
        """Take the peer's two numbers; those of an older attempt are ignored."""
        code = lib.rep_stream_ack(self.pointer, attempt, received, durable)
        if code == -errno.EBADMSG:
            raise WireError(f"acknowledged record {received}/{durable} was never sent")

    def barrier(self) -> None:
        """Ask the peer to make durable what was sent so far."""
        lib.rep_stream_barrier(self.pointer)

    def wait(self, number: int, ack: Ack, *, timeout_s: float, wake: Wake | None = None) -> None:
        """Wait until record `number` is acknowledged.

        Raises:
            TimedOutError, CancelledError, PathLostError.
        """
        pointer, handle = self.pointer, _wake(wake)

        def call(deadline: int) -> int:
            return int(lib.rep_stream_wait(pointer, number, int(ack), deadline, handle))

        _check(_in_slices(call, timeout_s), f"waiting for record {number}")

    def uncork(self) -> None:
        """Let go what a cut holds back."""
        lib.rep_stream_uncork(self.pointer)

    def info(self) -> StreamInfo:
        """Return its state."""
        out = ffi.new("rep_stream_info *")
        lib.rep_stream_info_get(self.pointer, out)
        return StreamInfo(
            open=bool(out.open),
            corked=bool(out.corked),
            attempt=out.attempt,
            last=out.last,
            taken=out.taken,
            received=out.received,
            durable=out.durable,
            queued_bytes=out.queued_bytes,
            queued_peak_bytes=out.queued_peak_bytes,
            frame_bytes=out.frame_bytes,
        )


def new_frame_buffer() -> tuple[Any, memoryview]:
    """Return a buffer for `Stream.take_into` and the memory behind it."""
    buffer = ffi.new("uint8_t[]", FRAME_BYTES)
    return buffer, memoryview(ffi.buffer(buffer))


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyInfo:
    """What an incoming stream has applied and made durable, as record numbers."""

    attempt: int
    applied: int
    durable: int


class Apply(_Owned):
    """The incoming side of a stream."""

    def __init__(self, stream_id: int) -> None:
        out = ffi.new("rep_apply **")
        _check(lib.rep_apply_new(stream_id, out), "making an incoming stream")
        super().__init__(out[0], lib.rep_apply_free)
        self.stream_id = stream_id
        self._links: dict[int, LinkCore] = {}

    def start(self, attempt: int, next_number: int) -> None:
        """Begin a connection. WireError: not newer than the last one."""
        if lib.rep_apply_start(self.pointer, attempt, next_number):
            raise WireError(f"attempt {attempt} isn't newer than the last one")

    def bind(self, channel: int, link: LinkCore) -> None:
        """Let records of `channel` come through `link`."""
        code = lib.rep_apply_bind(self.pointer, channel, link.pointer)
        if code == -errno.EEXIST:
            raise RefusedError(f"channel {channel} is bound already")
        _check(code, f"binding channel {channel}")
        self._links[channel] = link

    def unbind(self, channel: int) -> None:
        """Take no more records of `channel`; waits for a frame in progress."""
        lib.rep_apply_unbind(self.pointer, channel)
        self._links.pop(channel, None)

    def unbind_all(self) -> None:
        """Unbind every channel."""
        for channel in list(self._links):
            self.unbind(channel)

    def unbind_link(self, link: LinkCore) -> None:
        """Unbind every channel that comes through `link`."""
        for channel in [number for number, one in self._links.items() if one is link]:
            self.unbind(channel)

    def frame(self, frame: Buffer, wake: Wake) -> bool:
        """Apply a frame whose digest was checked; return whether it held a barrier.

        Raises:
            WireError: malformed or out of turn; it had no effect.
            CancelledError: it was applied in part, as `info` tells.
        """
        barrier = ffi.new("int *")
        source = ffi.from_buffer(frame)
        code = lib.rep_apply_frame(self.pointer, source, len(source), wake.pointer, barrier)
        if code == -errno.ECANCELED:
            raise _error(code, "applying a frame")
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

    def take_errors(self) -> dict[int, tuple[LinkCore, int]]:
        """Return and forget, of each channel whose volume failed, the link and positive errno."""
        found = {}
        for channel, link in list(self._links.items()):
            code = -lib.rep_apply_take_error(self.pointer, channel)
            if code:
                found[channel] = (link, code)
        return found


# --- copies and cuts -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyProgress:
    """Bytes of chunks sent so far, and of these sent as zeros."""

    copied_bytes: int
    zero_bytes: int


class Copier(_Owned):
    """Sends what is pending in a link's row. Used by one thread at a time."""

    def __init__(self, link: LinkCore) -> None:
        out = ffi.new("rep_copier **")
        _check(lib.rep_copier_new(link.pointer, out), "making a copier")
        super().__init__(out[0], lib.rep_copier_free)
        self._link = link
        self._progress = ffi.new("rep_copy_progress *")

    def run(self, most_bytes: int, wake: Wake) -> bool:
        """Send about `most_bytes`; return whether more is pending.

        Raises:
            PathLostError: the link broke (see its info).
            CancelledError: `wake` was raised.
            DeviceError: the source couldn't be read; the chunk is pending again.
        """
        pointer, handle, progress = self.pointer, wake.pointer, self._progress

        def call(deadline: int) -> int:
            return int(lib.rep_copier_run(pointer, most_bytes, deadline, handle, progress))

        return bool(_check(_in_slices(call, None), f"copying volume {self._link.volume.name}"))

    @property
    def progress(self) -> CopyProgress:
        """What it has sent."""
        return CopyProgress(
            copied_bytes=self._progress.copied_bytes, zero_bytes=self._progress.zero_bytes
        )


class CutVerb(enum.IntEnum):
    """What a cut does with an item."""

    GATE = lib.REP_CUT_GATE
    SPLIT = lib.REP_CUT_SPLIT
    CORK = lib.REP_CUT_CORK
    CORK_RELEASE = lib.REP_CUT_CORK_RELEASE
    APPLIED = lib.REP_CUT_APPLIED


@dataclass(frozen=True, slots=True, kw_only=True)
class CutItem:
    """One part of a cut: a volume's gate, a link to split, a stream to cork, a number to check."""

    verb: CutVerb
    on: VolumeCore | LinkCore | Stream | Apply
    number: int = 0


def group_cut(items: Sequence[CutItem], *, timeout_s: float, wake: Wake) -> tuple[list[int], float]:
    """Do all items at one point of the order of writes (INV-6), or none.

    Returns:
        The number of each item (for CORK: the point), and how long the gates were closed, in ms.

    Raises:
        RefusedError: an item can't be done now; the message names it. Nothing has changed.
        PathLostError, TimedOutError, CancelledError: nothing has changed.
    """
    native = ffi.new("rep_cut_item[]", len(items))
    for index, item in enumerate(items):
        native[index].verb = int(item.verb)
        native[index].number = item.number
        match item.on:
            case VolumeCore():
                native[index].volume = item.on.pointer
            case LinkCore():
                native[index].link = item.on.pointer
            case Stream():
                native[index].stream = item.on.pointer
            case Apply():
                native[index].apply = item.on.pointer
    closed = ffi.new("uint64_t *")
    failed = ffi.new("int *")

    def call(deadline: int) -> int:
        return int(lib.rep_group_cut(native, len(items), deadline, wake.pointer, closed, failed))

    code = _in_slices(call, timeout_s)
    if code in {-errno.EBUSY, -errno.EALREADY, -errno.EAGAIN}:
        name = items[failed[0]].verb.name if failed[0] >= 0 else "GATE"
        raise RefusedError(
            f"cannot cut: item {failed[0]} ({name}) isn't ready: {os.strerror(-code)}"
        )
    _check(code, "cutting")
    return [int(native[index].number) for index in range(len(items))], closed[0] / 1e6
