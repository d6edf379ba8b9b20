"""The directory that a run works in, removed at the end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyrep.errors import DeviceError, ExistsError, NoSpaceError, ReadOnlyError
from pyrep.model import format_bytes

__all__ = ["open_workspace"]


@contextlib.contextmanager
def open_workspace(directory: Path | None, *, room_bytes: int, keep: bool) -> Iterator[Path]:
    """Yield a directory to work in; what is in it is removed at the end.

    Args:
        directory: an empty one, which then stays, or one to be made; None: a temporary one.
        room_bytes: what it needs.
        keep: leave everything where it is.

    Raises:
        ExistsError: it isn't empty, or isn't a directory; nothing was changed.
        ReadOnlyError, DeviceError: it can't be made.
        NoSpaceError: it has less room; nothing was changed.
    """
    is_new = directory is None or not directory.exists()
    path = _make(directory)
    try:
        _check_room(path, room_bytes)
        yield path
    finally:
        if not keep:
            _remove(path, whole=is_new)


def _make(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="pyrep-demo-"))
    where = directory.absolute()
    try:
        where.mkdir(parents=True, exist_ok=True)
        is_empty = not any(where.iterdir())
    except PermissionError as error:
        raise ReadOnlyError(
            f"cannot use {where}: {error.strerror}",
            hint="name a directory that this user may write",
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise ExistsError(
            f"cannot use {where}: it isn't a directory", hint="name an empty directory"
        ) from error
    except OSError as error:
        raise DeviceError(
            f"cannot use {where}: {error.strerror}", errno_code=error.errno
        ) from error
    if not is_empty:
        raise ExistsError(
            f"cannot use {where}: it isn't empty", hint="name an empty directory, or a new one"
        )
    return where


def _check_room(path: Path, room_bytes: int) -> None:
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < room_bytes:
        raise NoSpaceError(
            f"cannot run in {path}: {format_bytes(free_bytes)} are free, "
            f"{format_bytes(room_bytes)} are needed",
            hint="name a directory with more room: --directory",
        )


def _remove(path: Path, *, whole: bool) -> None:
    if whole:
        shutil.rmtree(path, ignore_errors=True)
        return
    for inside in path.iterdir():
        if inside.is_dir() and not inside.is_symlink():
            shutil.rmtree(inside, ignore_errors=True)
        else:
            inside.unlink(missing_ok=True)
