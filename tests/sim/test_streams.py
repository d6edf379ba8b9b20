"""Streams of a group whose pairs come into use at the same moment."""

from __future__ import annotations

from collections.abc import Callable

from pyrep.engine.peer import Peer
from pyrep.errors import PathLostError
from pyrep.interconnect.messages import Done, OpenStream, decode_message, encode
from pyrep.interconnect.terms import Terms
from pyrep.model import GroupId, SystemId
from pyrep.seams import Buffer


class Far:
    """A connection to a system that asks whether anybody else could go on already."""

    attempt = 1
    pump: object | None = None

    def __init__(self) -> None:
        self.peer: Peer | None = None
        self.told: list[OpenStream] = []

    def send_frame(self, frame: Buffer) -> None:
        raise PathLostError(f"nobody takes {len(frame)} bytes")

    def send_frame_at_once(self, make: Callable[[], Buffer | None]) -> None:
        """Nothing goes at once."""

    def send_ack(self, ack: bytes) -> None:
        raise PathLostError(f"nobody takes {len(ack)} bytes")

    def request(self, message: bytes) -> bytes:
        opened = decode_message(message)
        assert isinstance(opened, OpenStream)
        assert self.peer is not None
        assert self.peer.opening.locked()
        self.told.append(opened)
        return encode(Done())

    def close(self) -> None:
        """Nothing is behind it."""


def test_nobody_gets_a_stream_before_the_other_side_knows_of_it() -> None:
    """A pair bound its channel to a stream that another pair was just opening: refused for good."""
    far = Far()
    peer = Peer(
        SystemId("100a"),
        SystemId("100b"),
        queue_bytes=4 << 20,
        lost=lambda *_: None,
        failed=lambda *_: None,
    )
    far.peer = peer
    peer.connected(far, Terms())
    first = peer.outlet(GroupId("g"))
    assert peer.outlet(GroupId("g")) is first
    assert [one.stream_id for one in far.told] == [first.stream_id]
    peer.close()
