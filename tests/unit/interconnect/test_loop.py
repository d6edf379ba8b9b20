from __future__ import annotations

import threading

import pytest

from pyrep.errors import PathLostError, WireError
from pyrep.interconnect import LoopPath
from pyrep.model import SystemId
from pyrep.seams import Buffer, Connection
from pyrep.testing import wait_until


class End:
    """An endpoint that notes what it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[tuple[str, object]] = []
        self.connection: Connection | None = None
        self.refuses = False
        self.down_takes: threading.Event | None = None
        self.lost: list[Connection] = []

    @property
    def system_id(self) -> SystemId:
        return SystemId(self.name)

    def hello(self) -> bytes:
        return self.name.encode()

    def attempt_above(self, peer_id: SystemId) -> int:
        assert peer_id != self.system_id
        return 1

    def is_connected(self, peer_id: SystemId) -> bool:
        assert peer_id != self.system_id
        return self.connection is not None

    def greet(self, connection: Connection, hello: bytes) -> None:
        if self.refuses:
            raise WireError(f"{self.name} doesn't understand")
        self.heard.append(("greet", hello))
        self.connection = connection

    def path_up(self, connection: Connection) -> None:
        self.heard.append(("up", connection.attempt))

    def path_down(self, connection: Connection) -> None:
        if self.down_takes is not None:
            self.down_takes.wait()
        self.lost.append(connection)

    def take_frame(self, connection: Connection, frame: Buffer) -> None:
        self.heard.append(("frame", bytes(frame)))
        connection.send_ack(b"ack of " + bytes(frame))

    def pump_frames(self, connection: Connection) -> bytes:
        raise AssertionError(connection)

    def pump_numbers(self, connection: Connection) -> bytes:
        raise AssertionError(connection)

    def take_numbers(self, connection: Connection, body: bytes) -> None:
        raise AssertionError((connection, body))

    def take_ack(self, connection: Connection, ack: bytes) -> None:
        assert connection is self.connection
        self.heard.append(("ack", ack))

    def answer(self, connection: Connection, message: bytes) -> bytes:
        assert connection is self.connection
        return message[::-1]

    def link(self) -> Connection:
        assert self.connection is not None
        return self.connection


@pytest.fixture
def ends() -> tuple[End, End]:
    return End("100a"), End("100b")


def test_both_sides_greet_before_either_is_told_that_the_path_is_up(ends: tuple[End, End]) -> None:
    path = LoopPath(*ends)
    path.connect()
    assert path.is_up
    assert [what for what, _ in ends[0].heard] == ["greet", "up"]
    assert ends[0].heard[0] == ("greet", b"100b")
    assert ends[1].heard[0] == ("greet", b"100a")
    assert ends[0].link().attempt == ends[1].link().attempt


def test_frames_acknowledgements_and_commands_cross_and_frames_are_counted(
    ends: tuple[End, End],
) -> None:
    path = LoopPath(*ends)
    path.connect()
    ends[0].link().send_frame(b"1234")
    assert ends[1].heard[-1] == ("frame", b"1234")
    assert ends[0].heard[-1] == ("ack", b"ack of 1234")
    assert ends[1].link().request(b"abc") == b"cba"
    assert path.frame_bytes == 4


def test_connect_and_cut_again_are_harmless_and_each_attempt_is_newer(
    ends: tuple[End, End],
) -> None:
    path = LoopPath(*ends)
    path.cut()
    attempts = []
    for _ in range(3):
        path.connect()
        path.connect()
        attempts.append(ends[0].link().attempt)
        path.cut()
        path.cut()
    assert attempts == sorted(set(attempts))
    assert len(ends[0].lost) == len(ends[1].lost) == 3


def test_a_connection_that_is_gone_never_comes_back(ends: tuple[End, End]) -> None:
    path = LoopPath(*ends)
    path.connect()
    old = ends[0].link()
    path.cut()
    path.connect()
    with pytest.raises(PathLostError):
        old.send_frame(b"x")
    with pytest.raises(PathLostError):
        old.send_ack(b"x")
    with pytest.raises(PathLostError) as caught:
        old.request(b"x")
    assert caught.value.hint


@pytest.mark.parametrize("refusing", [0, 1])
def test_a_handshake_that_fails_leaves_the_path_down(ends: tuple[End, End], refusing: int) -> None:
    path = LoopPath(*ends)
    ends[refusing].refuses = True
    with pytest.raises(WireError, match="doesn't understand"):
        path.connect()
    assert not path.is_up
    assert not [what for end in ends for what, _ in end.heard if what == "up"]
    ends[refusing].refuses = False
    path.connect()
    assert path.is_up


@pytest.mark.parametrize("then", ["resume", "cut"])
def test_a_stalled_frame_waits_for_the_end_of_the_stall_or_of_the_path(
    ends: tuple[End, End], then: str
) -> None:
    path = LoopPath(*ends)
    path.connect()
    path.stall()
    assert ends[0].link().request(b"commands pass") is not None
    lost: list[PathLostError] = []

    def send() -> None:
        try:
            ends[0].link().send_frame(b"x")
        except PathLostError as error:
            lost.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    assert not [what for what, _ in ends[1].heard if what == "frame"]
    if then == "resume":
        path.resume()
    else:
        path.cut()
    sender.join()
    assert bool(lost) == (then == "cut")
    path.close()


def test_a_new_attempt_waits_until_both_systems_have_got_over_the_loss(
    ends: tuple[End, End],
) -> None:
    path = LoopPath(*ends)
    path.connect()
    old = ends[1].link()
    ends[1].down_takes = threading.Event()
    cutter = threading.Thread(target=path.cut)
    cutter.start()
    wait_until(lambda: not path.is_up)
    connector = threading.Thread(target=path.connect)
    connector.start()
    ends[1].down_takes.set()
    for thread in (cutter, connector):
        thread.join()
    assert ends[1].lost == [old]
    assert path.is_up
    assert ends[1].link() is not old


def test_closing_either_end_cuts_the_path_for_both(ends: tuple[End, End]) -> None:
    path = LoopPath(*ends)
    path.connect()
    ends[1].link().close()
    assert not path.is_up
    assert len(ends[0].lost) == len(ends[1].lost) == 1


def test_one_system_that_fails_to_take_notice_does_not_hide_the_loss_from_the_other(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = LoopPath(*ends)
    path.connect()

    def fail(_: Connection) -> None:
        raise PathLostError("no")

    monkeypatch.setattr(ends[1], "path_down", fail)
    with pytest.raises(PathLostError):
        path.cut()
    assert len(ends[0].lost) == 1
    path.connect()
    assert path.is_up
