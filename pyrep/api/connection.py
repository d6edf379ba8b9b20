"""HTTP over a unix socket: a few kept connections, errors as exceptions."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from pyrep.api.failures import failure_from
from pyrep.errors import NotServedError, PyrepError, TimedOutError, WireError

__all__ = ["ApiConnections", "Query", "socket_address"]

_PREFIX = "/v1"
_ADDRESS_MAX = 107
"""Bytes that the kernel takes as the name of a unix socket."""

Query = Mapping[str, str | int | float | bool | None]


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Yield a name of the socket that is short enough to bind or connect to it.

    A longer one is reached through its directory, which is opened meanwhile.
    """
    if len(os.fsencode(path)) <= _ADDRESS_MAX:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


class _UnixConnection(http.client.HTTPConnection):
    """One connection; `timeout` is of each wait for the peer."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            with socket_address(self._path) as address:
                sock.connect(address)
        except BaseException:
            sock.close()
            raise
        self.sock = sock

    def wait_at_most(self, timeout_s: float) -> None:
        self.timeout = timeout_s
        if self.sock is not None:
            self.sock.settimeout(timeout_s)


class ApiConnections:
    """Sends requests to one server. May be used from any thread.

    Connections are kept and used again, one request at a time on each.

    Args:
        path: the server's socket.
        timeout_s: longest silence of the server; what waits there by request is added.
    """

    def __init__(self, path: Path, *, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._idle: list[_UnixConnection] = []
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The server's socket."""
        return self._path

    def close(self) -> None:
        """Close what is kept. Idempotent; a later request connects anew."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def ask(
        self,
        method: str,
        parts: tuple[str, ...],
        *,
        query: Query | None = None,
        body: object = None,
        wait_s: float = 0.0,
    ) -> Any:
        """Send a request and return the decoded JSON of its answer, or None if it has none.

        Args:
            parts: of the address, below the version; they are quoted here.
            body: what becomes the JSON of the request.
            wait_s: how long the server was asked to wait.

        Raises:
            PyrepError: what the server raised, in its class.
            NotServedError: no server listens there.
            TimedOutError: it was silent for too long; what was asked may still happen.
        """
        data = None if body is None else json.dumps(body).encode()
        kind = "application/json"
        answer = self.send(method, parts, query=query, data=data, kind=kind, wait_s=wait_s)
        return json.loads(answer) if answer else None

    def send(
        self,
        method: str,
        parts: tuple[str, ...],
        *,
        query: Query | None = None,
        data: bytes | bytearray | memoryview | None = None,
        kind: str = "application/octet-stream",
        wait_s: float = 0.0,
    ) -> bytes:
        """Send a request with these octets and return those of its answer. Raises as `ask`."""
        address = "/".join((_PREFIX, *(quote(part, safe="") for part in parts)))
        chosen = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        if chosen:
            address += "?" + urlencode(chosen)
        headers = {} if data is None else {"Content-Type": kind}
        # A kept connection may have been closed by the server. What can be sent twice is sent
        # again; a command gets a new connection, so that it never is.
        connection = self._take() if method in {"GET", "PUT"} else None
        try:
            if connection is not None:
                connection.wait_at_most(self._timeout_s + wait_s)
                with contextlib.suppress(http.client.BadStatusLine, ConnectionError):
                    return self._send(connection, method, address, data, headers)
                connection.close()
            connection = _UnixConnection(self._path, self._timeout_s + wait_s)
            return self._send(connection, method, address, data, headers)
        except PyrepError:
            raise
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, (OSError, http.client.HTTPException)):
                raise self._failure(error, f"{method} {address}") from error
            raise

    def _send(
        self,
        connection: _UnixConnection,
        method: str,
        address: str,
        data: bytes | bytearray | memoryview | None,
        headers: dict[str, str],
    ) -> bytes:
        connection.request(method, address, body=data, headers=headers)
        answer = connection.getresponse()
        octets = answer.read()
        if answer.will_close:
            connection.close()
        else:
            self._keep(connection)
        if answer.status >= http.client.BAD_REQUEST:
            raise _error_of(answer.status, octets, f"{method} {address}")
        return octets

    def _take(self) -> _UnixConnection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: _UnixConnection) -> None:
        with self._lock:
            self._idle.append(connection)

    def _failure(self, error: Exception, asked: str) -> PyrepError:
        if isinstance(error, TimeoutError):
            return TimedOutError(
                f"{self._path} hasn't answered {asked} for {self._timeout_s:g} s",
                hint="it may still be done; ask for the state",
            )
        if isinstance(error, PermissionError):
            return NotServedError(
                f"cannot talk to the system at {self._path}: permission denied",
                hint="be the user whose system it is, or one of the socket's group",
            )
        if isinstance(error, (FileNotFoundError, NotADirectoryError, ConnectionRefusedError)):
            return NotServedError(
                f"no system is served at {self._path}",
                hint="start it: pyrep serve SYSTEM-DIR; if its socket is elsewhere, name "
                "that ([api] socket); or name another directory",
            )
        if isinstance(error, OSError):
            return NotServedError(
                f"the system at {self._path} is gone: {error.strerror or error}",
                hint="look whether it runs; what was asked may have been done",
            )
        return WireError(f"{self._path} answered {asked} with something else than HTTP: {error!r}")


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _error_of(status: int, octets: bytes, asked: str) -> PyrepError:
    try:
        told = json.loads(octets)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        text = octets[:200].decode(errors="backslashreplace")
        return WireError(f"{asked} was answered with status {status}: {text}")
    return failure_from(told)
