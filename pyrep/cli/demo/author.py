"""Writing files through tracked writes, each noted in the ledger as it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pyrep.cli.demo.ledger import FileRecord, Ledger, digest_spans, span_digest
from pyrep.fs import ExtFileSystem, FileKind
from pyrep.model import SPAN_BYTES

__all__ = ["Attributes", "Author"]

_FIRST_MTIME_NS = 1_600_000_000_123_456_789
_MTIME_STEP_NS = 1_000_000_007
_BLOCK_BYTES = 4096
_MAP_BYTES = 64 * 1024  # blocks of a sparse file's map: generous, nothing beside its holes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What a new file gets; `mtime_ns` None: a time of its own."""

    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)


_PLAIN = Attributes()
_DIRECTORY = Attributes(mode=0o755)


class Author:
    """Writes into an open file system and keeps the ledger. Use as a context manager.

    What is noted is what was asked for; nothing is read back.
    """

    def __init__(self, fs: ExtFileSystem, ledger: Ledger) -> None:
        self._fs = fs
        self._ledger = ledger
        self._touched: set[bytes] = set()
        if b"/" not in ledger.records:
            ledger.set(b"/", self._record(FileKind.DIRECTORY, _DIRECTORY))
            self._touched.add(b"/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()

    def _finish(self) -> None:
        """Give the directories their times: making names in them had moved these."""
        for path in sorted(self._touched):
            record = self._ledger.records.get(path)
            if record is not None:
                self._fs.set_attributes(
                    path,
                    mode=record.mode,
                    uid=record.uid,
                    gid=record.gid,
                    mtime_ns=record.mtime_ns,
                )
        self._touched.clear()

    # --- nouns ------------------------------------------------------------------------------------

    def _new_mtime_ns(self) -> int:
        return _FIRST_MTIME_NS + self._ledger.next_number() * _MTIME_STEP_NS

    def _record(self, kind: FileKind, attributes: Attributes) -> FileRecord:
        given = attributes.mtime_ns
        return FileRecord(
            file_id=self._ledger.next_number(),
            kind=kind,
            mode=attributes.mode,
            uid=attributes.uid,
            gid=attributes.gid,
            mtime_ns=self._new_mtime_ns() if given is None else given,
            xattrs=dict(attributes.xattrs),
        )

    def _made(self, path: bytes, record: FileRecord, xattrs: Mapping[bytes, bytes]) -> None:
        if xattrs:
            self._fs.set_xattrs(path, xattrs)
        if record.kind is not FileKind.DIRECTORY:
            self._fs.set_attributes(path, mtime_ns=record.mtime_ns)
        self._ledger.set(path, record)
        self._touch_parent(path)

    def _touch_parent(self, path: bytes) -> None:
        parent = path.rpartition(b"/")[0] or b"/"
        self._touched.add(parent)
        record = self._ledger[parent]
        if record.mtime_until_ns is not None:  # a restore had left it a time that isn't known
            self._ledger.set(
                parent, replace(record, mtime_ns=self._new_mtime_ns(), mtime_until_ns=None)
            )

    # --- making -----------------------------------------------------------------------------------

    def directory(self, path: bytes, attributes: Attributes = _DIRECTORY) -> None:
        """Make a directory."""
        record = self._record(FileKind.DIRECTORY, attributes)
        self._fs.mkdir(path, mode=record.mode, uid=record.uid, gid=record.gid)
        self._made(path, record, attributes.xattrs)
        self._touched.add(path)

    def file(
        self, path: bytes, pieces: Iterable[bytes] = (), attributes: Attributes = _PLAIN
    ) -> None:
        """Make a regular file of these pieces, each but the last of whole MiB."""
        record = self._record(FileKind.REGULAR, attributes)
        self._fs.create(path, mode=record.mode, uid=record.uid, gid=record.gid)
        size = 0
        spans: list[int] = []
        for piece in pieces:
            self._fs.write_difference(path, piece, offset=size)
            spans += digest_spans([piece])[1]
            size += len(piece)
        self._made(path, replace(record, size=size, spans=tuple(spans)), attributes.xattrs)

    def sparse(self, path: bytes, size: int, islands: Mapping[int, bytes]) -> None:
        """Make a regular file of holes with some data at these offsets."""
        record = self._record(FileKind.REGULAR, _PLAIN)
        self._fs.create(path, mode=record.mode)
        self._fs.truncate(path, size)
        data_bytes = 0
        for offset, data in islands.items():
            self._fs.write_difference(path, data, offset=offset)
            data_bytes += (-(-len(data) // _BLOCK_BYTES) + 1) * _BLOCK_BYTES
        spans = [_span_of(islands, start, size) for start in range(0, size, SPAN_BYTES)]
        record = replace(
            record,
            size=size,
            spans=tuple(span_digest(span) for span in spans),
            allocated_max_bytes=data_bytes + _MAP_BYTES,
        )
        self._made(path, record, {})

    def symlink(self, path: bytes, target: bytes) -> None:
        """Make a symbolic link."""
        record = replace(
            self._record(FileKind.SYMLINK, Attributes(mode=0o777)), size=len(target), target=target
        )
        self._fs.symlink(path, target)
        self._made(path, record, {})

    def link(self, existing: bytes, path: bytes) -> None:
        """Give a file one more name."""
        self._fs.link(existing, path)
        self._ledger.set(path, self._ledger[existing])
        self._touch_parent(path)

    def node(self, path: bytes, kind: FileKind, rdev: tuple[int, int] = (0, 0)) -> None:
        """Make a device, a FIFO or a socket."""
        record = replace(self._record(kind, Attributes(mode=0o640)), rdev=rdev)
        self._fs.mknod(path, kind=kind, rdev=rdev, mode=record.mode)
        self._made(path, record, {})

    # --- changing ---------------------------------------------------------------------------------

    def rewrite(self, path: bytes, data: bytes) -> int:
        """Make a file hold `data`, writing what differs; return the bytes of blocks that did."""
        written = self._fs.write_difference(path, data)
        self._fs.truncate(path, len(data))
        size, spans = digest_spans([data])
        self._changed(path, replace(self._ledger[path], size=size, spans=spans))
        return written

    def patch(self, path: bytes, offset: int, data: bytes, spans: Mapping[int, bytes]) -> None:
        """Change a part of a file.

        Args:
            spans: the new content of each MiB that the part lies in, by its index.
        """
        self._fs.write_difference(path, data, offset=offset)
        digests = list(self._ledger[path].spans)
        for index, span in spans.items():
            digests[index] = span_digest(span)
        self._changed(path, replace(self._ledger[path], spans=tuple(digests)))

    def _changed(self, path: bytes, record: FileRecord) -> None:
        record = replace(record, mtime_ns=self._new_mtime_ns())
        self._fs.set_attributes(path, mtime_ns=record.mtime_ns)
        self._ledger.set(path, record)

    def remove_tree(self, path: bytes) -> None:
        """Delete a directory with all that is below it."""
        self._fs.remove_tree(path)
        self._ledger.remove_tree(path)
        self._touch_parent(path)


def _span_of(islands: Mapping[int, bytes], start: int, size: int) -> bytes:
    """Return the span of a sparse file that begins at `start`."""
    span = bytearray(min(SPAN_BYTES, size - start))
    for offset, data in islands.items():
        low, high = max(offset, start), min(offset + len(data), start + len(span))
        if low < high:
            span[low - start : high - start] = data[low - offset : high - offset]
    return bytes(span)
