"""The proxy with faults, between plain sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyrep.testing import FaultProxy, Way

PATIENCE_S = 30.0
DATA = bytes(range(256)) * 1024


class Ends:
    """A client and a server of one connection through a proxy."""

    def __init__(self, proxy: FaultProxy, server: socket.socket) -> None:
        host, port = proxy.address.rsplit(":", 1)
        self.client = socket.create_connection((host, int(port)), PATIENCE_S)
        self.server, _ = server.accept()
        self.server.settimeout(PATIENCE_S)

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(PATIENCE_S)
        yield made


@pytest.fixture
def proxy(server: socket.socket) -> Iterator[FaultProxy]:
    with FaultProxy(f"127.0.0.1:{server.getsockname()[1]}") as made:
        yield made


@contextmanager
def dialled(proxy: FaultProxy, server: socket.socket) -> Iterator[Ends]:
    ends = Ends(proxy, server)
    try:
        yield ends
    finally:
        ends.close()


def taken(sock: socket.socket, count: int) -> bytes:
    """Receive so many bytes, or less if they end."""
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def rest(sock: socket.socket) -> bytes:
    """Receive until the end, whatever it is like."""
    data = b""
    try:
        while piece := sock.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    return data


def test_bytes_and_ends_pass_both_ways(proxy: FaultProxy, server: socket.socket) -> None:
    with dialled(proxy, server) as ends:
        ends.client.sendall(DATA)
        assert taken(ends.server, len(DATA)) == DATA
        ends.client.shutdown(socket.SHUT_WR)
        assert ends.server.recv(1) == b""
        ends.server.sendall(b"answer")  # the other direction is still open
        assert taken(ends.client, 6) == b"answer"
        ends.server.shutdown(socket.SHUT_WR)
        assert ends.client.recv(1) == b""
    assert proxy.passed_bytes(Way.THERE) == len(DATA)
    assert proxy.passed_bytes(Way.BACK) == 6


@pytest.mark.parametrize("count", [0, 1, 1000, len(DATA) - 1, len(DATA)])
def test_a_cut_comes_after_exactly_so_many_bytes(
    proxy: FaultProxy, server: socket.socket, count: int
) -> None:
    with dialled(proxy, server) as ends:
        proxy.cut_after(count, Way.THERE)
        with contextlib.suppress(OSError):  # it was cut meanwhile
            ends.client.sendall(DATA)
        assert rest(ends.server) == DATA[:count]
        assert rest(ends.client) == b""
    with dialled(proxy, server) as ends:  # it strikes once
        ends.client.sendall(b"again")
        assert taken(ends.server, 5) == b"again"


def test_one_bit_is_flipped_where_it_was_asked_for(
    proxy: FaultProxy, server: socket.socket
) -> None:
    with dialled(proxy, server) as ends:
        proxy.corrupt_after(70_000, Way.BACK, mask=0x80)
        ends.server.sendall(DATA)
        got = taken(ends.client, len(DATA))
        assert [at for at in range(len(DATA)) if got[at] != DATA[at]] == [70_000]
        assert got[70_000] == DATA[70_000] ^ 0x80


def test_a_fault_may_be_meant_for_one_connection(proxy: FaultProxy, server: socket.socket) -> None:
    with dialled(proxy, server) as first, dialled(proxy, server) as second:
        proxy.corrupt_after(0, Way.THERE, on={1})
        first.client.sendall(b"a")
        assert taken(first.server, 1) == b"a"
        second.client.sendall(b"a")
        assert taken(second.server, 1) == b"`"


def test_what_is_swallowed_never_arrives_and_neither_does_its_end(
    proxy: FaultProxy, server: socket.socket
) -> None:
    with dialled(proxy, server) as ends:
        proxy.swallow(Way.THERE)
        ends.client.sendall(DATA)
        ends.client.shutdown(socket.SHUT_WR)
        ends.server.sendall(b"are you there?")
        assert taken(ends.client, 14) == b"are you there?"  # the other direction passes
        ends.server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ends.server.recv(1)
        proxy.calm()
        with pytest.raises(TimeoutError):
            ends.server.recv(1)
    with dialled(proxy, server) as ends:
        ends.client.sendall(b"new")
        assert taken(ends.server, 3) == b"new"


def test_what_is_stalled_comes_when_it_goes_on(proxy: FaultProxy, server: socket.socket) -> None:
    with dialled(proxy, server) as ends:
        proxy.stall(Way.THERE)
        ends.client.sendall(b"late")
        ends.server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            ends.server.recv(1)
        proxy.go_on()
        ends.server.settimeout(PATIENCE_S)
        assert taken(ends.server, 4) == b"late"


def test_bytes_are_under_way_for_as_long_as_was_said(
    proxy: FaultProxy, server: socket.socket
) -> None:
    with dialled(proxy, server) as ends:
        proxy.delay(0.05)
        proxy.limit(10_000_000)
        begun_s = time.monotonic()
        ends.client.sendall(DATA)
        assert taken(ends.server, len(DATA)) == DATA
        ends.server.sendall(b"x")
        assert taken(ends.client, 1) == b"x"
        assert time.monotonic() - begun_s >= 0.1 + len(DATA) / 10_000_000  # never earlier


def test_a_reset_is_no_orderly_end(proxy: FaultProxy, server: socket.socket) -> None:
    with dialled(proxy, server) as ends:
        proxy.reset()
        for sock in (ends.client, ends.server):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_new_connections_are_refused_and_those_that_are_up_stay(
    proxy: FaultProxy, server: socket.socket
) -> None:
    host, port = proxy.address.rsplit(":", 1)
    with dialled(proxy, server) as ends:
        proxy.refuse()
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection((host, int(port)), PATIENCE_S) as refused,
        ):
            refused.recv(1)
        ends.client.sendall(b"up")
        assert taken(ends.server, 2) == b"up"
        proxy.mute()
        with socket.create_connection((host, int(port)), 0.05) as mute, pytest.raises(TimeoutError):
            mute.recv(1)
        proxy.accept()
        with dialled(proxy, server) as another:
            another.client.sendall(b"x")
            assert taken(another.server, 1) == b"x"
    assert proxy.taken_count == 2


def test_a_target_that_is_away_resets_who_dials(proxy: FaultProxy, server: socket.socket) -> None:
    server.close()
    host, port = proxy.address.rsplit(":", 1)
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection((host, int(port)), PATIENCE_S) as sock,
    ):
        sock.recv(1)


def test_closing_it_ends_senders_that_nobody_reads(server: socket.socket) -> None:
    with (
        FaultProxy(f"127.0.0.1:{server.getsockname()[1]}") as proxy,
        dialled(proxy, server) as ends,
    ):
        ends.client.setblocking(False)
        while True:
            try:
                ends.client.send(DATA)
            except BlockingIOError:
                break
        proxy.close()
        assert proxy.live == ()
