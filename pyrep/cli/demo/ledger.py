"""The independent record of what was written: kept by who writes, never read back from a volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import xxhash

from pyrep.fs import FileKind
from pyrep.model import SPAN_BYTES

__all__ = ["FileRecord", "Ledger", "digest_spans", "span_digest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """One file as it was written.

    Attributes:
        file_id: names with the same one are hard links of one file.
        mode: permission bits with setuid, setgid and sticky.
        mtime_ns: its time of change; with `mtime_until_ns`, the earliest that it can be.
        mtime_until_ns: the latest, of a directory that a restore touched at a time of its own.
        size: bytes of a regular file.
        spans: digest of each MiB of it.
        allocated_max_bytes: what its data may take, of a sparse file.
        target: what a symbolic link says.
        rdev: (major, minor) of a device.
        xattrs: extended attributes.
    """

    file_id: int
    kind: FileKind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    mtime_until_ns: int | None = None
    size: int = 0
    spans: tuple[int, ...] = ()
    allocated_max_bytes: int | None = None
    target: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)


class Ledger:
    """What a file system has to hold: every path with its record, the root included."""

    def __init__(self) -> None:
        self._records: dict[bytes, FileRecord] = {}
        self._number = 0

    @property
    def records(self) -> Mapping[bytes, FileRecord]:
        """All of it, by path."""
        return self._records

    def __getitem__(self, path: bytes) -> FileRecord:
        return self._records[path]

    def copy(self) -> Ledger:
        """Return one that can change apart from this one."""
        other = Ledger()
        other._records = dict(self._records)
        other._number = self._number
        return other

    def next_number(self) -> int:
        """Return a number that wasn't returned before: a file's id, and its place in time."""
        self._number += 1
        return self._number

    def set(self, path: bytes, record: FileRecord) -> None:
        """Note a file; one of several names changes all of them."""
        old = self._records.get(path)
        if old is not None and old.file_id == record.file_id:
            for name in self.names_of(old.file_id):
                self._records[name] = record
        self._records[path] = record

    def names_of(self, file_id: int) -> list[bytes]:
        """Return the names that a file has."""
        return [path for path, record in self._records.items() if record.file_id == file_id]

    def remove_tree(self, path: bytes) -> None:
        """Note that a path is gone, with all below it."""
        for gone in self.below([path]):
            del self._records[gone]

    def below(self, paths: Iterable[bytes]) -> list[bytes]:
        """Return these paths and all below them."""
        tops = tuple(path + b"/" for path in paths)
        return [path for path in self._records if (path + b"/").startswith(tops)]

    def restore(
        self, source: Ledger, paths: Iterable[bytes], *, since_ns: int, until_ns: int
    ) -> None:
        """Note that these paths were made what they are in another ledger.

        A directory in which names came or went meanwhile says so: its time of change lies between
        the two times.
        """
        chosen = list(paths)
        before = set(self._records)
        for path in self.below(chosen):
            del self._records[path]
        restored = {path: source[path] for path in source.below(chosen)}
        self._records.update(restored)
        for path in before ^ set(self._records):
            parent = path.rpartition(b"/")[0] or b"/"
            if parent not in restored:
                self._records[parent] = replace(
                    self._records[parent], mtime_ns=since_ns, mtime_until_ns=until_ns
                )


def span_digest(data: bytes | bytearray | memoryview) -> int:
    """Return the digest of one span."""
    return xxhash.xxh3_128_intdigest(data)


def digest_spans(pieces: Iterable[bytes]) -> tuple[int, tuple[int, ...]]:
    """Return size and span digests of what the pieces are together.

    Args:
        pieces: each but the last of whole spans.
    """
    size = 0
    digests: list[int] = []
    for piece in pieces:
        size += len(piece)
        data = memoryview(piece)
        digests += [
            span_digest(data[start : start + SPAN_BYTES])
            for start in range(0, len(piece), SPAN_BYTES)
        ]
    return size, tuple(digests)
