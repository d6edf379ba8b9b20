"""Digests of pieces of a volume are what their names say: anybody can compute them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

import pytest
import xxhash

from pyrep._core import MemoryIo, Runs
from pyrep.engine.sums import Sums
from pyrep.model import MIB, DigestKind

CHUNK = 8192
CASES: list[tuple[DigestKind, Callable[[bytes], bytes]]] = [
    (DigestKind.XXH3, lambda data: xxhash.xxh3_128(data).digest()),
    (DigestKind.SHA256, lambda data: hashlib.sha256(data).digest()),
]


@pytest.mark.parametrize(("kind", "digest"), CASES)
@pytest.mark.parametrize("group_bytes", [CHUNK, MIB])
def test_a_digest_is_that_of_the_bytes_of_its_group(
    kind: DigestKind, digest: Callable[[bytes], bytes], group_bytes: int
) -> None:
    data = random.Random(1).randbytes(2 * MIB)
    io = MemoryIo(len(data))
    io.pwrite(data, 0)
    runs = [(0, 1), (3, 1), (MIB // CHUNK, 1)]  # two in the first span, one in the second
    pieces = [data[first * CHUNK : (first + count) * CHUNK] for first, count in runs]
    if group_bytes == MIB:
        pieces = [pieces[0] + pieces[1], pieces[2]]
    sums = Sums(kind, chunk_bytes=CHUNK, group_bytes=group_bytes)
    told, read_bytes = sums.read(io, Runs.of(runs))
    assert told == b"".join(digest(one) for one in pieces)
    assert read_bytes == len(runs) * CHUNK
