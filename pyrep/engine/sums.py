"""Sums: the digests of pieces of a volume, by which two systems compare what they hold.

The bytes are read in C, a window at a time, and digested a span at a time: both without the
interpreter's lock where it is worth it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import xxhash

from pyrep._core import Io, Runs, read_runs
from pyrep.model import MIB, DigestKind

__all__ = ["WINDOW_BYTES", "WINDOW_RUNS", "Sums", "lend_buffer"]

WINDOW_BYTES = 8 * MIB
"""Read for one question at most. Half of it is what a path of 1 GB/s carries in 4 ms: two questions
under way hide the round trip, and an answer doesn't take long on a slow disk."""
WINDOW_RUNS = 8192
"""Runs in one question at most."""


def _sha256(data: memoryview) -> bytes:
    return hashlib.sha256(data).digest()


_DIGESTS: dict[DigestKind, Callable[[memoryview], bytes]] = {
    DigestKind.XXH3: xxhash.xxh3_128_digest,
    DigestKind.SHA256: _sha256,
}

_spare: list[bytearray] = []
_lending = threading.Lock()


@contextmanager
def lend_buffer() -> Iterator[bytearray]:
    """Lend a buffer of a window: memory touched for the first time costs more than the reading."""
    with _lending:
        buffer = _spare.pop() if _spare else None
    buffer = bytearray(WINDOW_BYTES) if buffer is None else buffer
    try:
        yield buffer
    finally:
        with _lending:
            if len(_spare) < 4:
                _spare.append(buffer)


class Sums:
    """Digests of groups of chunks, of one kind.

    Attributes:
        kind: how they are digested.
        group_bytes: what of a volume goes into one digest: a span, or a chunk.
    """

    def __init__(self, kind: DigestKind, *, chunk_bytes: int, group_bytes: int) -> None:
        self.kind = kind
        self.group_bytes = group_bytes
        self._chunk_bytes = chunk_bytes
        self._digest = _DIGESTS[kind]

    def read(self, io: Io, runs: Runs) -> tuple[bytes, int]:
        """Read runs; return their digests, one behind the other, and how many bytes were read.

        Raises:
            InvalidArgumentError, OutOfRangeError: runs that can't be, or more than a window holds.
            DeviceError: the storage failed.
        """
        with lend_buffer() as buffer:
            lengths = read_runs(
                io,
                runs,
                chunk_bytes=self._chunk_bytes,
                group_bytes=self.group_bytes,
                buffer=buffer,
            )
            view, digest = memoryview(buffer), self._digest
            out, at = bytearray(), 0
            for length in lengths:
                out += digest(view[at : at + length])
                at += length
            view.release()
        return bytes(out), at

    def differing(self, runs: Runs, mine: bytes, theirs: bytes) -> tuple[Runs, Runs]:
        """Return the runs of groups whose digests are equal, and those of the others.

        Args:
            runs: what was read, none of them in two groups.
        """
        size = self.kind.digest_bytes
        chunks = self.group_bytes // self._chunk_bytes
        equal: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        group, at = -1, -size
        for first, count in runs:
            if first // chunks != group:
                group, at = first // chunks, at + size
            side = equal if mine[at : at + size] == theirs[at : at + size] else others
            side.append((first, count))
        return Runs.of(equal), Runs.of(others)
