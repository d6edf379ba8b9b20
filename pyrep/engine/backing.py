"""Backing files and block devices: making, locking and recognising them."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from pyrep._core import DeviceIo, FileIo
from pyrep.engine.sysfs import disk_run, serial_of, written_sectors
from pyrep.errors import (
    BackingChangedError,
    DeviceError,
    ExistsError,
    InvalidArgumentError,
    NoSpaceError,
    ReadOnlyError,
)
from pyrep.meta import BackingIdentity, VolumeRecord

__all__ = [
    "Backing",
    "create_file",
    "identity_of",
    "if_lost",
    "open_backing",
    "recognise",
    "refused",
    "same_backing",
    "sync_directory",
]

Backing = FileIo | DeviceIo
"""What a volume stands on."""


def if_lost(path: Path, size_bytes: int) -> str:
    """Return the hint for a volume whose file isn't there."""
    return (
        f"put the file back; if it is lost, make an empty one (truncate -s {size_bytes} {path}) "
        f'for "pyrep system repair", which splits its pairs with everything pending; the rest goes '
        f"on. What it held is in its mirrors: copy back from one (--direction reverse), not to them"
    )


def create_file(path: Path, size_bytes: int) -> None:
    """Make a sparse file of `size_bytes` that isn't there yet; its name is durable on return.

    Raises:
        ExistsError, NoSpaceError, ReadOnlyError, DeviceError: nothing was made.
    """
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise ExistsError(
            f"cannot create {path}: it exists already",
            hint="no volume uses it: attach it, or delete it if an interrupted command left it",
        ) from error
    except OSError as error:
        raise refused(f"create {path}", error) from error
    try:
        os.ftruncate(handle, size_bytes)
        os.fsync(handle)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise refused(f"create {path}", error) from error
    finally:
        os.close(handle)
    sync_directory(path.parent)


def refused(doing: str, error: OSError) -> DeviceError:
    """Return the error to raise when the file system refused: `doing` is a verb and a path."""
    what = f"cannot {doing}: {error.strerror}"
    match error.errno:
        case errno.EPERM | errno.EACCES | errno.EROFS:
            return ReadOnlyError(what, hint="use a directory that this user may write")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return NoSpaceError(what, hint="free some space, or lift the user's limit")
        case _:
            return DeviceError(
                what,
                errno_code=error.errno or errno.EIO,
                hint="is it the disk? the kernel's log (dmesg) tells",
            )


def sync_directory(directory: Path) -> None:
    """Make the directory's names durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_backing(path: Path, size_bytes: int | None = None) -> Backing:
    """Open and lock a backing file or block device, which must have `size_bytes` if that is known.

    Raises:
        InUseError: another volume or process has it; a device is mounted.
        BackingChangedError: another size.
        InvalidArgumentError: neither a regular file nor a block device, or empty.
    """
    io: Backing = DeviceIo(path) if is_device(path) else FileIo(path)
    if io.size_bytes == 0:
        io.close()
        raise InvalidArgumentError(f"cannot use {path} as a volume: it is empty")
    if size_bytes is not None and io.size_bytes != size_bytes:
        found = io.size_bytes
        io.close()
        raise BackingChangedError(
            f"cannot use {path}: it has {found} bytes, the volume has {size_bytes}",
            hint="put the right file or device back",
        )
    return io


def is_device(path: Path) -> bool:
    """Whether the path leads to a block device."""
    try:
        return stat.S_ISBLK(path.stat().st_mode)
    except OSError:
        return False  # opening it says why


def same_backing(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, or to one block device by different nodes."""
    try:
        first, second = one.stat(), other.stat()
    except OSError:
        return False
    if stat.S_ISBLK(first.st_mode) and stat.S_ISBLK(second.st_mode):
        return first.st_rdev == second.st_rdev
    return os.path.samestat(first, second)


def identity_of(io: Backing) -> BackingIdentity:
    """Return what recognises the backing from now on, until somebody changes it."""
    if isinstance(io, DeviceIo):
        device = io.identify()
        number = f"{device.major}:{device.minor}"
        return BackingIdentity(
            device=os.makedev(device.major, device.minor),
            inode=0,
            size_bytes=device.size_bytes,
            mtime_ns=0,
            ctime_ns=0,
            serial=serial_of(number),
            boot=disk_run(device.sequence),
            written=written_sectors(number),
        )
    found = io.identify()
    return BackingIdentity(
        device=found.device,
        inode=found.inode,
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        ctime_ns=found.ctime_ns,
    )


def recognise(record: VolumeRecord, io: Backing, *, closed_cleanly: bool) -> str:
    """Return how the backing differs from what it was at the last clean close, or nothing.

    After an unclean end times and counters say nothing: all bits are pending anyway.
    """
    if record.identity is None:
        return ""
    return difference(record.identity, identity_of(io), closed_cleanly=closed_cleanly)


def difference(then: BackingIdentity, now: BackingIdentity, *, closed_cleanly: bool) -> str:
    """Return how the two differ. A device's counter counts only within one run of one disk."""
    changed = "it was changed since the last clean close"
    if then.serial or now.serial:
        if then.serial != now.serial:
            return "it is another device"
    elif (then.device, then.inode) != (now.device, now.inode):
        return "it is another file or device"
    if not closed_cleanly:
        return ""
    if (then.mtime_ns, then.ctime_ns) != (now.mtime_ns, now.ctime_ns):
        return changed
    return changed if then.boot == now.boot and then.written != now.written else ""
