from __future__ import annotations

import random
import socket

import pytest

from pyrep._core import FRAME_BYTES
from pyrep.errors import PathLostError, WireError
from pyrep.interconnect.channel import Plain
from pyrep.interconnect.envelope import Kind, seal_envelope
from pyrep.interconnect.framereader import FrameReader
from pyrep.model import SystemId
from tape import Tape


@pytest.mark.parametrize("at_once", [1000, 70_000, 1 << 21])
def test_frames_come_out_as_they_went_in_whatever_their_sizes(at_once: int) -> None:
    chance = random.Random(at_once)
    sizes = [chance.choice([64, 100, 5000, FRAME_BYTES, FRAME_BYTES - 1]) for _ in range(60)]
    frames = [chance.randbytes(size) for size in sizes]
    sent = b"".join(seal_envelope(Kind.FRAME, 0, len(one)) + one for one in frames)
    reader = FrameReader(Tape(sent, at_once=at_once))
    assert [bytes(reader.next()) for _ in frames] == frames
    with pytest.raises(PathLostError):
        reader.next()


def test_what_is_no_frame_is_refused_where_frames_come() -> None:
    with pytest.raises(WireError, match="ACK"):
        FrameReader(Tape(seal_envelope(Kind.ACK, 0, 3) + b"abc")).next()


def test_the_next_frame_is_said_to_have_begun_when_a_part_of_it_is_here() -> None:
    near, far = socket.socketpair()
    sender, receiver = Plain().client(near, SystemId("100b")), Plain().server(far)
    heard: list[None] = []
    sealed = seal_envelope(Kind.FRAME, 0, 64) + bytes(64)
    reader = FrameReader(receiver, lambda: heard.append(None))
    given = iter(reader)
    sender.send_all(sealed)
    assert next(given) == bytes(64)
    said = [reader.next_has_begun]
    sender.send_all(sealed[:10])
    said.append(reader.next_has_begun)  # in the socket
    sender.send_all(sealed[10:] + sealed[:10])
    assert next(given) == bytes(64)
    said.append(reader.next_has_begun)  # in its memory
    assert said == [False, True, True]
    assert len(heard) == 2
    sender.free()
    receiver.free()
