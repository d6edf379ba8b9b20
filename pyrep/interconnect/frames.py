"""The digest of a frame: CRC-32C in two lanes over everything behind it, as the core has it."""

from __future__ import annotations

from pyrep._core import FRAME_DIGEST_FROM, Buffer, is_sealed, seal_frame
from pyrep.errors import WireError

__all__ = ["check_digest", "seal"]


def seal(frame: bytearray | memoryview) -> None:
    """Write the digest into a frame that the core has just made."""
    seal_frame(frame)


def check_digest(frame: Buffer) -> None:
    """Check a frame's digest, before anything in it is believed.

    Raises:
        WireError: it doesn't match, or there is none.
    """
    if len(frame) < FRAME_DIGEST_FROM:
        raise WireError(f"cannot take a frame of {len(frame)} bytes: it has no digest")
    if not is_sealed(frame):
        raise WireError(f"cannot take a frame of {len(frame)} bytes: its digest doesn't match")
