"""The digest of a frame: XXH3-64 over everything behind it, without the GIL for large frames."""

from __future__ import annotations

import xxhash

from pyrep._core import FRAME_DIGEST_FROM, FRAME_DIGEST_OFFSET, Buffer
from pyrep.errors import WireError

__all__ = ["check_digest", "seal"]


def _digest(frame: Buffer) -> bytes:
    value = xxhash.xxh3_64_intdigest(memoryview(frame)[FRAME_DIGEST_FROM:])
    return value.to_bytes(8, "little")


def seal(frame: bytearray | memoryview) -> None:
    """Write the digest into a frame that the core has just made."""
    frame[FRAME_DIGEST_OFFSET:FRAME_DIGEST_FROM] = _digest(frame)


def check_digest(frame: Buffer) -> None:
    """Check a frame's digest, before anything in it is believed.

    Raises:
        WireError: it doesn't match, or there is none.
    """
    if len(frame) < FRAME_DIGEST_FROM:
        raise WireError(f"cannot take a frame of {len(frame)} bytes: it has no digest")
    if bytes(frame[FRAME_DIGEST_OFFSET:FRAME_DIGEST_FROM]) != _digest(frame):
        raise WireError(f"cannot take a frame of {len(frame)} bytes: its digest doesn't match")
