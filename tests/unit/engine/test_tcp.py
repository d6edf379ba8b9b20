"""Two systems in one process, connected over loopback TCP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine.peer import Peer
from pyrep.engine.secondary import SecondarySide
from pyrep.errors import DeviceError, InvalidArgumentError
from pyrep.interconnect import Listener, PathTiming, Plain, TcpPath
from pyrep.interconnect.envelope import Kind, seal_envelope
from pyrep.interconnect.messages import encode
from pyrep.interconnect.messages_path import OpenControl
from pyrep.model import Direction, PairStatus, SystemId
from pyrep.testing import wait_until
from pyrep.workflows import backup
from rig import LONG_S, Rig, Site, equal, fill, row_of

QUICK = PathTiming(retry_first_s=0.01, retry_most_s=0.05)


class TcpRig(Rig):
    """The rig's systems, 100a dialling 100b."""

    listener: Listener
    dialled: TcpPath

    def build_tcp(self) -> TcpRig:
        """Make everything, with the path up."""
        self.make("100a", "105a", "106a")
        self.make("100b", "105b", "106b", "107b")
        self.listen()
        self.dial()
        self.await_path()
        return self

    def listen(self, address: str = "127.0.0.1:0") -> None:
        """Let 100b listen."""
        self.listener = self.b.listen(address, security=Plain(), timing=QUICK)

    def dial(self) -> None:
        """Let 100a dial."""
        address = str(self.listener.address)
        self.dialled = self.a.dial("100b", address, security=Plain(), timing=QUICK)

    def await_path(self, *, is_up: bool = True) -> None:
        """Wait until both systems know."""
        wait_until(lambda: self.a.endpoint.is_connected(self.b.system_id) is is_up)
        wait_until(lambda: self.b.endpoint.is_connected(self.a.system_id) is is_up)


@pytest.fixture
def tcp(tmp_path: Path) -> Iterator[TcpRig]:
    rig = TcpRig(tmp_path).build_tcp()
    yield rig
    rig.close()


def test_a_pair_over_tcp_becomes_equal_and_follows(tcp: TcpRig) -> None:
    tcp.remote()
    fill(tcp.pvol, 2)
    tcp.pvol.flush()
    assert equal(tcp.pvol, tcp.spvol)


def test_a_pair_is_copied_back_over_tcp(tcp: TcpRig) -> None:
    pair = tcp.remote()
    pair.split()
    fill(tcp.spvol, 3)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert row_of(tcp.a, pair).status is PairStatus.DUPLEX
    assert equal(tcp.pvol, tcp.spvol)


def test_a_backup_over_tcp_leaves_the_mirror_duplex(tcp: TcpRig) -> None:
    pair = tcp.remote()
    tcp.local()
    backup(tcp.a, ["105a"])
    assert row_of(tcp.a, pair).status is PairStatus.DUPLEX
    assert equal(tcp.pvol, tcp.svol)


def test_a_lost_path_comes_back_and_the_pair_is_resynced_by_itself(tcp: TcpRig) -> None:
    pair = tcp.remote()
    address = str(tcp.listener.address)
    tcp.listener.close()
    tcp.await_path(is_up=False)
    fill(tcp.pvol, 4)  # hosts go on
    wait_until(lambda: row_of(tcp.a, pair).status is PairStatus.SPLIT)
    state = tcp.dialled.state()
    assert not state.is_up
    wait_until(lambda: "refused" in (tcp.dialled.state().last_error or ""))
    tcp.listen(address)
    pair.wait(timeout_s=LONG_S)
    assert equal(tcp.pvol, tcp.spvol)
    assert tcp.dialled.state().is_up


def test_a_crashed_secondary_is_found_again(tcp: TcpRig) -> None:
    pair = tcp.remote()
    address = str(tcp.listener.address)
    tcp.reopen("100b", crash=True)
    fill(tcp.pvol, 5)
    tcp.listen(address)
    pair.wait(timeout_s=LONG_S)
    assert equal(tcp.pvol, tcp.spvol)


def test_systems_that_dial_each_other_end_with_one_path(tcp: TcpRig) -> None:
    other = tcp.a.listen("127.0.0.1:0", security=Plain(), timing=QUICK)
    back = tcp.b.dial("100a", str(other.address), security=Plain(), timing=QUICK)
    pair = tcp.remote()
    for seed in range(3):
        tcp.listener.close()
        fill(tcp.pvol, seed)
        pair.wait(timeout_s=LONG_S)  # 100b dials
        wait_until(lambda: back.state().is_up)
        tcp.listen(str(tcp.listener.address))
    assert equal(tcp.pvol, tcp.spvol)


