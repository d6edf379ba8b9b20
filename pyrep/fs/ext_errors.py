"""What libext2fs refuses or fails at, as exceptions: the one table of it."""

from __future__ import annotations

import errno
from collections.abc import Callable

from pyrep.errors import (
    DamagedFileSystemError,
    DeviceError,
    ExistsError,
    FileSystemError,
    InvalidArgumentError,
    NeedsRecoveryError,
    NoSpaceError,
    NotExtError,
    PathNotInFileSystemError,
    PyrepError,
    ReadOnlyError,
    UnsupportedFeatureError,
)
from pyrep.fs.ext_library import Native, library

__all__ = ["make_error", "make_refusal"]

_ERRORS: dict[int, Callable[[str], PyrepError]] = {
    errno.EUCLEAN: DamagedFileSystemError,
    errno.ERANGE: DamagedFileSystemError,
    errno.ENOTSUP: UnsupportedFeatureError,
    errno.ENOENT: PathNotInFileSystemError,
    errno.ENOTDIR: PathNotInFileSystemError,
    errno.EEXIST: ExistsError,
    errno.EROFS: ReadOnlyError,
    errno.ENOSPC: NoSpaceError,
    errno.EISDIR: InvalidArgumentError,
    errno.EINVAL: InvalidArgumentError,
    errno.ENAMETOOLONG: InvalidArgumentError,
    errno.EOVERFLOW: InvalidArgumentError,
    errno.ENOTEMPTY: InvalidArgumentError,
    errno.EMLINK: FileSystemError,
    errno.EFBIG: FileSystemError,
}


def make_error(code: int, text: str) -> PyrepError:
    """Return what a call that answered `code`, a negative errno, means."""
    factory = _ERRORS.get(-code)
    if factory:
        return factory(text)
    return DeviceError(text, errno_code=-code)


def make_refusal(error: Native, name: str) -> PyrepError:
    """Return why the file system in the volume `name` can't be opened."""
    ffi, lib = library()
    text = ffi.string(error.text).decode("utf-8", "replace")
    kind = error.refusal
    if kind == lib.REP_EXT_NOT_EXT:
        return NotExtError(
            f"{name} holds no ext2, ext3 or ext4 file system ({text})",
            hint="restore the whole volume, which needs no knowledge of its file system",
        )
    if kind == lib.REP_EXT_NEEDS_RECOVERY:
        return NeedsRecoveryError(
            f"the file system in {name} needs recovery: {text}",
            hint="unmount it cleanly at its host before the backup, or replay its journal with"
            " e2fsck -fy -E journal_only",
        )
    if kind == lib.REP_EXT_UNSUPPORTED:
        hint = "restore the whole volume, which needs no knowledge of its file system"
        if text.endswith("quota with ea_inode"):
            hint = (
                "take quota off at its host (tune2fs -O ^quota) and on again afterwards, which"
                f" counts anew; or {hint}"
            )
        return UnsupportedFeatureError(
            f"the file system in {name} has features that aren't handled: {text}", hint=hint
        )
    if kind == lib.REP_EXT_DAMAGED:
        return DamagedFileSystemError(
            f"the file system in {name} is damaged: {text}",
            hint="check it with e2fsck -fn; another generation may be sound",
        )
    return DeviceError(f"cannot read {name}: {text}", errno_code=-error.code)
