"""The files of activity logs: one per volume that has had a pair."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

from pyrep._core import Alog, AlogShape, FileIo, Io
from pyrep.engine.backing import refused, sync_directory
from pyrep.engine.options import Options
from pyrep.errors import DeviceError, FormatError, NotFoundError, PyrepError
from pyrep.meta import VolumeRecord

__all__ = ["LogStore", "is_newer"]

_log = logging.getLogger(__name__)

_COSTS = "rows that weren't closed have everything pending"


def is_newer(error: PyrepError) -> bool:
    """Whether a log can't be used because a newer pyrep wrote it: it isn't damaged."""
    return isinstance(error, FormatError) and "newer" in (error.hint or "")


class LogStore:
    """Where activity logs are and what they are bound to."""

    def __init__(self, directory: Path, system_key: bytes, options: Options) -> None:
        self.directory = directory
        self._system_key = system_key
        self._options = options

    def path_of(self, volume_key: bytes) -> Path:
        """Return the file's path."""
        return self.directory / f"{volume_key.hex()}.log"

    def strays(self, known: set[bytes]) -> list[Path]:
        """Return the files of volumes, by their keys, that there aren't (any more)."""
        names = {self.path_of(key).name for key in known}
        return [path for path in self.directory.glob("*.log") if path.name not in names]

    def shape(self, record: VolumeRecord) -> AlogShape:
        """Return the shape that a volume's log has."""
        return AlogShape(
            system_key=self._system_key,
            volume_key=record.key,
            size_bytes=record.size_bytes,
            region_bytes=self._options.region_bytes,
            hot_regions=self._options.hot_regions,
        )

    def _io(self, path: Path) -> Io:
        return self._options.log_storage(path, FileIo(path))

    def read(self, record: VolumeRecord) -> Alog:
        """Read a volume's log, whatever its shape.

        Raises:
            NotFoundError: there is none.
            FormatError: it says nothing.
        """
        return self._opened(record)

    def _opened(self, record: VolumeRecord) -> Alog:
        io = self._io(self.path_of(record.key))
        try:
            return Alog(io, self.shape(record))
        except BaseException:
            io.close()
            raise

    def make(self, record: VolumeRecord) -> Alog:
        """Put an empty log in place of whatever is there; durable with its name on return.

        Raises:
            FormatError: what is there was written by a newer pyrep. It stays.
            DeviceError: it couldn't be made; nothing has changed, or there is an empty log.
        """
        path = self.path_of(record.key)
        new = path.with_suffix(".new")
        shape = self.shape(record)
        if path.is_file():
            self._check_not_newer(record)
        try:
            self._make(new, path, shape)
        except BaseException as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise refused(f"make activity log {path}", error) from error
            raise
        return self._opened(record)

    def _make(self, new: Path, path: Path, shape: AlogShape) -> None:
        if not self.directory.is_dir():
            self.directory.mkdir()
            sync_directory(self.directory.parent)
        with new.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shape.file_bytes)
        io = FileIo(new)
        try:
            Alog.format(io, shape)
        finally:
            io.close()
        new.rename(path)
        sync_directory(path.parent)

    def _check_not_newer(self, record: VolumeRecord) -> None:
        try:
            log = self.read(record)
        except (FormatError, DeviceError) as error:
            if is_newer(error):
                raise
        else:
            log.close()
            log.io.close()

    def remove(self, volume_key: bytes) -> None:
        """Delete a volume's log. Harmless when there is none."""
        self.path_of(volume_key).unlink(missing_ok=True)

    def try_read(self, record: VolumeRecord) -> Alog | None:
        """Do `read`; None: there is none that says anything, which is logged.

        Raises:
            FormatError: it was written by a newer pyrep, which knows what it says.
        """
        try:
            return self.read(record)
        except NotFoundError:
            _log.warning("alog.missing volume=%s: %s", record.volume_id, _COSTS)
        except (FormatError, DeviceError) as error:
            if is_newer(error):
                raise
            _log.warning("alog.unusable volume=%s: %s; %s", record.volume_id, error, _COSTS)
        return None
