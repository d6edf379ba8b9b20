"""Which files of a file system somebody means: paths and patterns."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError, PathNotInFileSystemError
from pyrep.fs.entries import FileKind, FileStat, PathLike, join, normalize, show
from pyrep.fs.tree import FileTree

__all__ = ["Chosen", "Selection", "find_paths"]

_ANY_DEPTH = b"**"
_WILD = frozenset(b"*?[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The files that a selection means.

    Attributes:
        files: what is selected, with everything below a selected directory, ordered by path.
        parents: directories on the way that aren't selected themselves, ordered by path.
    """

    files: tuple[FileStat, ...]
    parents: tuple[FileStat, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """Paths and patterns, absolute from the file system's root; a leading slash may be left out.

    A path of a directory selects all below it. In a pattern `*`, `?` and `[...]` match within one
    name, a leading dot too, and `**` any number of directories. A name that exists as it is written
    is taken so, whatever its characters mean in a pattern. Symbolic links are never followed.
    """

    patterns: tuple[PathLike, ...]

    def __post_init__(self) -> None:
        if not self.patterns:
            raise InvalidArgumentError("no path is given", hint="'/' means everything")
        for pattern in self.patterns:
            normalize(pattern)

    def choose(self, tree: FileTree) -> Chosen:
        """Return the files meant.

        Raises:
            InvalidArgumentError: a path has `..` in it, or isn't one.
            PathNotInFileSystemError: a path or pattern matches nothing, or goes through a symbolic
                link.
        """
        files: dict[bytes, FileStat] = {}
        for pattern in self.patterns:
            for match in self._match(tree, normalize(pattern)):
                if match.path in files:
                    continue
                files[match.path] = match
                if match.kind is FileKind.DIRECTORY:
                    files.update((stat.path, stat) for stat in tree.below(match))
        parents = {
            above.path: above
            for path in files
            if path != b"/"
            for above in tree.above(path)
            if above.path not in files
        }
        return Chosen(
            files=tuple(files[path] for path in sorted(files)),
            parents=tuple(parents[path] for path in sorted(parents)),
        )

    def _match(self, tree: FileTree, pattern: bytes) -> list[FileStat]:
        matches = {tree.root.path: tree.root}
        parts = [part for part in pattern.split(b"/") if part]
        for number, part in enumerate(parts):
            following: dict[bytes, FileStat] = {}
            for directory in matches.values():
                if directory.kind is FileKind.DIRECTORY:
                    last = number == len(parts) - 1
                    following.update((s.path, s) for s in _step(tree, directory, part, last=last))
            if not following:
                raise _nothing(tree, pattern, part, list(matches.values()))
            matches = following
        return list(matches.values())


def find_paths(tree: FileTree, pattern: bytes) -> list[FileStat]:
    """Return what a normalized pattern means, each once; nothing is no error."""
    matches = {tree.root.path: tree.root}
    parts = [part for part in pattern.split(b"/") if part]
    for number, part in enumerate(parts):
        following: dict[bytes, FileStat] = {}
        for directory in matches.values():
            if directory.kind is FileKind.DIRECTORY:
                last = number == len(parts) - 1
                following.update((s.path, s) for s in _step(tree, directory, part, last=last))
        matches = following
    return list(matches.values())


def _step(tree: FileTree, directory: FileStat, part: bytes, *, last: bool) -> list[FileStat]:
    """Return what one part of a pattern matches in a directory."""
    if part == _ANY_DEPTH:
        below = tree.below(directory)
        if last:
            return below
        return [directory, *(stat for stat in below if stat.kind is FileKind.DIRECTORY)]
    literal = tree.get(join(directory.path, part))
    if literal is not None:
        return [literal]
    if _WILD.isdisjoint(part):
        return []
    return [stat for stat in tree.children(directory) if fnmatch.fnmatchcase(stat.name, part)]


def _nothing(
    tree: FileTree, pattern: bytes, part: bytes, reached: list[FileStat]
) -> PathNotInFileSystemError:
    for stat in reached:
        if stat.kind is FileKind.SYMLINK:
            target = tree.readlink(stat.path)
            return PathNotInFileSystemError(
                f"{show(pattern)} goes through {show(stat.path)},"
                f" a symbolic link to {show(target)} in {tree.name}",
                hint="select the path it leads to; links aren't followed",
            )
    near = [
        show(stat.name)
        for at in reached
        if at.kind is FileKind.DIRECTORY
        for stat in tree.children(at)
    ]
    similar = difflib.get_close_matches(show(part), near, n=3)
    return PathNotInFileSystemError(
        f"{show(pattern)} matches nothing in {tree.name}",
        hint=f"similar names there: {', '.join(similar)}"
        if similar
        else "list the directory: is it spelled so there?",
    )
