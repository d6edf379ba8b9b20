"""Exceptions: what failed, on what, why, in the user's names; a hint says what to do.

All stand under `PyrepError`. Each class owns the exit code of a command that ends with it, so that
scripts can tell causes apart without reading messages. Codes are distinct and stable; 2 is usage,
as everywhere.
"""

from __future__ import annotations

import errno
from typing import ClassVar

__all__ = [
    "BackingChangedError",
    "BitmapFileError",
    "BusyError",
    "CancelledError",
    "DamagedFileSystemError",
    "DamagedGenerationError",
    "DeviceError",
    "ExistsError",
    "FencedError",
    "FileSystemError",
    "FormatError",
    "HostAgentError",
    "InUseError",
    "InvalidArgumentError",
    "MirrorLostError",
    "MissingLibraryError",
    "NeedsRecoveryError",
    "NoSpaceError",
    "NotExtError",
    "NotFoundError",
    "NotServedError",
    "OutOfRangeError",
    "PairDiffersError",
    "PathLostError",
    "PathNotInFileSystemError",
    "PyrepError",
    "ReadOnlyError",
    "RefusedError",
    "TimedOutError",
    "UnsupportedFeatureError",
    "WireError",
    "WorkflowError",
    "format_error",
]


class PyrepError(Exception):
    """Report a failure with its cause and, where something can be done, a hint.

    Attributes:
        message: what failed, on what, why; one line, no final full stop.
        hint: what to do about it, or None. It names only what exists.
        exit_code: exit status of a command that ends with this error.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def format_error(error: BaseException) -> str:
    r"""Return the text a person is shown: the message, then "\nhint: ..." if there is one."""
    text = str(error) or type(error).__name__
    hint = error.hint if isinstance(error, PyrepError) else None
    return f"{text}\nhint: {hint}" if hint else text


class InvalidArgumentError(PyrepError):
    """An argument can't be used: a malformed id, a chunk size or a size out of its range."""

    exit_code = 2


class NotFoundError(PyrepError):
    """The volume, pair, group, generation or workflow named isn't there."""

    exit_code = 3


class ExistsError(PyrepError):
    """The id or file is there already; nothing was changed."""

    exit_code = 4


class RefusedError(PyrepError):
    """The command isn't allowed in this state (matrix, cascade guard, role); nothing changed."""

    exit_code = 5


class BusyError(PyrepError):
    """Another command or workflow holds what this one needs; it may be tried again."""

    exit_code = 6


class OutOfRangeError(PyrepError):
    """A byte range reaches past the end of its volume; nothing was read or written."""

    exit_code = 7


class InUseError(PyrepError):
    """A system or a backing file is locked by another process or another volume."""

    exit_code = 8


class NotServedError(PyrepError):
    """No system is served where a command asked for one, or this user may not talk to it."""

    exit_code = 9


class DeviceError(PyrepError):
    """Storage below a volume, a bitmap or the table failed.

    Attributes:
        errno_code: the positive errno of the call that failed.
    """

    exit_code = 10
    default_errno: ClassVar[int] = errno.EIO

    def __init__(
        self, message: str, *, hint: str | None = None, errno_code: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.errno_code = self.default_errno if errno_code is None else errno_code


class NoSpaceError(DeviceError):
    """The file system that holds a file is full, or a target has no room for the files."""

    exit_code = 11
    default_errno = errno.ENOSPC


class ReadOnlyError(DeviceError):
    """A file or its directory can't be written."""

    exit_code = 12
    default_errno = errno.EROFS


class FencedError(PyrepError):
    """Hosts are kept off this volume while a restore runs (INV-5)."""

    exit_code = 13


class MirrorLostError(PyrepError):
    """A write failed because its remote mirror can't be reached (fence level data).

    Nothing was written; or, if the mirror was lost in the middle of it, perhaps, at this side
    alone, and it is pending.
    """

    exit_code = 14


class PathLostError(PyrepError):
    """The other system can't be reached."""

    exit_code = 20


class TimedOutError(PyrepError):
    """A wait ended at its deadline; what it waited for may still happen."""

    exit_code = 21


class CancelledError(PyrepError):
    """The caller cancelled; what was begun can be resumed."""

    exit_code = 22


class WireError(PyrepError):
    """A frame or message from the other system is malformed, damaged or out of turn."""

    exit_code = 23


class BitmapFileError(PyrepError):
    """A bitmap file is truncated, corrupt, or belongs to another volume, row or generation.

    Attributes:
        is_torn: its header or a page isn't whole, as a power loss may leave it.
        is_unreadable: the storage couldn't read it.
    """

    exit_code = 30

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        is_torn: bool = False,
        is_unreadable: bool = False,
    ) -> None:
        super().__init__(message, hint=hint)
        self.is_torn = is_torn
        self.is_unreadable = is_unreadable


class BackingChangedError(PyrepError):
    """A backing file isn't the one, or not as, it was at the last clean close."""

    exit_code = 31


class FormatError(PyrepError):
    """Something durable is corrupt or was written by a newer pyrep."""

    exit_code = 32


class MissingLibraryError(PyrepError):
    """An optional library is missing; the hint names its package."""

    exit_code = 33


class DamagedGenerationError(PyrepError):
    """A generation's bytes aren't those that its digests were computed of."""

    exit_code = 34


class PairDiffersError(PyrepError):
    """The two volumes of a pair differ where nothing says that they may."""

    exit_code = 35


class FileSystemError(PyrepError):
    """A file system inside a volume can't be read or written."""

    exit_code = 40


class NotExtError(FileSystemError):
    """The volume holds no ext2, ext3 or ext4 file system."""

    exit_code = 41


class DamagedFileSystemError(FileSystemError):
    """The file system contradicts itself or is marked as having errors."""

    exit_code = 42


class NeedsRecoveryError(FileSystemError):
    """The file system's journal must be replayed before its files can be trusted."""

    exit_code = 43


class UnsupportedFeatureError(FileSystemError):
    """The file system has a feature that isn't handled; the message names it."""

    exit_code = 44


class PathNotInFileSystemError(FileSystemError):
    """A path or pattern names nothing in the file system, or leads out of it."""

    exit_code = 45


class WorkflowError(PyrepError):
    """A backup or restore stopped; it can be resumed or abandoned.

    Attributes:
        step: the patent's number of the step it stopped at (Fig. 4, 5, 6), or None.
    """

    exit_code = 50

    def __init__(self, message: str, *, hint: str | None = None, step: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step


class HostAgentError(PyrepError):
    """A host's stop, start, unmount, mount or recover action failed or took too long.

    Attributes:
        step: the action's name ("stop", "unmount", ...), or None.
    """

    exit_code = 51

    def __init__(self, message: str, *, hint: str | None = None, step: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.step = step
