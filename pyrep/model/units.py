"""Sizes: chunks, spans, and how many bytes are written for people."""

from __future__ import annotations

from pyrep.errors import InvalidArgumentError

__all__ = [
    "CHUNKS_MAX",
    "CHUNK_BYTES_DEFAULT",
    "CHUNK_BYTES_MAX",
    "CHUNK_BYTES_MIN",
    "GIB",
    "KIB",
    "MIB",
    "SPAN_BYTES",
    "TIB",
    "check_chunk_bytes",
    "chunk_count",
    "format_bytes",
]

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

CHUNK_BYTES_DEFAULT = 8 * KIB
"""Bytes of one bit of a pending bitmap (the patent's "8K bytes, in one embodiment")."""
CHUNK_BYTES_MIN = 4 * KIB
CHUNK_BYTES_MAX = MIB
CHUNKS_MAX = 1 << 32
"""Chunks of one pair at most: 512 MiB of bitmap, and an index that fits portable Roaring."""
SPAN_BYTES = MIB
"""Bytes of the piece that digests are kept for."""


def chunk_count(size_bytes: int, chunk_bytes: int) -> int:
    """Return how many chunks cover `size_bytes`; the last one may be partial."""
    return -(-size_bytes // chunk_bytes)


def check_chunk_bytes(size_bytes: int, chunk_bytes: int) -> int:
    """Return `chunk_bytes` if a pair of volumes of `size_bytes` may have it.

    Raises:
        InvalidArgumentError: not a power of two from 4 KiB to 1 MiB; or the volume would have more
            than `CHUNKS_MAX` chunks (the hint names the chunk size that fits); or the volume is
            empty or too large for any.
    """
    if size_bytes <= 0:
        raise InvalidArgumentError(
            f"a volume of {size_bytes} bytes can't be mirrored", hint="its size must be above 0"
        )
    asked: object = chunk_bytes
    in_range = isinstance(asked, int) and CHUNK_BYTES_MIN <= asked <= CHUNK_BYTES_MAX
    if not in_range or chunk_bytes & (chunk_bytes - 1):
        raise InvalidArgumentError(
            f"chunk size {chunk_bytes} can't be used",
            hint=f"a power of two from {CHUNK_BYTES_MIN} (4 KiB) to {CHUNK_BYTES_MAX} (1 MiB)",
        )
    if chunk_count(size_bytes, chunk_bytes) <= CHUNKS_MAX:
        return chunk_bytes
    fitting = chunk_bytes
    while fitting <= CHUNK_BYTES_MAX and chunk_count(size_bytes, fitting) > CHUNKS_MAX:
        fitting *= 2
    largest = format_bytes(CHUNK_BYTES_MAX * CHUNKS_MAX)
    raise InvalidArgumentError(
        f"a volume of {format_bytes(size_bytes)} has too many chunks of {format_bytes(chunk_bytes)}"
        f": {chunk_count(size_bytes, chunk_bytes)}, at most {CHUNKS_MAX}",
        hint=f"use chunk_bytes={fitting} ({format_bytes(fitting)})"
        if fitting <= CHUNK_BYTES_MAX
        else f"a mirrored volume is at most {largest}",
    )


def format_bytes(size_bytes: int) -> str:
    """Return a size for people: "512 B", "8 KiB", "1.5 GiB"; one decimal, none when it is 0."""
    size = abs(size_bytes)
    for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size_bytes / unit:.1f}".removesuffix(".0") + f" {name}"
    return f"{size_bytes} B"
