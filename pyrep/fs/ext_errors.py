"""What libext2fs refuses or fails at, as exceptions: the one table of it."""

from __future__ import annotations

import errno

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

_SOUND = "check it with e2fsck -fn; another generation may be sound"
_SPELLED = "list the directory: is it spelled so there?"
_NAME = "choose another name or kind for it"

_ERRORS: dict[int, tuple[type[PyrepError], str]] = {
    errno.EUCLEAN: (DamagedFileSystemError, _SOUND),
    errno.ERANGE: (DamagedFileSystemError, _SOUND),
    errno.ENOTSUP: (UnsupportedFeatureError, "restore the whole volume, or all but this file"),
    errno.ENOENT: (PathNotInFileSystemError, _SPELLED),
    errno.ENOTDIR: (PathNotInFileSystemError, _SPELLED),
    errno.EEXIST: (ExistsError, "choose another name, or remove what is there"),
    errno.EROFS: (ReadOnlyError, "open it for writing"),
    errno.ENOSPC: (NoSpaceError, "make room in that file system, at its host"),
    errno.EISDIR: (InvalidArgumentError, _NAME),
    errno.EINVAL: (InvalidArgumentError, _NAME),
    errno.ENAMETOOLONG: (InvalidArgumentError, _NAME),
    errno.EOVERFLOW: (InvalidArgumentError, _NAME),
    errno.ENOTEMPTY: (InvalidArgumentError, "remove what is in it first"),
    errno.EMLINK: (FileSystemError, "remove other names of that file first"),
    errno.EFBIG: (FileSystemError, "restore the whole volume, or all but this file"),
}


def make_error(code: int, text: str) -> PyrepError:
    """Return what a call that answered `code`, a negative errno, means."""
    if -code in _ERRORS:
        kind, hint = _ERRORS[-code]
        return kind(text, hint=hint)
    return DeviceError(
        text, errno_code=-code, hint="is it the disk? the kernel's log (dmesg) tells"
    )


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
    return DeviceError(
        f"cannot read {name}: {text}",
        errno_code=-error.code,
        hint="is it the disk? the kernel's log (dmesg) tells; another generation may be sound",
    )
