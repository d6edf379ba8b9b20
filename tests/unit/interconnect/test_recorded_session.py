"""A session that an earlier version's primary led is understood, order by order, by a live peer."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from pyrep._core.pump import Numbers, decode_numbers
from pyrep.engine import StorageSystem
from pyrep.interconnect import Plain
from pyrep.interconnect.channel import SocketChannel
from pyrep.interconnect.envelope import Envelope, Kind, receive, seal_envelope
from pyrep.interconnect.messages import (
    PROTOCOL_OLDEST,
    PROTOCOL_VERSION,
    StreamAck,
    decode_plain,
    encode,
)
from pyrep.interconnect.messages_path import Accept, OpenData

RECORDED = Path(__file__).resolve().parents[2] / "recorded"
VERSIONS = range(PROTOCOL_OLDEST, PROTOCOL_VERSION + 1)
OWN = {"current", "common", "history"}
"""What an answer has of the peer's own: its data identifiers are random."""


_NUMBERED = (Kind.ACK, Kind.NUMBERS)
"""Which of both a system sends is its own choice, where no volume has failed."""


def numbers_of(kind: Kind, body: bytes) -> Numbers:
    """Return what an acknowledgement says, of either kind."""
    if kind is Kind.NUMBERS:
        return decode_numbers(body)
    ack = decode_plain(body, StreamAck)
    assert not ack.errors
    return Numbers(
        stream_id=ack.stream_id, attempt=ack.attempt, received=ack.received, durable=ack.durable
    )


class Line(NamedTuple):
    """One message of the recording."""

    who: str
    lane: str
    kind: Kind
    tag: int
    body: bytes


def session(version: int) -> tuple[int, str, list[Line]]:
    """Return the volume's size, the digest of what it holds in the end, and the messages."""
    first, *lines = (RECORDED / f"protocol-{version}-session.txt").read_text().splitlines()
    size, held = first.split()
    split = [line.split(" ") for line in lines]
    return (
        int(size),
        held,
        [
            Line(who, lane, Kind[kind], int(tag), bytes.fromhex(body))
            for who, lane, kind, tag, body in split
        ],
    )


class Player:
    """100a, as it was recorded, before a live 100b."""

    def __init__(self, host: str, port: int) -> None:
        self.lanes = {one: self._connect(host, port) for one in ("control", "data")}
        self.token = b""
        self.heard: list[tuple[Envelope, bytes]] = []
        self.tags: dict[int, int] = {}
        self.answers = 0

    @staticmethod
    def _connect(host: str, port: int) -> SocketChannel:
        return SocketChannel(socket.create_connection((host, port), 30))

    def close(self) -> None:
        for one in self.lanes.values():
            one.free()

    def play(self, line: Line) -> None:
        if line.who == "100a":
            self._say(line)
        elif line.kind is Kind.ACCEPT:
            envelope, body = receive(self.lanes[line.lane])
            assert envelope.kind is Kind.ACCEPT, body
            self.token = decode_plain(body, Accept).token or self.token
        elif line.kind in _NUMBERED:
            self._await_numbers(numbers_of(line.kind, line.body))
        elif line.kind is Kind.ANSWER:
            self._await_answer(line)
        elif line.kind is Kind.COMMAND:
            self._await_command(line)

    def _say(self, line: Line) -> None:
        body = line.body
        if line.kind is Kind.OPEN_DATA:
            body = encode(OpenData(token=self.token))  # of this attempt
        tag = self.tags.get(line.tag, line.tag) if line.kind is Kind.ANSWER else line.tag
        self.lanes[line.lane].send_all(seal_envelope(line.kind, tag, len(body)), body)

    def _hear(self) -> tuple[Envelope, bytes]:
        self.heard.append(receive(self.lanes["control"]))
        return self.heard[-1]

    def _messages(self, *kinds: Kind) -> Iterator[tuple[Envelope, bytes]]:
        """Yield what came of some kinds, then what comes."""
        at = 0
        while True:
            while at >= len(self.heard):
                self._hear()
            if self.heard[at][0].kind in kinds:
                yield self.heard[at]
            at += 1

    def _await_numbers(self, recorded: Numbers) -> None:
        for envelope, body in self._messages(*_NUMBERED):
            told = numbers_of(envelope.kind, body)
            same = (told.stream_id, told.attempt) == (recorded.stream_id, recorded.attempt)
            if same and told.received >= recorded.received and told.durable >= recorded.durable:
                return

    def _await_answer(self, line: Line) -> None:
        for envelope, body in self._messages(Kind.ANSWER):
            if envelope.tag == line.tag:
                assert stable(body) == stable(line.body)
                self.answers += 1
                return

    def _await_command(self, line: Line) -> None:
        for envelope, body in self._messages(Kind.COMMAND):
            if stable(body)["type"] == stable(line.body)["type"]:
                self.tags[line.tag] = envelope.tag
                return


def stable(body: bytes) -> dict[str, Any]:
    """Return what a message says, but for what is random."""
    said: dict[str, Any] = msgspec.msgpack.decode(body[8:], strict=False)
    return {name: value for name, value in said.items() if name not in OWN}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_primary_leads_a_live_secondary_through_a_whole_session(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, held, lines = session(version)
    with StorageSystem.create(tmp_path / "100b", "100b") as system:
        volume = system.create_volume("105b", size)
        # The attempt is the recorded one: frames carry it.
        accept = next(one for one in lines if one.kind is Kind.ACCEPT)
        attempt = decode_plain(accept.body, Accept).attempt
        monkeypatch.setattr(system.endpoint, "attempt_above", lambda _: attempt)
        address = system.listen("127.0.0.1:0", security=Plain()).address
        player = Player(address.host, address.port)
        for line in lines:
            player.play(line)
        (row,) = system.table()
        assert (row.status, row.cause) == ("SPLIT", "requested")
        assert hashlib.sha256(volume.pread(size, 0)).hexdigest() == held
        assert player.answers > 10
        assert sum(one.kind is Kind.FRAME for one in lines) > 3
        player.close()
