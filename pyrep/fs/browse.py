"""Looking at files: ls, cat, stat and find."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime

from pyrep.errors import InvalidArgumentError
from pyrep.fs.entries import FileKind, FileStat, PathLike, normalize, show
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.select import find_paths
from pyrep.fs.tree import FileTree

__all__ = ["PIECE_BYTES", "FileBrowser"]

PIECE_BYTES = 1 << 20
"""Bytes that `cat` yields at a time, by default."""


class FileBrowser:
    """The files of one volume, for reading. Paths are bytes or str; names come back as bytes."""

    def __init__(self, fs: ExtFileSystem) -> None:
        self._fs = fs

    @property
    def fs(self) -> ExtFileSystem:
        """The file system below: by offset, by inode, with attributes."""
        return self._fs

    def stat(self, path: PathLike) -> FileStat:
        """Return what is known of a file. A symbolic link isn't followed.

        Raises:
            PathNotInFileSystemError: there is no such path.
        """
        return self._fs.stat(path)

    def ls(self, path: PathLike = b"/") -> tuple[FileStat, ...]:
        """Return what lies in a directory, ordered by name; of another file, the file itself.

        Raises:
            PathNotInFileSystemError: there is no such path.
        """
        stat = self._fs.stat(path)
        if stat.kind is not FileKind.DIRECTORY:
            return (stat,)
        return tuple(sorted(self._fs.list(path), key=lambda one: one.path))

    def cat(
        self,
        path: PathLike,
        *,
        offset: int = 0,
        length: int | None = None,
        piece_bytes: int = PIECE_BYTES,
    ) -> Iterator[bytes]:
        """Yield a regular file's bytes piece by piece, from `offset`, at most `length`.

        Raises:
            PathNotInFileSystemError: there is no such path (when the first piece is asked for).
            InvalidArgumentError: it isn't a regular file, or a number is negative.
        """
        stat = self._fs.stat(path)
        if stat.kind is not FileKind.REGULAR:
            raise InvalidArgumentError(
                f"{show(stat.path)} in {self._fs.name} is a {stat.kind.name.lower()}",
                hint="ls lists a directory; readlink says where a symbolic link leads",
            )
        if offset < 0 or piece_bytes <= 0 or (length is not None and length < 0):
            raise InvalidArgumentError(f"not a range: offset={offset} length={length}")
        end = stat.size if length is None else min(stat.size, offset + length)
        while offset < end:
            piece = self._fs.handle.read(stat.inode, offset, min(piece_bytes, end - offset))
            if not piece:
                return
            yield piece
            offset += len(piece)

    def readlink(self, path: PathLike) -> bytes:
        """Return what a symbolic link says."""
        return self._fs.readlink(path)

    def xattrs(self, path: PathLike) -> dict[bytes, bytes]:
        """Return the extended attributes; POSIX ACLs in their form on disk."""
        return self._fs.xattrs(path)

    def find(
        self,
        pattern: PathLike = b"/**",
        *,
        kinds: Collection[FileKind] | None = None,
        min_size: int | None = None,
        max_size: int | None = None,
        newer_than: datetime | None = None,
        older_than: datetime | None = None,
    ) -> tuple[FileStat, ...]:
        """Return the files that a pattern and all filters mean, ordered by path.

        Args:
            pattern: absolute, as in `Selection`: `*`, `?` and `[...]` within one name, `**` for any
                number of directories. What lies below a directory that matches isn't meant.
            kinds: only these; None: all.
            min_size, max_size: bytes, inclusive.
            newer_than, older_than: of the last change of content, exclusive; with a time zone.

        Raises:
            InvalidArgumentError: the pattern has `..` in it; a time has no zone.
        """
        for when in (newer_than, older_than):
            if when is not None and when.tzinfo is None:
                raise InvalidArgumentError(
                    f"the time {when} has no zone", hint="datetime(..., tzinfo=UTC)"
                )
        found = find_paths(FileTree(self._fs), normalize(pattern))
        return tuple(
            stat
            for stat in sorted(found, key=lambda one: one.path)
            if (kinds is None or stat.kind in kinds)
            and (min_size is None or stat.size >= min_size)
            and (max_size is None or stat.size <= max_size)
            and (newer_than is None or stat.mtime_ns > _ns(newer_than))
            and (older_than is None or stat.mtime_ns < _ns(older_than))
        )


def _ns(when: datetime) -> int:
    whole = int(when.replace(microsecond=0).timestamp())
    return whole * 10**9 + when.microsecond * 1000
