from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.api import ApiConnections, Query, failure_to, socket_address
from pyrep.errors import NotServedError, PyrepError, RefusedError, TimedOutError, WireError


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.asked: list[str] = []
        self.connections = 0
        self.last = threading.Event()
        with socket_address(path) as address:
            super().__init__(address, _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.client_address = ("", 0)
        self.server.connections += 1

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name = self.path.split("?")[0].rpartition("/")[2]
        if name == "silent":
            self.server.last.wait()
            return
        status, octets = 200, body or b"{}"
        if name == "refused":
            status, octets = 409, json.dumps(failure_to(RefusedError("no", hint="yes"))).encode()
        elif name == "strange":
            status, octets = 500, b"<html>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)
        if name == "once":
            self.close_connection = True  # without having said so

    do_GET = do_PUT = do_POST = _answer  # noqa: N815 (the library's names)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    with _Server(tmp_path / "api.sock") as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield server
        server.last.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def connections(server: _Server, tmp_path: Path) -> Iterator[ApiConnections]:
    assert server.connections == 0
    made = ApiConnections(tmp_path / "api.sock", timeout_s=30)
    yield made
    made.close()


def test_parts_are_quoted_and_values_left_out_when_there_are_none(
    server: _Server, connections: ApiConnections
) -> None:
    query: Query = {"offset": 5, "label": "a b", "none": None, "dry_run": True}
    assert connections.ask("GET", ("volumes", "a/b?"), query=query) == {}
    assert server.asked == ["GET /v1/volumes/a%2Fb%3F?offset=5&label=a+b&dry_run=true"]


def test_octets_go_and_come_unchanged(connections: ApiConnections) -> None:
    data = bytes(range(256)) * 1000
    assert connections.send("PUT", ("echo",), data=memoryview(data)) == data


def test_a_connection_is_used_again(server: _Server, connections: ApiConnections) -> None:
    for _ in range(3):
        connections.ask("GET", ("system",))
    assert server.connections == 1


def test_a_connection_that_the_server_closed_is_replaced(
    server: _Server, connections: ApiConnections
) -> None:
    connections.ask("GET", ("once",))
    assert connections.ask("GET", ("system",)) == {}
    assert server.asked == ["GET /v1/once", "GET /v1/system"]


def test_a_command_is_never_sent_twice(server: _Server, connections: ApiConnections) -> None:
    connections.ask("GET", ("once",))
    connections.ask("POST", ("pairs",), body={})
    assert server.asked == ["GET /v1/once", "POST /v1/pairs"]
    assert server.connections == 2


def test_what_the_server_raised_is_raised_here(connections: ApiConnections) -> None:
    with pytest.raises(RefusedError, match="no") as caught:
        connections.ask("POST", ("refused",))
    assert caught.value.hint == "yes"


def test_another_answer_than_the_protocols_is_told(connections: ApiConnections) -> None:
    with pytest.raises(WireError, match="status 500: <html>"):
        connections.ask("GET", ("strange",))


def test_a_silent_server_is_not_waited_for_without_end(server: _Server, tmp_path: Path) -> None:
    assert not server.asked
    hasty = ApiConnections(tmp_path / "api.sock", timeout_s=0.05)
    with pytest.raises(TimedOutError, match="silent"):
        hasty.ask("POST", ("silent",), body={})


def test_nobody_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    for path in (tmp_path / "none.sock", tmp_path / "file" / "none.sock"):
        (tmp_path / "file").touch()
        with pytest.raises(NotServedError, match="no system is served") as caught:
            ApiConnections(path, timeout_s=1).ask("GET", ("system",))
        assert "pyrep serve" in (caught.value.hint or "")


def test_a_socket_deep_down_is_reached(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120) / "api.sock"
    deep.parent.mkdir()
    with _Server(deep) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        made = ApiConnections(deep, timeout_s=30)
        assert made.ask("GET", ("system",)) == {}
        made.close()
        thread.join()


def test_every_failure_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(PyrepError):
        ApiConnections(tmp_path, timeout_s=1).ask("GET", ("system",))
