"""Frames: their layout, and the check of one."""

from __future__ import annotations

import errno
from dataclasses import dataclass

from pyrep._core.native import Buffer, ffi, lib
from pyrep.errors import WireError

__all__ = [
    "FRAME_BYTES",
    "FRAME_DIGEST_FROM",
    "FRAME_DIGEST_OFFSET",
    "FrameInfo",
    "check_frame",
    "crc32c_lanes",
    "is_sealed",
    "seal_frame",
]

FRAME_BYTES: int = lib.REP_FRAME_BYTES
FRAME_DIGEST_OFFSET: int = lib.REP_FRAME_DIGEST_OFFSET
FRAME_DIGEST_FROM: int = lib.REP_FRAME_DIGEST_FROM


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameInfo:
    """Header of a checked frame."""

    stream_id: int
    attempt: int
    first_number: int
    record_count: int
    body_bytes: int


def check_frame(frame: Buffer) -> FrameInfo:
    """Check a frame's structure, all records included; not its digest.

    Raises:
        WireError: malformed, or of a version that isn't spoken here.
    """
    out = ffi.new("rep_frame_info *")
    code = lib.rep_frame_check(ffi.from_buffer(frame), len(frame), out)
    if code:
        why = "an unknown version" if code == -errno.EPROTO else "malformed"
        raise WireError(f"cannot take a frame of {len(frame)} bytes: {why}")
    return FrameInfo(
        stream_id=out.stream_id,
        attempt=out.attempt,
        first_number=out.first_number,
        record_count=out.record_count,
        body_bytes=out.body_bytes,
    )


def seal_frame(frame: bytearray | memoryview) -> None:
    """Write the digest into a frame that stands there whole."""
    lib.rep_frame_seal(ffi.from_buffer(frame, require_writable=True), len(frame))


def is_sealed(frame: Buffer) -> bool:
    """Return whether a frame's digest matches."""
    return bool(lib.rep_frame_is_sealed(ffi.from_buffer(frame), len(frame)))


def crc32c_lanes(data: Buffer) -> int:
    """Return CRC-32C in two lanes: of every other word of 8 bytes, and of the words between."""
    return int(lib.rep_crc32c_lanes(ffi.from_buffer(data), len(data)))
