"""Digests of a generation's volume: XXH3-128 of each span, and the files that keep them.

Kept sparsely: a span that is all zeros has no entry, since its digest is known. A file is bound to
its system, volume and record, has a digest of itself, and appears whole under its name or not at
all (docs/formats.md).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import xxhash
from pyroaring import BitMap

from pyrep.engine.backing import refused, sync_directory
from pyrep.errors import FormatError
from pyrep.model import SPAN_BYTES, chunk_count

__all__ = ["DIGEST_BYTES", "DigestStore", "SpanDigests", "is_zero", "span_digest"]

DIGEST_BYTES = 16

_MAGIC = b"pyrepDG\0"
_VERSION = 1
_HEADER = struct.Struct("<8sII16s16s16sQQQQ")
_SUM_AT = _HEADER.size
_BODY_AT = _SUM_AT + DIGEST_BYTES
_ZEROS = bytes(SPAN_BYTES)
_ZERO_DIGEST = xxhash.xxh3_128_digest(_ZEROS)


def span_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the digest of one span's bytes; the interpreter runs on meanwhile."""
    return xxhash.xxh3_128_digest(data)


def is_zero(digest: bytes, length: int) -> bool:
    """Whether it is the digest of `length` zero bytes, the length of a span."""
    if length == SPAN_BYTES:
        return digest == _ZERO_DIGEST
    return digest == span_digest(memoryview(_ZEROS)[:length])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanDigests:
    """The digests of a volume's first spans, or of all.

    Attributes:
        size_bytes: the volume's size.
        done: spans digested, from the first on.
        spans: those among them that aren't all zeros.
        values: their digests, in order, 16 bytes each.
    """

    size_bytes: int
    done: int
    spans: BitMap
    values: bytes

    @property
    def span_count(self) -> int:
        """Spans of the volume; the last one may be shorter."""
        return chunk_count(self.size_bytes, SPAN_BYTES)

    @property
    def is_whole(self) -> bool:
        """Whether every span is digested."""
        return self.done == self.span_count

    def items(self) -> Iterator[tuple[int, bytes]]:
        """Yield (span, digest) of those that aren't all zeros, ascending."""
        for rank, span in enumerate(self.spans):
            yield span, self.values[rank * DIGEST_BYTES : (rank + 1) * DIGEST_BYTES]

    def find(self, span: int) -> bytes | None:
        """Return a digested span's digest; None: it is all zeros."""
        if span not in self.spans:
            return None
        rank = self.spans.rank(span) - 1
        return self.values[rank * DIGEST_BYTES : (rank + 1) * DIGEST_BYTES]

    def between(self, begin: int, end: int) -> bytes:
        """Return the digests of the entries in [begin, end), in order."""
        first, last = (self.spans.rank(at - 1) if at else 0 for at in (begin, end))
        return self.values[first * DIGEST_BYTES : last * DIGEST_BYTES]

    def differing(self, other: SpanDigests) -> BitMap:
        """Return the spans in which two whole sets of one size differ."""
        out = self.spans ^ other.spans
        both = self.spans & other.spans
        mine, theirs = _only(self.items(), both), _only(other.items(), both)
        out.update(
            span for (span, one), (_, another) in zip(mine, theirs, strict=True) if one != another
        )
        return out


def _only(items: Iterable[tuple[int, bytes]], spans: BitMap) -> Iterator[tuple[int, bytes]]:
    return (item for item in items if item[0] in spans)


class DigestStore:
    """The digest files of a system: one directory, made when the first one is written."""

    def __init__(self, directory: Path, system_key: bytes) -> None:
        self.directory = directory
        self._system_key = system_key

    def path_of(self, file_key: bytes) -> Path:
        """Return the file's path."""
        return self.directory / f"{file_key.hex()}.digests"

    def save(self, file_key: bytes, volume_key: bytes, digests: SpanDigests) -> None:
        """Write digests into a new file; durable, with its name, on return.

        Args:
            file_key: names the file.
            volume_key: of the source volume whose generation they are about.
            digests: whole or not.

        Raises:
            NoSpaceError, ReadOnlyError, DeviceError: there is no such file.
        """
        path = self.path_of(file_key)
        partial = path.with_suffix(".partial")
        try:
            if not self.directory.is_dir():
                self.directory.mkdir()
                sync_directory(self.directory.parent)
            with partial.open("wb") as file:
                file.writelines(_encode((self._system_key, volume_key, file_key), digests))
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            sync_directory(self.directory)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise refused(f"write digests to {path}", error) from error

    def load(self, file_key: bytes, volume_key: bytes, size_bytes: int) -> SpanDigests:
        """Read a file's digests.

        Raises:
            FormatError: it isn't there, is damaged, or is about another volume.
        """
        path = self.path_of(file_key)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise _unusable(path, "it isn't there") from error
        except OSError as error:
            raise refused(f"read digests from {path}", error) from error
        return _decode(path, data, (self._system_key, volume_key, file_key), size_bytes)

    def remove(self, file_key: bytes) -> None:
        """Delete a file. Harmless when it isn't there."""
        self.path_of(file_key).unlink(missing_ok=True)

    def remove_strays(self, known: set[bytes]) -> None:
        """Delete what no record names (any more), such as a file that a crash left half-written."""
        names = {self.path_of(key).name for key in known}
        for path in self.directory.glob("*"):
            if path.name not in names:
                path.unlink(missing_ok=True)


def _encode(keys: tuple[bytes, bytes, bytes], digests: SpanDigests) -> list[bytes]:
    spans = BitMap(digests.spans)
    spans.run_optimize()
    bits = bytes(spans.serialize())
    head = _HEADER.pack(
        _MAGIC,
        _VERSION,
        0,
        *keys,
        digests.size_bytes,
        SPAN_BYTES,
        digests.done,
        len(bits),
    )
    return [head, _sum_of(head, bits, digests.values), bits, digests.values]


def _sum_of(*parts: bytes | memoryview) -> bytes:
    total = xxhash.xxh3_128()
    for part in parts:
        total.update(part)
    return total.digest()


def _decode(
    path: Path, data: bytes, keys: tuple[bytes, bytes, bytes], size_bytes: int
) -> SpanDigests:
    if len(data) < _BODY_AT or data[: len(_MAGIC)] != _MAGIC:
        raise _unusable(path, "it is no digest file")
    body = memoryview(data)[_BODY_AT:]
    if _sum_of(data[:_SUM_AT], body) != data[_SUM_AT:_BODY_AT]:
        raise _unusable(path, "its own digest doesn't match")
    _, version, flags, *found, size, span_bytes, done, bits = _HEADER.unpack_from(data)
    if (version, flags, span_bytes) != (_VERSION, 0, SPAN_BYTES):
        raise _unusable(path, f"its format {version} isn't known")
    if tuple(found) != keys or size != size_bytes:
        raise _unusable(path, "it belongs to another system, volume or generation")
    try:
        spans = BitMap.deserialize(bytes(body[:bits]))
    except (ValueError, IndexError, MemoryError) as error:
        raise _unusable(path, str(error)) from error
    values = bytes(body[bits:])
    if len(values) != len(spans) * DIGEST_BYTES or (spans and spans.max() >= done):
        raise _unusable(path, "it contradicts itself")
    return SpanDigests(size_bytes=size, done=done, spans=spans, values=values)


def _unusable(path: Path, why: str) -> FormatError:
    return FormatError(
        f"cannot use the digests in {path}: {why}",
        hint="compute them again: system.kept(generation_id).digest(again=True)",
    )
