"""HTTP on a unix socket: a thread for each connection, one request at a time on it."""

from __future__ import annotations

import contextlib
import errno
import http.server
import json
import logging
import os
import socket
import socketserver
import stat
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import pyrep.api.handlers  # noqa: F401 (makes the routes known)
from pyrep.api.budget import Budget
from pyrep.api.connection import socket_address
from pyrep.api.failures import failure_to
from pyrep.api.jobtable import RunningJob
from pyrep.api.routes import PREFIX, Answers, Route, Router, Site, decode_body, decode_query
from pyrep.errors import (
    BusyError,
    ExistsError,
    InUseError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PyrepError,
    ReadOnlyError,
    RefusedError,
    TimedOutError,
)
from pyrep.model import MIB, format_bytes

__all__ = ["ApiServer", "status_of"]

_log = logging.getLogger(__name__)

_BODY_MAX = 64 * MIB
_HELD_MAX = 2 * _BODY_MAX
"""Bytes of hosts' reads and writes that are held at once, whatever the number of clients."""
_CONNECTIONS_MAX = 256
_REFUSE_S = 5.0
"""How long a client too many has to ask, and so to learn why it isn't answered."""
_MODE = 0o660
_SO_PEERGROUPS = 59  # socket(7); Python has no name for it
_GROUPS_BYTES = 1024  # the most that Python asks for: 256 groups
_STATUSES: tuple[tuple[type[PyrepError], int], ...] = (
    (InvalidArgumentError, 400),
    (OutOfRangeError, 400),
    (NotFoundError, 404),
    (ExistsError, 409),
    (RefusedError, 409),
    (BusyError, 409),
    (InUseError, 409),
    (TimedOutError, 408),
)


def status_of(error: PyrepError) -> int:
    """Return the HTTP status of an error; clients go by its class."""
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)


