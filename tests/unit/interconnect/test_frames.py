from __future__ import annotations

import pytest

from pyrep._core import FRAME_DIGEST_FROM
from pyrep.errors import WireError
from pyrep.interconnect import check_digest, seal


def test_a_sealed_frame_is_taken() -> None:
    frame = bytearray(b"f" * 200)
    seal(frame)
    check_digest(frame)
    check_digest(bytes(frame))


def test_an_unsealed_frame_is_refused() -> None:
    with pytest.raises(WireError, match="200 bytes: its digest doesn't match"):
        check_digest(bytes(200))


@pytest.mark.parametrize("length", [0, 1, FRAME_DIGEST_FROM - 1])
def test_a_frame_without_room_for_a_digest_is_refused(length: int) -> None:
    with pytest.raises(WireError, match="no digest"):
        check_digest(bytes(length))


def test_the_digest_covers_everything_behind_it() -> None:
    frame = bytearray(range(200))
    seal(frame)
    for position in range(FRAME_DIGEST_FROM, len(frame)):
        harmed = bytearray(frame)
        harmed[position] ^= 1
        with pytest.raises(WireError):
            check_digest(harmed)
