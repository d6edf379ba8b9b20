"""Telling whether files, or whole file systems, are alike."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pyrep.engine.cancel import Cancel
from pyrep.fs.entries import FileKind, FileStat, show
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.ext_delta import Delta
from pyrep.fs.select import Selection
from pyrep.fs.tree import FileTree, leave_out_systems_own, read_tree

__all__ = [
    "STEP_BYTES",
    "Aspect",
    "Difference",
    "WholeVolume",
    "compare_all",
    "compare_trees",
    "content_differs",
    "differing_aspects",
    "holds_exactly",
]

STEP_BYTES = 64 << 20
"""Bytes of a file compared or written between two looks at a cancel: a fraction of a second."""


class Aspect(enum.Enum):
    """What two files of the same path can differ in."""

    MISSING = "missing"
    EXTRA = "extra"
    KIND = "kind"
    CONTENT = "content"
    MODE = "mode"
    OWNER = "owner"
    PROJECT = "project"
    MTIME = "mtime"
    FLAGS = "flags"
    DEVICE = "device"
    TARGET = "target"
    XATTRS = "xattrs"
    LINKS = "links"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One way in which the second of two trees differs from the first.

    MISSING: only the first has the path. EXTRA: only the second has it. LINKS: the names that are
    one file in one tree aren't in the other.
    """

    path: bytes
    aspect: Aspect
    detail: str = ""

    def __str__(self) -> str:
        """Return it for people."""
        said = f": {self.detail}" if self.detail else ""
        return f"{show(self.path)}: {self.aspect.value}{said}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeVolume:
    """Whether chosen files are a whole volume, so that it may be restored as one.

    Source: Fig. 6, step 610.
    """

    decision: bool
    reason: str


def content_differs(
    source: ExtFileSystem,
    one: FileStat,
    target: ExtFileSystem,
    other: FileStat,
    *,
    cancel: Cancel | None = None,
    changed: Sequence[tuple[int, int]] | None = None,
) -> int:
    """Return the bytes of the blocks in which two regular files' content differs.

    Args:
        changed: (offset, length), ascending: outside, the two volumes are known to be the same.
    """
    if one.size == other.size == one.blocks == other.blocks == 0:
        return 0
    with Delta(source.handle, one.inode, target.handle, other.inode) as delta:
        if changed is not None and delta.is_untouched(changed):
            return 0
        return compare_all(delta, cancel)


def compare_all(delta: Delta, cancel: Cancel | None = None) -> int:
    """Return the bytes of the blocks in which the two files of a delta differ."""
    total = 0
    more = True
    while more:
        if cancel is not None:
            cancel.check("comparing files")
        more, differ, _ = delta.compare(STEP_BYTES)
        total += differ
    return total


def differing_aspects(
    source: ExtFileSystem, one: FileStat, target: ExtFileSystem, other: FileStat
) -> list[Aspect]:
    """Return what of mode, owner, project, time of change, flags and attributes differs.

    Times of access and of the inode's own change aren't compared: reading and linking move them.
    """
    found: list[Aspect] = []
    if one.mode != other.mode:
        found.append(Aspect.MODE)
    if (one.uid, one.gid) != (other.uid, other.gid):
        found.append(Aspect.OWNER)
    if one.project != other.project:
        found.append(Aspect.PROJECT)
    if one.mtime_ns != other.mtime_ns:
        found.append(Aspect.MTIME)
    if one.flags != other.flags:
        found.append(Aspect.FLAGS)
    if (one.may_have_xattrs or other.may_have_xattrs) and source.handle.xattrs(
        one.inode
    ) != target.handle.xattrs(other.inode):
        found.append(Aspect.XATTRS)
    return found


def _compare_file(
    a: ExtFileSystem, one: FileStat, b: ExtFileSystem, other: FileStat
) -> Iterable[Difference]:
    if one.kind is not other.kind:
        detail = f"{one.kind.name.lower()} became {other.kind.name.lower()}"
        yield Difference(path=one.path, aspect=Aspect.KIND, detail=detail)
        return
    for aspect in differing_aspects(a, one, b, other):
        yield Difference(path=one.path, aspect=aspect)
    if one.kind is FileKind.REGULAR:
        differ = content_differs(a, one, b, other)
        if one.size != other.size or differ:
            detail = f"size {one.size} and {other.size}, {differ} bytes of blocks differ"
            yield Difference(path=one.path, aspect=Aspect.CONTENT, detail=detail)
    elif one.kind is FileKind.SYMLINK:
        if a.handle.readlink(one.inode) != b.handle.readlink(other.inode):
            yield Difference(path=one.path, aspect=Aspect.TARGET)
    elif one.kind.is_device and one.rdev != other.rdev:
        yield Difference(path=one.path, aspect=Aspect.DEVICE, detail=f"{one.rdev}, {other.rdev}")


def _link_groups(tree: Mapping[bytes, FileStat]) -> dict[bytes, frozenset[bytes]]:
    """Return, for each name of a file with several, all of its names."""
    groups: dict[int, list[bytes]] = defaultdict(list)
    for stat in tree.values():
        if stat.kind is not FileKind.DIRECTORY:
            groups[stat.inode].append(stat.path)
    return {path: frozenset(names) for names in groups.values() for path in names}


def compare_trees(a: ExtFileSystem, b: ExtFileSystem) -> list[Difference]:
    """Return every difference between two file systems, ordered by path.

    Compared are content, mode, owner, time of change, flags, symbolic links, devices, extended
    attributes and which names are one file; the root and an empty lost+found are left out.

    Raises:
        FileSystemError: one of them can't be read.
        UnsupportedFeatureError: their block sizes differ.
    """
    left = read_tree(a)
    right = read_tree(b)
    groups = (_link_groups(left), _link_groups(right))
    found: list[Difference] = []
    for path in sorted(left.keys() | right.keys()):
        one, other = left.get(path), right.get(path)
        if one is None:
            found.append(Difference(path=path, aspect=Aspect.EXTRA))
        elif other is None:
            found.append(Difference(path=path, aspect=Aspect.MISSING))
        else:
            found.extend(_compare_file(a, one, b, other))
            if groups[0].get(path) != groups[1].get(path):
                found.append(Difference(path=path, aspect=Aspect.LINKS))
    return found


def holds_exactly(
    source: ExtFileSystem, target: ExtFileSystem, selection: Selection
) -> WholeVolume:
    """Decide whether restoring the chosen files is restoring the volume.

    It is when they are all files of the source and the target has no file that the source lacks.

    Raises:
        PathNotInFileSystemError: the selection matches nothing in the source.

    Source: Fig. 6, step 610.
    """
    chosen = {stat.path for stat in selection.choose(FileTree(source)).files}
    everything = {stat.path for stat in leave_out_systems_own(source.walk())}
    not_chosen = sorted(everything - chosen)
    if not_chosen:
        return WholeVolume(
            decision=False,
            reason=f"{len(not_chosen)} files of {source.name} aren't chosen,"
            f" such as {show(not_chosen[0])}",
        )
    more = sorted(read_tree(target).keys() - everything)
    if more:
        return WholeVolume(
            decision=False,
            reason=f"{target.name} holds {len(more)} files that {source.name} lacks,"
            f" such as {show(more[0])}",
        )
    return WholeVolume(
        decision=True,
        reason=f"all {len(everything)} files of {source.name} are chosen,"
        f" and {target.name} holds no other",
    )
