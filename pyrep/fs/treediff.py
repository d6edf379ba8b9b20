"""What changed from one state of a file system to a later one, by path."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep.engine.cancel import Cancel
from pyrep.fs.changed import ByteRanges, merged
from pyrep.fs.compare import Aspect, content_differs, differing_aspects
from pyrep.fs.entries import FileKind, FileStat, Storage
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.plan import ChangeKind
from pyrep.fs.tree import read_tree

__all__ = ["PathChange", "content_changed", "diff_trees"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathChange:
    """One path that two states of a file system differ in.

    Attributes:
        change: CREATE and REMOVE: only the later or the earlier has it. REPLACE: it is another kind
            of file, or another device. CONTENT: data, size or target (attributes may differ too).
            ATTRIBUTES: only those named in `aspects`.
        before, after: None where it isn't there.
        aspects: which attributes differ.
        bytes_differ: of the blocks whose data differs.
    """

    path: bytes
    change: ChangeKind
    before: FileStat | None
    after: FileStat | None
    aspects: tuple[Aspect, ...] = ()
    bytes_differ: int = 0


def content_changed(
    a: ExtFileSystem,
    one: FileStat,
    b: ExtFileSystem,
    other: FileStat,
    *,
    changed: list[tuple[int, int]] | None = None,
    cancel: Cancel | None = None,
) -> tuple[bool, int]:
    """Return whether two files of one kind hold different content, and the bytes of such blocks.

    An encrypted file's content isn't compared: it counts as changed when its size, its time of
    change or its place did.

    Args:
        changed: (offset, length) of the volume in which the two states may differ, as `merged`
            returns it: a file in none of them, at the same place in both, isn't read.
    """
    if one.kind is FileKind.SYMLINK:
        if (one.storage | other.storage) & Storage.ENCRYPTED:
            return (one.size, one.mtime_ns) != (other.size, other.mtime_ns), 0
        return a.handle.readlink(one.inode) != b.handle.readlink(other.inode), 0
    if one.kind is not FileKind.REGULAR:
        return False, 0
    if (one.storage | other.storage) & Storage.ENCRYPTED:
        same = (one.size, one.mtime_ns, one.inode) == (other.size, other.mtime_ns, other.inode)
        return not same, 0
    differ = content_differs(a, one, b, other, cancel=cancel, changed=changed)
    return bool(differ) or one.size != other.size, differ


def diff_trees(
    a: ExtFileSystem,
    b: ExtFileSystem,
    *,
    changed: ByteRanges | None = None,
    cancel: Cancel | None = None,
) -> tuple[PathChange, ...]:
    """Return what is different in `b`, the later state, by path.

    Args:
        changed: (offset, length) of the volume outside which both states are the same; files that
            lie outside aren't read. None: not known, everything is compared.

    Raises:
        FileSystemError: one of them can't be read.
        UnsupportedFeatureError: their block sizes differ.
        CancelledError: `cancel` was used.
    """
    ranges = None if changed is None else merged(changed)
    before, after = read_tree(a), read_tree(b)
    found: list[PathChange] = []
    for path in sorted(before.keys() | after.keys()):
        if cancel is not None:
            cancel.check("comparing files")
        change = _compare(a, b, before.get(path), after.get(path), changed=ranges, cancel=cancel)
        if change is not None:
            found.append(change)
    return tuple(found)


def _compare(
    a: ExtFileSystem,
    b: ExtFileSystem,
    one: FileStat | None,
    other: FileStat | None,
    *,
    changed: list[tuple[int, int]] | None,
    cancel: Cancel | None,
) -> PathChange | None:
    if one is None or other is None:
        there = one or other
        if there is None:
            return None
        change = ChangeKind.CREATE if one is None else ChangeKind.REMOVE
        return PathChange(path=there.path, change=change, before=one, after=other)
    if one.kind is not other.kind or one.rdev != other.rdev:
        return PathChange(path=one.path, change=ChangeKind.REPLACE, before=one, after=other)
    differs, size = content_changed(a, one, b, other, changed=changed, cancel=cancel)
    aspects = tuple(differing_aspects(a, one, b, other))
    if not differs and not aspects:
        return None
    return PathChange(
        path=one.path,
        change=ChangeKind.CONTENT if differs else ChangeKind.ATTRIBUTES,
        before=one,
        after=other,
        aspects=aspects,
        bytes_differ=size,
    )
