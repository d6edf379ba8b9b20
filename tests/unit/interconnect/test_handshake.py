"""The dialling side of a handshake that the other one ends."""

from __future__ import annotations

import socket

import pytest

from pyrep.errors import PathLostError, WireError
from pyrep.interconnect import Plain
from pyrep.interconnect.channel import SocketChannel
from pyrep.interconnect.envelope import Kind
from pyrep.interconnect.handshake import _asked, refuse
from pyrep.interconnect.messages_path import OpenData
from pyrep.model import SystemId

ASKED = OpenData(token=b"t" * 16)


def test_what_was_said_before_the_end_is_the_reason_though_nothing_can_be_sent_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near_sock, far_sock = socket.socketpair()
    near = Plain().client(near_sock, SystemId("100b"))
    refuse(Plain().server(far_sock), WireError("you are denied", hint="ask them"))

    def gone(*_: object) -> None:
        raise PathLostError("the path was lost: Connection reset by peer")

    monkeypatch.setattr(SocketChannel, "send_all", gone)
    with pytest.raises(WireError, match="refused there: you are denied") as caught:
        _asked(near, Kind.OPEN_DATA, ASKED)
    assert caught.value.hint == "ask them"
    near.free()


def test_an_end_without_a_word_is_a_lost_path() -> None:
    near_sock, far_sock = socket.socketpair()
    near = Plain().client(near_sock, SystemId("100b"))
    far_sock.close()
    with pytest.raises(PathLostError):
        _asked(near, Kind.OPEN_DATA, ASKED)
    near.free()