def test_a_system_that_is_not_the_one_dialled_is_refused(tcp: TcpRig) -> None:
    tcp.make("100c")
    path = tcp.systems["100c"].dial(
        "100x", str(tcp.listener.address), security=Plain(), timing=QUICK
    )
    wait_until(lambda: "100b answers where 100x" in (path.state().last_error or ""))
    assert not tcp.b.endpoint.is_connected(tcp.systems["100c"].system_id)


def test_a_listener_whose_address_is_taken_says_so(tcp: TcpRig) -> None:
    with pytest.raises(DeviceError, match="cannot listen at"):
        tcp.a.listen(str(tcp.listener.address), security=Plain())


def test_no_path_is_added_to_a_closed_system(tcp: TcpRig) -> None:
    tcp.a.close()
    with pytest.raises(InvalidArgumentError, match="closed"):
        tcp.a.listen("127.0.0.1:0", security=Plain())
    with pytest.raises(InvalidArgumentError):
        tcp.b.dial("100a", "nowhere", security=Plain())


def _raw(tcp: TcpRig) -> socket.socket:
    address = tcp.listener.address
    return socket.create_connection((address.host, address.port), LONG_S)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff" * 4096,
        seal_envelope(Kind.FRAME, 0, 100) + b"x" * 100,
        seal_envelope(Kind.OPEN_CONTROL, 0, 4) + b"abcd",
        seal_envelope(Kind.OPEN_DATA, 0, 4) + b"abcd",
    ],
)
def test_garbage_at_the_listener_is_cut_off_without_effect(tcp: TcpRig, said: bytes) -> None:
    pair = tcp.remote()
    with _raw(tcp) as sock:
        sock.sendall(said)
        while sock.recv(4096):  # the refusal, then the end
            pass
    assert row_of(tcp.b, pair).status is PairStatus.DUPLEX
    fill(tcp.pvol, 6)
    tcp.pvol.flush()
    assert equal(tcp.pvol, tcp.spvol)


def test_a_hello_without_a_data_channel_leaves_the_path_that_is_up(tcp: TcpRig) -> None:
    """A dial that was given up, and comes late, must not cost the connection in use."""
    pair = tcp.remote()
    with _raw(tcp) as sock:
        body = encode(OpenControl(hello=tcp.a.endpoint.hello(), attempt=1))
        sock.sendall(seal_envelope(Kind.OPEN_CONTROL, 0, len(body)) + body)
        assert sock.recv(1)  # an answer
    fill(tcp.pvol, 7)
    assert row_of(tcp.a, pair).status is PairStatus.DUPLEX


def test_strangers_that_say_nothing_do_not_keep_a_system_out(tcp: TcpRig) -> None:
    pair = tcp.remote()
    with contextlib.ExitStack() as strangers:
        for _ in range(80):
            strangers.enter_context(_raw(tcp))
        peer = tcp.a.state.peer(tcp.b.system_id)
        before = peer.connection()
        before.close()
        fill(tcp.pvol, 8)
        wait_until(lambda: peer.in_use() not in {None, before})
        pair.wait(timeout_s=LONG_S)
        assert equal(tcp.pvol, tcp.spvol)


def test_two_systems_that_cut_at_once_both_get_away(tcp: TcpRig) -> None:
    tcp.remote()
    ends = [threading.Thread(target=one.close, daemon=True) for one in (tcp.listener, tcp.dialled)]
    for one in ends:
        one.start()
    for one in ends:
        one.join(LONG_S)
    assert not any(one.is_alive() for one in ends)
    tcp.await_path(is_up=False)


