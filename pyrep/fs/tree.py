"""A file system's names by path, read as far as they are asked for."""

from __future__ import annotations

from collections.abc import Iterable

from pyrep.fs.entries import FileKind, FileStat
from pyrep.fs.ext import ExtFileSystem

__all__ = ["FileTree", "is_below", "leave_out_systems_own", "read_tree"]

_SYSTEM_DIRECTORY = b"/lost+found"


class FileTree:
    """Paths of a file system and what they are, as they were when first looked at.

    A directory is listed once, alone or with all below it; a file system that is written to
    meanwhile is seen as it was.
    """

    def __init__(self, fs: ExtFileSystem) -> None:
        self._fs = fs
        self._root = fs.stat(b"/")
        self._children: dict[bytes, dict[bytes, FileStat]] = {}

    @property
    def name(self) -> str:
        """The volume's name in messages."""
        return self._fs.name

    @property
    def root(self) -> FileStat:
        """The root directory."""
        return self._root

    def readlink(self, path: bytes) -> bytes:
        """Return what a symbolic link says."""
        return self._fs.readlink(path)

    def _list(self, directory: bytes) -> dict[bytes, FileStat]:
        known = self._children.get(directory)
        if known is None:
            known = {stat.path: stat for stat in self._fs.list(directory)}
            self._children[directory] = known
        return known

    def get(self, path: bytes) -> FileStat | None:
        """Return what a normalized path is; None when it, or a directory above, isn't there."""
        if path == b"/":
            return self._root
        parent = path.rpartition(b"/")[0] or b"/"
        if parent not in self._children:
            above = self.get(parent)
            if above is None or above.kind is not FileKind.DIRECTORY:
                return None
        return self._list(parent).get(path)

    def children(self, directory: FileStat) -> list[FileStat]:
        """Return what lies in a directory, ordered by path."""
        return sorted(self._list(directory.path).values(), key=_by_path)

    def below(self, directory: FileStat) -> list[FileStat]:
        """Return all that lies below a directory, by path: a directory before its content."""
        found = self._fs.walk(directory.path)
        self._children[directory.path] = {}
        for stat in found:
            self._children[stat.parent][stat.path] = stat
            if stat.kind is FileKind.DIRECTORY:
                self._children[stat.path] = {}
        return sorted(found, key=_by_path)

    def above(self, path: bytes) -> list[FileStat]:
        """Return the directories on the way to a path, the root first."""
        found = [self._root]
        at = path.find(b"/", 1)
        while at >= 0:
            stat = self.get(path[:at])
            if stat is not None:
                found.append(stat)
            at = path.find(b"/", at + 1)
        return found


def _by_path(stat: FileStat) -> bytes:
    return stat.path


def is_below(path: bytes, directory: bytes) -> bool:
    """Whether a path lies below a directory."""
    return directory == b"/" or path.startswith(directory + b"/")


def read_tree(fs: ExtFileSystem) -> dict[bytes, FileStat]:
    """Return all of a file system by path, without the root and an empty lost+found."""
    return {stat.path: stat for stat in leave_out_systems_own(fs.walk())}


def leave_out_systems_own(stats: Iterable[FileStat]) -> list[FileStat]:
    """Leave out what mke2fs makes: the root, and lost+found while nothing is in it."""
    everything = list(stats)
    in_use = any(is_below(stat.path, _SYSTEM_DIRECTORY) for stat in everything)
    own = {b"/"} if in_use else {b"/", _SYSTEM_DIRECTORY}
    return [stat for stat in everything if stat.path not in own]
