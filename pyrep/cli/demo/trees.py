"""A file system compared with the ledger: every file, whole."""

from __future__ import annotations

from collections import defaultdict

from pyrep.cli.demo.ledger import FileRecord, Ledger, span_digest
from pyrep.fs import ExtFileSystem, FileKind, FileStat
from pyrep.fs.entries import show
from pyrep.model import SPAN_BYTES

__all__ = ["compare_with_ledger"]

_READ_SPANS = 8


def compare_with_ledger(fs: ExtFileSystem, ledger: Ledger) -> list[str]:
    """Return how a file system differs from what was written into it.

    Compared are, of every path: kind, content, mode, owner, time of change, number of names and
    which these are, target, device number, extended attributes, and whether holes are still holes.
    """
    found = {stat.path: stat for stat in fs.walk()}
    found[b"/"] = fs.stat(b"/")
    expected = ledger.records
    block_bytes = fs.info.block_bytes
    differences = _compare_paths(set(found), set(expected))
    for path in sorted(expected.keys() & found.keys()):
        stat, record = found[path], expected[path]
        differences += [f"{show(path)}: {what}" for what in _compare_file(fs, stat, record)]
        allowed_bytes = record.allocated_max_bytes
        if allowed_bytes is not None and stat.blocks * block_bytes > allowed_bytes:
            differences.append(
                f"{show(path)}: takes {stat.blocks * block_bytes} bytes, its holes are gone"
            )
    return differences + _compare_names(found, ledger)


def _compare_paths(found: set[bytes], expected: set[bytes]) -> list[str]:
    missing = [f"{show(path)} is missing" for path in sorted(expected - found)]
    # mke2fs makes lost+found; what would lie in it shows as a path of its own.
    extra = sorted(found - expected - {b"/lost+found"})
    return missing + [f"{show(path)} is there, but was never written" for path in extra]


def _compare_file(fs: ExtFileSystem, stat: FileStat, record: FileRecord) -> list[str]:
    if stat.kind is not record.kind:
        return [f"is a {stat.kind.name.lower()}, not a {record.kind.name.lower()}"]
    differences = []
    for what, now, then in (
        ("mode", f"{stat.mode:o}", f"{record.mode:o}"),
        ("owner", (stat.uid, stat.gid), (record.uid, record.gid)),
        ("device", stat.rdev, record.rdev),
        ("xattrs", _xattrs(fs, stat), dict(record.xattrs)),
    ):
        if now != then:
            differences.append(f"{what} is {now}, not {then}")
    until_ns = record.mtime_ns if record.mtime_until_ns is None else record.mtime_until_ns
    if not record.mtime_ns <= stat.mtime_ns <= until_ns:
        differences.append(f"time of change is {stat.mtime_ns}, not {record.mtime_ns} ns")
    if stat.kind is FileKind.REGULAR:
        differences += _compare_content(fs, stat, record)
    elif stat.kind is FileKind.SYMLINK and fs.handle.readlink(stat.inode) != record.target:
        differences.append("leads elsewhere")
    return differences


def _xattrs(fs: ExtFileSystem, stat: FileStat) -> dict[bytes, bytes]:
    return fs.handle.xattrs(stat.inode) if stat.may_have_xattrs else {}


def _compare_content(fs: ExtFileSystem, stat: FileStat, record: FileRecord) -> list[str]:
    if stat.size != record.size:
        return [f"has {stat.size} bytes, not {record.size}"]
    differences = []
    for first in range(0, len(record.spans), _READ_SPANS):
        spans = record.spans[first : first + _READ_SPANS]
        data = memoryview(fs.handle.read(stat.inode, first * SPAN_BYTES, len(spans) * SPAN_BYTES))
        for index, digest in enumerate(spans):
            span = data[index * SPAN_BYTES : (index + 1) * SPAN_BYTES]
            if span_digest(span) != digest:
                differences.append(f"content differs in MiB {first + index}")
    return differences


def _compare_names(found: dict[bytes, FileStat], ledger: Ledger) -> list[str]:
    """Compare which names are one file."""
    inodes: dict[int, set[bytes]] = defaultdict(set)
    files: dict[int, set[bytes]] = defaultdict(set)
    for path, stat in found.items():
        if stat.kind is not FileKind.DIRECTORY:
            inodes[stat.inode].add(path)
    for path, record in ledger.records.items():
        if record.kind is not FileKind.DIRECTORY:
            files[record.file_id].add(path)
    differences = []
    for names in files.values():
        for path in sorted(names & found.keys()):
            stat = found[path]
            if stat.nlink != len(names) or inodes[stat.inode] != names:
                differences.append(
                    f"{show(path)} has {stat.nlink} names, not {len(names)}, or not the same"
                )
    return differences
