"""Names of files by the bytes of the volume that they hold: what changed, told without root."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError
from pyrep.fs.entries import FileKind
from pyrep.fs.ext import ExtFileSystem

__all__ = ["ByteRanges", "ChangedFiles", "files_of_extents", "merged"]

ByteRanges = Iterable[tuple[int, int]]
"""(offset, length) in bytes of the volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFiles:
    """Whose the bytes of some ranges of a volume are.

    Attributes:
        files: every name of the files that hold some of them: content, map or attributes; ordered.
            A file inside its inode is named when the block of its inode is touched, which it
            shares with others.
        directories: as files; names came, went or changed in them.
        file_bytes: of the ranges, in files and directories.
        metadata_bytes: in what the file system keeps for itself: inode tables, bitmaps, journal. A
            change of owner, mode or time alone is only here: a block holds many files' inodes.
        free_bytes: in no use any more, as those of a removed file; or behind the file system.
        is_estimate: the volume was being written meanwhile.
    """

    files: tuple[bytes, ...]
    directories: tuple[bytes, ...]
    file_bytes: int
    metadata_bytes: int
    free_bytes: int
    is_estimate: bool = False

    @property
    def paths(self) -> tuple[bytes, ...]:
        """All names, ordered."""
        return tuple(sorted(self.files + self.directories))


def merged(ranges: ByteRanges) -> list[tuple[int, int]]:
    """Return ranges ascending, none touching another, none empty.

    Raises:
        InvalidArgumentError: an offset or a length is negative, or past 2^64.
    """
    found: list[tuple[int, int]] = []
    for offset, length in sorted(ranges):
        if offset < 0 or length < 0 or offset + length >= 1 << 64:
            raise InvalidArgumentError(f"not a range of a volume: {offset}, {length}")
        if length == 0:
            continue
        if found and offset <= sum(found[-1]):
            start = found[-1][0]
            found[-1] = (start, max(sum(found[-1]), offset + length) - start)
        else:
            found.append((offset, length))
    return found


def files_of_extents(
    fs: ExtFileSystem, extents: ByteRanges, *, is_estimate: bool = False
) -> ChangedFiles:
    """Return which files of a file system hold bytes of the volume.

    Every inode is read once and joined with the ranges; then names are found by one walk.

    Args:
        fs: a view of the volume that the ranges are of: of the later of two states it names what
            is there now, of the earlier one what was.
        extents: (offset, length) in bytes, in any order.
        is_estimate: the volume is being written; passed on.

    Raises:
        FileSystemError: it can't be read.
        InvalidArgumentError: a range isn't one.
    """
    owners = fs.handle.owners(merged(extents))
    directories = {stat.path for stat in owners.stats if stat.kind is FileKind.DIRECTORY}
    if owners.holds_root:
        directories.add(b"/")
    files = {stat.path for stat in owners.stats if stat.kind is not FileKind.DIRECTORY}
    return ChangedFiles(
        files=tuple(sorted(files)),
        directories=tuple(sorted(directories)),
        file_bytes=owners.file_bytes,
        metadata_bytes=owners.metadata_bytes,
        free_bytes=owners.free_bytes,
        is_estimate=is_estimate,
    )