@pytest.mark.parametrize(
    ("lane", "said"),
    [
        ("_control", seal_envelope(Kind.ANSWER, 99, 1 << 30)),  # nobody asked: none of it is read
        ("_control", seal_envelope(Kind.FRAME, 0, 100)),
        ("_control", seal_envelope(Kind.OPEN_CONTROL, 0, 100)),
        ("_control", seal_envelope(Kind.ACK, 0, 4) + b"abcd"),
        ("_control", seal_envelope(Kind.NUMBERS, 0, 40) + bytes(40)),
        ("_control", seal_envelope(Kind.NUMBERS, 0, 39) + bytes(39)),
        ("_control", b"\xff" * 32),
        ("_data", seal_envelope(Kind.COMMAND, 1, 100)),
        ("_data", seal_envelope(Kind.FRAME, 0, 100) + b"x" * 100),
    ],
)
def test_a_known_system_that_sends_garbage_is_cut_off_and_comes_back(
    tcp: TcpRig, lane: str, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    pair = tcp.remote()
    connection = tcp.a.state.peer(tcp.b.system_id).connection()
    getattr(connection, lane).send_all(said)
    wait_until(connection.ended.is_set)  # type: ignore[attr-defined]
    cut = [one for one in caplog.records if "path.garbage peer=100a cut off" in one.message]
    assert len(cut) == 1
    tcp.await_path()
    pair.wait(timeout_s=LONG_S)
    fill(tcp.pvol, 9)
    tcp.pvol.flush()
    assert equal(tcp.pvol, tcp.spvol)


def test_a_handshake_that_drips_in_byte_by_byte_is_cut_off_and_keeps_nobody_out(
    tmp_path: Path,
) -> None:
    rig = TcpRig(tmp_path)
    rig.make("100a", "105a", "106a")
    rig.make("100b", "105b", "106b", "107b")
    hasty = PathTiming(connect_s=0.5, retry_first_s=0.01, retry_most_s=0.05)
    rig.listener = rig.b.listen("127.0.0.1:0", security=Plain(), timing=hasty)
    address = rig.listener.address
    head = seal_envelope(Kind.OPEN_CONTROL, 0, 1 << 16)
    sent = 0
    pause = threading.Event()
    with socket.create_connection((address.host, address.port), 10) as sock:
        sock.settimeout(0.02)
        with contextlib.suppress(ConnectionError):  # it is reset while bytes are on their way
            while True:
                sock.sendall(head[sent : sent + 1] or b"x")
                sent += 1
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(1000):
                        break
                if sent == 5:  # meanwhile another one comes in
                    rig.dial()
                    rig.await_path()
                pause.wait(0.005)
    assert 5 < sent < len(head) + (1 << 16)  # each byte came in time; all of them didn't
    rig.remote()
    rig.close()


def test_a_path_that_is_back_waits_until_the_end_of_the_one_before_is_over(
    tcp: TcpRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what that end does to the rows (SPLIT, path_lost) befalls the copy that is under way."""
    pair = tcp.remote()
    goes_on, comes_back = threading.Event(), threading.Event()
    lost, greet = SecondarySide.path_lost, Peer.await_left

    def slowly(side: SecondarySide, system_id: SystemId) -> None:
        if system_id == tcp.a.system_id:
            assert goes_on.wait(LONG_S)
        lost(side, system_id)

    def greeted(peer: Peer, timeout_s: float) -> None:
        if peer is tcp.b.state.peers.get(tcp.a.system_id):
            comes_back.set()
        greet(peer, timeout_s)

    monkeypatch.setattr(SecondarySide, "path_lost", slowly)
    monkeypatch.setattr(Peer, "await_left", greeted)
    peer = tcp.b.state.peer(tcp.a.system_id)
    peer.connection().close()
    assert comes_back.wait(LONG_S)
    fill(tcp.pvol, 6)
    assert not peer.is_connected
    goes_on.set()
    tcp.both(pair, PairStatus.DUPLEX)
    fill(tcp.pvol, 7)
    assert equal(tcp.pvol, tcp.spvol)
    assert row_of(tcp.b, pair).status is PairStatus.DUPLEX


def test_a_system_does_not_dial_itself(site: Site) -> None:
    system = site.make("100a")
    with pytest.raises(InvalidArgumentError, match="100a can't dial itself") as caught:
        system.dial("100a", "127.0.0.1:1", security=Plain())
    assert caught.value.hint


def test_a_path_that_is_down_is_logged_with_what_to_do(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    system = site.make("100a")
    path = system.dial("100b", "127.0.0.1:1", security=Plain())

    def logged() -> list[str]:
        return [one.message for one in caplog.records if "path.down peer=100b" in one.message]

    wait_until(lambda: bool(logged()))  # a moment after the path's state tells it
    (told,) = logged()
    assert told.endswith(f"hint={path.state().hint}")
