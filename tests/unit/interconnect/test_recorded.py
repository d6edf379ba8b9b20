"""What released versions put on the path is understood by this one, field by field."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pyrep._core import check_frame, decode_numbers
from pyrep.interconnect import check_digest
from pyrep.interconnect.envelope import Kind
from pyrep.interconnect.messages import (
    PROTOCOL_OLDEST,
    PROTOCOL_VERSION,
    Hello,
    StreamAck,
    decode_answer,
    decode_message,
    decode_plain,
)
from pyrep.interconnect.messages_path import Accept, OpenControl, OpenData

RECORDED = Path(__file__).resolve().parents[2] / "recorded"
VERSIONS = range(PROTOCOL_OLDEST, PROTOCOL_VERSION + 1)
PLAIN: dict[Kind, type[msgspec.Struct]] = {
    Kind.OPEN_CONTROL: OpenControl,
    Kind.OPEN_DATA: OpenData,
    Kind.ACCEPT: Accept,
    Kind.ACK: StreamAck,
}


def lines(version: int) -> list[tuple[Kind, bytes]]:
    """Return kinds and bodies."""
    text = (RECORDED / f"protocol-{version}.txt").read_text()
    split = [line.split(" ") for line in text.splitlines()]
    return [(Kind[kind], bytes.fromhex(body)) for kind, body in split]


def understood(kind: Kind, body: bytes) -> msgspec.Struct:
    """Return what this version makes of a message."""
    if kind is Kind.COMMAND:
        return decode_message(body)
    if kind is Kind.ANSWER:
        return decode_answer(body)
    return decode_plain(body, PLAIN[kind])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_message_says_today_what_it_said_then(version: int) -> None:
    for kind, body in lines(version):
        if kind in {Kind.FRAME, Kind.PING, Kind.PONG}:
            continue
        if kind is Kind.NUMBERS:
            assert decode_numbers(body).stream_id  # its digest is right
            continue
        message = understood(kind, body)
        said = msgspec.msgpack.decode(body[8:], strict=False)
        tag = said.pop("type", None)
        assert tag == message.__struct_config__.tag
        for name, value in said.items():
            assert getattr(message, name) == value, (kind.name, tag, name)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_handshake_offers_its_version(version: int) -> None:
    opened = [body for kind, body in lines(version) if kind is Kind.OPEN_CONTROL]
    hello = decode_plain(decode_plain(opened[0], OpenControl).hello, Hello)
    assert hello.version_max == version


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_frames_are_taken(version: int) -> None:
    frames = [body for kind, body in lines(version) if kind is Kind.FRAME]
    assert frames
    for frame in frames:
        check_digest(frame)
        assert check_frame(frame).record_count
