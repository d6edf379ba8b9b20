"""Backing files compared byte by byte, below everything that could be wrong about them.

Pages that the page cache holds are read in large blocks into buffers that are used again, and
compared by memcmp. What is a hole in both files is equal without being read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import xxhash

from pyrep.model import SPAN_BYTES

__all__ = [
    "count_differing_chunks",
    "digest_chunks",
    "digest_image",
    "find_difference",
    "find_nonzero",
    "read_data",
]


class _Image:
    """A backing file, opened for reading."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._buffer = bytearray(SPAN_BYTES)
        self.size = os.fstat(self._handle).st_size

    def close(self) -> None:
        os.close(self._handle)

    def data_spans(self) -> set[int]:
        """Return the indices of the MiB that aren't holes."""
        spans: set[int] = set()
        at = 0
        with contextlib.suppress(OSError):  # ENXIO: no data from here on
            while at < self.size:
                start = os.lseek(self._handle, at, os.SEEK_DATA)
                at = os.lseek(self._handle, start, os.SEEK_HOLE)
                spans.update(range(start // SPAN_BYTES, -(-at // SPAN_BYTES)))
        return spans

    def read(self, span: int) -> bytearray:
        """Return one MiB, until the next is read; past the end it is zeros."""
        got = os.preadv(self._handle, [self._buffer], span * SPAN_BYTES)
        while got < min(SPAN_BYTES, self.size - span * SPAN_BYTES):
            more = os.preadv(
                self._handle, [memoryview(self._buffer)[got:]], span * SPAN_BYTES + got
            )
            if not more:
                break
            got += more
        if got < SPAN_BYTES:
            self._buffer[got:] = bytes(SPAN_BYTES - got)
        return self._buffer


@contextlib.contextmanager
def _opened(*paths: Path) -> Iterator[list[_Image]]:
    with contextlib.ExitStack() as stack:
        images = []
        for path in paths:
            images.append(_Image(path))
            stack.callback(images[-1].close)
        yield images


def _differing_spans(one: _Image, other: _Image) -> Iterator[tuple[int, bytearray, bytearray]]:
    for span in sorted(one.data_spans() | other.data_spans()):
        here, there = one.read(span), other.read(span)
        if here != there:
            yield span, here, there


def digest_chunks(path: Path, chunk_bytes: int) -> dict[int, int]:
    """Return the digest of each chunk of a file, by its index; those of zeros are left out.

    Args:
        path: the file.
        chunk_bytes: a power of two up to 1 MiB.
    """
    zeros, digests = bytearray(SPAN_BYTES), {}
    empty = xxhash.xxh3_128_intdigest(memoryview(zeros)[:chunk_bytes])
    with _opened(path) as (image,):
        for span in sorted(image.data_spans()):
            data = image.read(span)
            if data == zeros:
                continue
            view = memoryview(data)
            for at in range(0, SPAN_BYTES, chunk_bytes):
                digest = xxhash.xxh3_128_intdigest(view[at : at + chunk_bytes])
                if digest != empty:
                    digests[(span * SPAN_BYTES + at) // chunk_bytes] = digest
    return digests


def count_differing_chunks(before: Mapping[int, int], after: Mapping[int, int]) -> int:
    """Return in how many chunks two states differ, each as `digest_chunks` returned it."""
    return sum(before.get(one) != after.get(one) for one in before.keys() | after.keys())


def find_difference(one: Path, other: Path) -> int | None:
    """Return the offset of the first byte in which two files differ, or None."""
    with _opened(one, other) as (a, b):
        if a.size != b.size:
            return min(a.size, b.size)
        for span, here, there in _differing_spans(a, b):
            at = next(index for index in range(SPAN_BYTES) if here[index] != there[index])
            return span * SPAN_BYTES + at
    return None


def digest_image(path: Path) -> int:
    """Return a digest of a file's bytes; holes and zeros are alike."""
    digest = xxhash.xxh3_128()
    zeros = bytearray(SPAN_BYTES)
    with _opened(path) as (image,):
        digest.update(image.size.to_bytes(8, "little"))
        for span in sorted(image.data_spans()):
            data = image.read(span)
            if data != zeros:
                digest.update(span.to_bytes(8, "little"))
                digest.update(data)
    return digest.intdigest()


def find_nonzero(path: Path, *, outside: range) -> int | None:
    """Return the offset of the first MiB outside a range of bytes that isn't zeros, or None.

    Args:
        outside: begins and ends at a whole MiB.
    """
    zeros = bytearray(SPAN_BYTES)
    with _opened(path) as (image,):
        for span in sorted(image.data_spans()):
            if span * SPAN_BYTES not in outside and image.read(span) != zeros:
                return span * SPAN_BYTES
    return None


def read_data(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield what isn't a hole, as offset and bytes, a MiB at a time."""
    with _opened(path) as (image,):
        for span in sorted(image.data_spans()):
            start = span * SPAN_BYTES
            yield start, bytes(image.read(span)[: image.size - start])
