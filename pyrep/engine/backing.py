"""Backing files: making, locking and recognising them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from pyrep._core import FileIo
from pyrep.errors import (
    BackingChangedError,
    DeviceError,
    ExistsError,
    InvalidArgumentError,
    NoSpaceError,
    ReadOnlyError,
)
from pyrep.meta import BackingIdentity, VolumeRecord

__all__ = ["create_file", "identity_of", "open_backing", "recognise", "refused", "sync_directory"]


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
            return DeviceError(what, errno_code=error.errno or errno.EIO)


def sync_directory(directory: Path) -> None:
    """Make the directory's names durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_backing(path: Path, size_bytes: int | None = None) -> FileIo:
    """Open and lock a backing file, which must have `size_bytes` if that is known.

    Raises:
        InUseError: another volume or process has it.
        BackingChangedError: another size.
        InvalidArgumentError: not a regular file, or empty.
    """
    io = FileIo(path)
    if io.size_bytes == 0:
        io.close()
        raise InvalidArgumentError(f"cannot use {path} as a volume: it is empty")
    if size_bytes is not None and io.size_bytes != size_bytes:
        found = io.size_bytes
        io.close()
        raise BackingChangedError(
            f"cannot use {path}: it has {found} bytes, the volume has {size_bytes}",
            hint="put the right file back",
        )
    return io


def identity_of(io: FileIo) -> BackingIdentity:
    """Return what recognises the file from now on, until somebody changes it."""
    found = io.identify()
    return BackingIdentity(
        device=found.device,
        inode=found.inode,
        size_bytes=found.size_bytes,
        mtime_ns=found.mtime_ns,
        ctime_ns=found.ctime_ns,
    )


def recognise(record: VolumeRecord, io: FileIo, *, closed_cleanly: bool) -> str:
    """Return how the file differs from what it was at the last clean close, or nothing.

    After an unclean end the times say nothing: all bits are pending anyway.
    """
    then, now = record.identity, identity_of(io)
    if then is None:
        return ""
    if (then.device, then.inode) != (now.device, now.inode):
        return "it is another file"
    if closed_cleanly and (then.mtime_ns, then.ctime_ns) != (now.mtime_ns, now.ctime_ns):
        return "it was changed since the last clean close"
    return ""
