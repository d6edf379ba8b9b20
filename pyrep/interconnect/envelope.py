"""Envelopes: what stands before each message and frame on a path's sockets (docs/formats.md).

32 bytes, little endian: kind u8 · 3 bytes zero · body_bytes u32 · tag u64 · 8 bytes zero · CRC-32C
in two lanes of the 24 bytes before it. As long as a record's header: what follows lies at multiples
of 32, where the kernel copies three times as fast as elsewhere. A damaged length would make the
reader wait for what never comes, a damaged tag answer another question. The body checks itself: a
message has its
digest, as a frame has.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass

from pyrep._core import FRAME_BYTES, crc32c_lanes
from pyrep.errors import WireError
from pyrep.interconnect.channel import Channel

__all__ = [
    "ENVELOPE_BYTES",
    "Envelope",
    "Kind",
    "most_bytes",
    "open_envelope",
    "receive",
    "receive_body",
    "seal_envelope",
]

_HEAD = struct.Struct("<B3xIQ8x")
_DIGEST = struct.Struct("<Q")
ENVELOPE_BYTES = _HEAD.size + _DIGEST.size

_PIECE_BYTES = 256 << 10
"""Of a body, received at once: a slow path must be heard of before it is taken for dead."""


class Kind(enum.IntEnum):
    """What an envelope holds."""

    OPEN_CONTROL = 1
    OPEN_DATA = 2
    ACCEPT = 3
    REFUSE = 4
    COMMAND = 5
    ANSWER = 6
    ACK = 7
    PING = 8
    PONG = 9
    FRAME = 10
    NUMBERS = 11


_MOST_BYTES = {
    Kind.OPEN_CONTROL: 1 << 16,
    Kind.OPEN_DATA: 1 << 16,
    Kind.ACCEPT: 1 << 16,
    Kind.REFUSE: 1 << 16,
    Kind.COMMAND: 1 << 30,  # a bitmap of 2^32 bits, and a little
    Kind.ANSWER: 1 << 30,
    Kind.ACK: 1 << 22,
    Kind.PING: 0,
    Kind.PONG: 0,
    Kind.FRAME: FRAME_BYTES,
    Kind.NUMBERS: 40,
}
"""Longest body of each kind, in bytes."""


def most_bytes(kind: Kind) -> int:
    """Return the longest body of a kind, in bytes."""
    return _MOST_BYTES[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What an envelope says: `tag` tells an attempt, or which command an answer is to."""

    kind: Kind
    tag: int
    body_bytes: int


def seal_envelope(kind: Kind, tag: int, body_bytes: int) -> bytes:
    """Return the bytes of an envelope."""
    head = _HEAD.pack(kind, body_bytes, tag)
    return head + _DIGEST.pack(crc32c_lanes(head))


def open_envelope(data: bytes | bytearray | memoryview) -> Envelope:
    """Return what an envelope says.

    Raises:
        WireError: it is damaged, of a kind that isn't known, or tells a length that can't be.
    """
    if len(data) != ENVELOPE_BYTES:
        raise WireError(f"cannot take an envelope of {len(data)} bytes")
    head = bytes(data[: _HEAD.size])
    if _DIGEST.unpack(data[_HEAD.size :])[0] != crc32c_lanes(head):
        raise WireError("cannot take an envelope: its digest doesn't match")
    number, body_bytes, tag = _HEAD.unpack(head)
    try:
        kind = Kind(number)
    except ValueError as error:
        raise WireError(f"cannot take an envelope of kind {number}") from error
    if any(head[1:4]) or any(head[16:]) or body_bytes > _MOST_BYTES[kind]:
        raise WireError(f"cannot take an envelope of kind {kind.name}: {body_bytes} bytes in it")
    return Envelope(kind=kind, tag=tag, body_bytes=body_bytes)


def receive(
    channel: Channel,
    admit: Callable[[Envelope], None] | None = None,
    heard: Callable[[], None] | None = None,
) -> tuple[Envelope, bytes]:
    """Wait for the next envelope and its body.

    Args:
        channel: where it comes.
        admit: raises WireError for an envelope whose body isn't wanted: none of it is read.
        heard: called for each piece of a body that has come: a long one takes long.

    Raises:
        WireError: it is damaged: nothing after it can be told apart any more.
        PathLostError: the channel ended.
    """
    head = bytearray(ENVELOPE_BYTES)
    channel.fill(memoryview(head))
    return receive_body(channel, head, admit, heard)


def receive_body(
    channel: Channel,
    head: bytes | bytearray,
    admit: Callable[[Envelope], None] | None = None,
    heard: Callable[[], None] | None = None,
) -> tuple[Envelope, bytes]:
    """Take an envelope that has come, and wait for its body. Raises as `receive`."""
    envelope = open_envelope(head)
    if admit is not None:
        admit(envelope)
    body = bytearray()
    # Memory only for what has come: a length that somebody made up costs nothing.
    while len(body) < envelope.body_bytes:
        piece = bytearray(min(envelope.body_bytes - len(body), _PIECE_BYTES))
        channel.fill(memoryview(piece))
        body += piece
        if heard is not None:
            heard()
    return envelope, bytes(body)
