from __future__ import annotations

import random

import pytest

from pyrep._core import FRAME_BYTES
from pyrep.errors import PathLostError, WireError
from pyrep.interconnect.envelope import Kind, seal_envelope
from pyrep.interconnect.framereader import FrameReader
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
