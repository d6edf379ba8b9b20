from __future__ import annotations

import pytest

from pyrep.errors import PathLostError, WireError
from pyrep.interconnect.envelope import (
    ENVELOPE_BYTES,
    Envelope,
    Kind,
    open_envelope,
    receive,
    seal_envelope,
)
from tape import Tape

SEALED = seal_envelope(Kind.COMMAND, 77, 5)


def test_an_envelope_opens_as_it_was_sealed() -> None:
    assert open_envelope(SEALED) == Envelope(kind=Kind.COMMAND, tag=77, body_bytes=5)


def test_every_flipped_bit_of_an_envelope_is_noticed() -> None:
    for bit in range(ENVELOPE_BYTES * 8):
        damaged = bytearray(SEALED)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(WireError):
            open_envelope(damaged)


def test_every_truncation_of_an_envelope_is_noticed() -> None:
    for length in range(ENVELOPE_BYTES):
        with pytest.raises(WireError):
            open_envelope(SEALED[:length])


@pytest.mark.parametrize(("kind", "body_bytes"), [(Kind.PING, 1), (Kind.FRAME, (1 << 20) + 1)])
def test_a_length_that_its_kind_cannot_have_is_refused(kind: Kind, body_bytes: int) -> None:
    with pytest.raises(WireError, match=kind.name):
        open_envelope(seal_envelope(kind, 0, body_bytes))


def test_a_body_arrives_whole_whatever_the_pieces() -> None:
    tape = Tape(SEALED + b"hello" + seal_envelope(Kind.PING, 0, 0))
    assert receive(tape) == (open_envelope(SEALED), b"hello")
    assert receive(tape)[0].kind is Kind.PING


def test_a_length_that_was_made_up_takes_no_memory_before_bytes_come() -> None:
    tape = Tape(seal_envelope(Kind.COMMAND, 1, 1 << 30) + b"little")
    with pytest.raises(PathLostError):
        receive(tape)
