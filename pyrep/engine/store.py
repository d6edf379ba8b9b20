"""The bitmap files of a system's rows and marks: one directory, one file per row."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from pyrep._core import Bitmap, BitmapFile, BitmapKey, FileIo, Io
from pyrep.engine.backing import sync_directory
from pyrep.meta import EpochRecord
from pyrep.model import Row, chunk_count

__all__ = ["BitmapStore", "new_data_id", "remove_files"]


def new_data_id() -> int:
    """Return a random identifier that binds bitmap files to one clean close."""
    return secrets.randbits(63) + 1


class BitmapStore:
    """Where bitmap files are and what they are bound to."""

    def __init__(
        self,
        directory: Path,
        system_key: bytes,
        storage: Callable[[Path, Io], Io] | None = None,
    ) -> None:
        self.directory = directory
        self._system_key = system_key
        self._storage = storage

    def path_of(self, row_key: bytes) -> Path:
        """Return the file's path."""
        return self.directory / f"{row_key.hex()}.bitmap"

    def _key(
        self, row_key: bytes, volume_key: bytes, size_bytes: int, chunk_bytes: int, data_id: int
    ) -> BitmapKey:
        return BitmapKey(
            system_key=self._system_key,
            volume_key=volume_key,
            row_key=row_key,
            bit_count=chunk_count(size_bytes, chunk_bytes),
            chunk_bytes=chunk_bytes,
            data_id=data_id,
        )

    def create(self, row: Row, volume_key: bytes, size_bytes: int) -> BitmapFile:
        """Make a row's file, marked open; durable with its name on return."""
        key = self._key(row.row_key, volume_key, size_bytes, row.chunk_bytes, row.data_id)
        file = self._create(self.path_of(row.row_key), key)
        sync_directory(self.directory)
        return file

    def _create(self, path: Path, key: BitmapKey) -> BitmapFile:
        if self._storage is None:
            return BitmapFile.create(path, key, marked_open=True)
        with path.open("xb") as file:
            file.truncate(BitmapFile.bytes_of(key))
        io = self._storage(path, FileIo(path))
        return BitmapFile.create_on(io, path, key, marked_open=True)

    def _open(self, path: Path, key: BitmapKey) -> BitmapFile:
        if self._storage is None or not path.exists():
            return BitmapFile.open(path, key)
        io = self._storage(path, FileIo(path))
        try:
            return BitmapFile.open_on(io, path, key)
        except BaseException:
            io.close()
            raise

    def open(self, row: Row, volume_key: bytes, size_bytes: int) -> BitmapFile:
        """Open a row's file. BitmapFileError: it can't be used."""
        key = self._key(row.row_key, volume_key, size_bytes, row.chunk_bytes, row.data_id)
        return self._open(self.path_of(row.row_key), key)

    def save_epoch(
        self, epoch: EpochRecord, volume_key: bytes, size_bytes: int, marks: Bitmap
    ) -> None:
        """Write one interval's marks into a new file; durable on return."""
        key = self._key(epoch.row_key, volume_key, size_bytes, epoch.chunk_bytes, epoch.data_id)
        path = self.path_of(epoch.row_key)
        with self._create(path, key) as file:
            file.save(marks)
            file.mark_closed(epoch.data_id)
        sync_directory(self.directory)

    def load_epoch(
        self, epoch: EpochRecord, volume_key: bytes, size_bytes: int, marks: Bitmap
    ) -> None:
        """OR one interval's marks in. BitmapFileError: they can't be used."""
        key = self._key(epoch.row_key, volume_key, size_bytes, epoch.chunk_bytes, epoch.data_id)
        with self._open(self.path_of(epoch.row_key), key) as file:
            file.load(marks)

    def remove(self, row_key: bytes) -> None:
        """Delete a file. Harmless when it isn't there."""
        self.path_of(row_key).unlink(missing_ok=True)

    def strays(self, known: set[bytes]) -> list[Path]:
        """Return the files of rows and marks that the table doesn't know (any more)."""
        names = {self.path_of(key).name for key in known}
        return [path for path in self.directory.glob("*.bitmap") if path.name not in names]


def remove_files(paths: Iterable[Path]) -> None:
    """Delete files. Harmless when one isn't there."""
    for path in paths:
        path.unlink(missing_ok=True)