class ApiServer:
    """Serves one system on a unix socket, from `start` to `close`. A context manager.

    Who may connect: this process's user, root, and members of the socket's group, as the kernel
    knew them when they connected; its mode is 0660.

    Args:
        path: of the socket; one that is left over is replaced.
        site: what it serves; not closed here.
        group: the socket's group id; None: this process's.
        grace_s: seconds that `close` waits for answers to go out.

    Raises:
        InUseError: somebody listens there. ReadOnlyError: it can't be made.
    """

    def __init__(
        self, path: Path, site: Site, *, group: int | None = None, grace_s: float = 5.0
    ) -> None:
        self._path = path
        self._grace_s = grace_s
        _make_room(path)
        try:
            self._server = _Server(path, site, group)
        except OSError as error:
            raise ReadOnlyError(
                f"cannot listen at {path}: {error.strerror}",
                hint=_hint(path, error),
                errno_code=error.errno,
            ) from error
        self._identity = _identity(path)
        self._thread = threading.Thread(
            target=lambda: self._server.serve_forever(poll_interval=0.1), name="api", daemon=True
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def hush(self) -> None:
        """Take no more requests; those that run go on, and are answered. Idempotent."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.hush()

    def close(self) -> None:
        """Take no more requests, let those end that run, remove the socket. Idempotent.

        Who hasn't got an answer in `grace_s` seconds is cut off: a client that doesn't read would
        be waited for without end. What a request waits for inside the system ends with the system.
        """
        self.hush()
        self._server.end_all(self._grace_s)
        self._server.server_close()
        if _identity(self._path) == self._identity:
            self._path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def _hint(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"make the directory {path.parent}, or name another socket"
    return f"let this user make sockets in {path.parent} and give them to the group"


def _make_room(path: Path) -> None:
    """Remove a socket that nobody listens at."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise InUseError(
                f"cannot listen at {path}: something else is there",
                hint="name another socket, or move that away",
            )
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe, socket_address(path) as address:
        try:
            probe.connect(address)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise InUseError(
                f"cannot listen at {path}: {error.strerror}",
                hint="name another socket, or let this user use that one",
            ) from error
        else:
            raise InUseError(
                f"cannot listen at {path}: another process does",
                hint="one daemon serves a system; stop the other one",
            )


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    request_queue_size = 64
    block_on_close = False  # `end_all` waits, with a bound
    daemon_threads = True

    def __init__(self, path: Path, site: Site, group: int | None) -> None:
        self.site = site
        self.router = Router()
        self._open: set[socket.socket] = set()
        self._lock = threading.Condition()
        self._closing = False
        self.budget = Budget(_HELD_MAX)
        umask = os.umask(0o177)
        try:
            with socket_address(path) as address:
                super().__init__(address, _Handler)
        finally:
            os.umask(umask)
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(_MODE)
        self.gid = path.stat().st_gid

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 (the library's)
        _log.exception("api.connection failed")

    @contextlib.contextmanager
    def known(self, connection: socket.socket) -> Iterator[int]:
        """Know a connection while it is open, so that it can be ended when it has nothing to do.

        Gives how many there are.
        """
        with self._lock:
            if self._closing:
                connection.shutdown(socket.SHUT_RD)
            self._open.add(connection)
            count = len(self._open)
        try:
            yield count
        finally:
            with self._lock:
                self._open.discard(connection)
                self._lock.notify_all()

    def hush(self) -> None:
        """Let no connection send another request; answers still go out."""
        self.budget.close()
        with self._lock:
            self._closing = True
            self._shut_all(socket.SHUT_RD)

    def end_all(self, grace_s: float) -> None:
        """Wait so long for the connections to end; then cut them off."""
        with self._lock:
            if not self._lock.wait_for(lambda: not self._open, grace_s):
                _log.warning("api.cut_off connections=%s", len(self._open))
                self._shut_all(socket.SHUT_RDWR)
                self._lock.wait_for(lambda: not self._open, grace_s)

    def _shut_all(self, how: int) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(how)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "pyrep"
    sys_version = ""
    wbufsize = -1  # head and body of an answer go in one piece
    server: _Server
    connection: socket.socket
    _is_one_too_many = False

    def handle(self) -> None:
        pid, uid, gid = _credentials(self.connection)
        may = uid in {0, os.geteuid()} or self.server.gid in {gid, *_groups(self.connection)}
        if not may:
            _log.warning("api.refused pid=%s uid=%s gid=%s", pid, uid, gid)
            return
        with self.server.known(self.connection) as count, contextlib.suppress(ConnectionError):
            if count > _CONNECTIONS_MAX:
                _log.warning("api.full pid=%s connections=%s", pid, count)
                self._is_one_too_many = True
                self.connection.settimeout(_REFUSE_S)
            super().handle()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's)
        _log.debug("api." + format, *args)

    def do_GET(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def do_POST(self) -> None:
        self._take()

    def do_DELETE(self) -> None:
        self._take()

    def _take(self) -> None:
        with contextlib.ExitStack() as held:
            self._take_holding(held)

    def _take_holding(self, held: contextlib.ExitStack) -> None:
        """Answer a request; `held` has the room for what it brought, or asks for, until then."""
        if self._is_one_too_many:
            self.close_connection = True
            most = f"{_CONNECTIONS_MAX} clients are connected"
            self._fail(BusyError(most, hint="end some, or ask again later"), status=503)
            return
        try:
            octets = self._body(held)
            route, ids, query = self._find()
            if route.answers is Answers.OCTETS:
                held.enter_context(self.server.budget.room(_asked_bytes(query)))
            answer = self._call(route, ids, query, octets)
        except PyrepError as error:
            self._fail(error)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            self._fail(
                PyrepError(
                    f"{self.path} failed: {error}",
                    hint="try again: what it says is the operating system's",
                )
            )
        except Exception as error:  # noqa: BLE001 (a bug: told to who asked, and logged whole)
            _log.exception("api.failed %s %s", self.command, self.path)
            self._fail(
                PyrepError(
                    f"{self.path} failed: {error!r}",
                    hint="this is a fault of pyrep's own: its log has it whole",
                )
            )
        else:
            self._answer(route, answer)

    def _body(self, held: contextlib.ExitStack) -> bytearray:
        told = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not told.isdecimal():
            self.close_connection = True
            raise InvalidArgumentError("a request's length has to be told: Content-Length")
        length = int(told)
        if length > _BODY_MAX:
            self.close_connection = True
            raise InvalidArgumentError(
                f"a request of {format_bytes(length)} is too large",
                hint=f"up to {format_bytes(_BODY_MAX)} at once",
            )
        try:
            held.enter_context(self.server.budget.room(length))  # until then it is in the socket
        except BusyError:
            self.close_connection = True
            raise
        octets = bytearray(length)
        view = memoryview(octets)
        done = 0
        while done < length:
            got = self.rfile.readinto(view[done:])
            if not got:
                raise ConnectionResetError
            done += got
        return octets

    def _find(self) -> tuple[Route, tuple[str, ...], dict[str, str]]:
        split = urlsplit(self.path)
        if not split.path.startswith(PREFIX + "/"):
            raise NotFoundError(f"there is no {split.path}", hint=f"all is below {PREFIX}/")
        parts = tuple(map(unquote, split.path.removeprefix(PREFIX + "/").split("/")))
        route, ids = self.server.router.find(self.command, parts)
        return route, ids, dict(parse_qsl(split.query, keep_blank_values=True))

    def _call(
        self, route: Route, ids: tuple[str, ...], query: dict[str, str], octets: bytearray
    ) -> Any:
        site = self.server.site
        if route.method == "POST":
            return route.handler(site, *ids, decode_body(bytes(octets), route.asked))
        asked = decode_query(query, route.asked)
        if route.method == "PUT":
            return route.handler(site, *ids, asked, octets)
        return route.handler(site, *ids, asked)

    def _answer(self, route: Route, answer: Any) -> None:
        match route.answers:
            case Answers.OCTETS:
                self._send(200, answer, "application/octet-stream")
            case Answers.NOTHING:
                self._send(204, b"", None)
            case Answers.JOB if isinstance(answer, RunningJob):
                self._send(202, json.dumps(answer.to_json()).encode(), "application/json")
            case _:
                told = {} if answer is None else answer
                self._send(200, json.dumps(told).encode(), "application/json")

    def _fail(self, error: PyrepError, *, status: int | None = None) -> None:
        _log.info("api.refused %s %s: %s", self.command, self.path, error)
        self._send(
            status or status_of(error), json.dumps(failure_to(error)).encode(), "application/json"
        )

    def _send(self, status: int, octets: bytes | bytearray, kind: str | None) -> None:
        self.send_response(status)
        if kind is not None:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)


def _asked_bytes(query: dict[str, str]) -> int:
    """Return how long an answer of octets is asked to be; what is no such number is refused."""
    told = query.get("length", "")
    return min(int(told), _BODY_MAX) if told.isdecimal() else 0


def _groups(connection: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups of the process that connected; none of who has too many."""
    try:
        told = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(told) // 4}I", told)


def _credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Return pid, uid and gid of the process that connected."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", told)
    return pid, uid, gid
