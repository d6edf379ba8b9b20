"""The files of activity logs: one per volume that has had a pair."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pyrep._core import Alog, AlogShape, FileIo, Io
from pyrep.engine.backing import refused, sync_directory
from pyrep.engine.options import Options
from pyrep.errors import DeviceError, FormatError, NotFoundError
from pyrep.meta import VolumeRecord

__all__ = ["LogStore"]

_log = logging.getLogger(__name__)


class LogStore:
    """Where activity logs are and what they are bound to."""

    def __init__(self, directory: Path, system_key: bytes, options: Options) -> None:
        self.directory = directory
        self._system_key = system_key
        self._options = options

    def path_of(self, volume_key: bytes) -> Path:
        """Return the file's path."""
        return self.directory / f"{volume_key.hex()}.log"

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
        return Alog(self._io(self.path_of(record.key)), self.shape(record))

    def make(self, record: VolumeRecord) -> Alog:
        """Put an empty log in place of whatever is there; durable with its name on return."""
        path = self.path_of(record.key)
        new = path.with_suffix(".new")
        shape = self.shape(record)
        try:
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
        except OSError as error:
            new.unlink(missing_ok=True)
            raise refused(f"make activity log {path}", error) from error
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
        return Alog(self._io(path), shape)

    def remove(self, volume_key: bytes) -> None:
        """Delete a volume's log. Harmless when there is none."""
        self.path_of(volume_key).unlink(missing_ok=True)

    def try_read(self, record: VolumeRecord) -> Alog | None:
        """Do `read`; None: there is none that says anything, which is logged."""
        try:
            return self.read(record)
        except NotFoundError:
            _log.warning("alog.missing volume=%s", record.volume_id)
        except (FormatError, DeviceError) as error:
            _log.warning("alog.unusable volume=%s: %s", record.volume_id, error)
        return None
