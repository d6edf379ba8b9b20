"""Where a system is dialled: it takes connections of every system that proves who it is."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading

from pyrep.errors import DeviceError, PathLostError, PyrepError, WireError
from pyrep.interconnect.address import Address
from pyrep.interconnect.channel import Channel, Security
from pyrep.interconnect.envelope import Kind, receive
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.handshake import check_identity, prepare, refuse, say, within
from pyrep.interconnect.messages import Hello, decode_plain
from pyrep.interconnect.messages_path import Accept, OpenControl, OpenData
from pyrep.interconnect.repeats import Repeats
from pyrep.interconnect.tcp import TcpConnection
from pyrep.interconnect.timing import PathTiming
from pyrep.model.ids import SystemId, check_id
from pyrep.seams import Endpoint

__all__ = ["Listener"]

_log = logging.getLogger(__name__)

_HANDSHAKES_MOST = 64
"""Strangers that may be about to shake hands; for one more, one that came earlier goes."""
_OPENINGS_MOST = 8
"""Control channels of one system that may wait for their data channels."""
_BREATH_S = 0.1
"""A pause when no socket could be taken: a lack of descriptors mustn't be a busy loop."""


class _Expected:
    """A control channel that waits for its data channel."""

    def __init__(self, peer_id: str, proved: SystemId | None) -> None:
        self.peer_id = peer_id
        self.proved = proved
        self.came = threading.Event()
        self.data: Channel | None = None


class Listener:
    """Listens at an address until it is closed. Made by `StorageSystem.listen`."""

    def __init__(
        self, endpoint: Endpoint, address: Address, *, security: Security, timing: PathTiming
    ) -> None:
        self._endpoint = endpoint
        self._security = security
        self._timing = timing
        self._lock = threading.Lock()
        self._expected: dict[bytes, _Expected] = {}
        self._connections: set[TcpConnection] = set()
        self._handshakes: dict[socket.socket, str] = {}
        self._closing = False
        self._closed = threading.Event()
        self._repeats = Repeats(_log)
        self._sock = _listen(address)
        name = self._sock.getsockname()
        self.address = Address(host=name[0], port=name[1])
        title = f"listen {self.address}"
        self._thread = threading.Thread(target=self._accept, name=title, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more, and end the connections that were taken; the system has been told."""
        with self._lock:
            self._closing = True
            self._closed.set()
            connections = list(self._connections)
            handshakes = list(self._handshakes)
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._sock.close()
        for sock in handshakes:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for one in connections:
            one.close()
            one.join()
        self._repeats.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, where = self._sock.accept()
            except OSError as error:
                if self._closing:
                    return
                # Out of descriptors, or the client has gone already: the next one may do better.
                self._repeats.warn("", f"path.accept_failed at={self.address} why={error}")
                self._closed.wait(_BREATH_S)
                continue
            with self._lock:
                if self._closing:
                    sock.close()
                    return
                self._make_room()
                self._handshakes[sock] = where[0]
            name = f"handshake {where[0]}:{where[1]}"
            threading.Thread(
                target=self._shake, args=(sock, where[0], where[1]), name=name, daemon=True
            ).start()

    def _make_room(self) -> None:
        """Cut off a stranger if there are too many: who is silent mustn't keep systems out.

        Of the address with the most of them it is the one that came first. A system that dials
        takes milliseconds until it has shown its certificate, and doesn't count from then on.
        """
        if len(self._handshakes) < _HANDSHAKES_MOST:
            return
        addresses = list(self._handshakes.values())
        busiest = max(addresses, key=addresses.count)
        oldest = next(one for one, address in self._handshakes.items() if address == busiest)
        del self._handshakes[oldest]
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)
        self._repeats.warn(busiest, f"path.crowded at={self.address} cut off one of {busiest}")

    def _shake(self, sock: socket.socket, host: str, port: int) -> None:
        channel: Channel | None = None
        try:
            prepare(sock, self._timing)
            channel = self._security.server(sock)
            if channel.peer_id is not None:
                with self._lock:
                    self._handshakes.pop(sock, None)
            with within(self._timing.connect_s, channel):
                self._welcome(channel)
        except PyrepError as error:
            hint = f" hint={shown(error.hint)}" if error.hint else ""
            self._refused(host, port, f"{shown(error)}{hint}")
            if channel is not None:
                refuse(channel, error)
        except Exception as error:  # noqa: BLE001 (a stranger did it)
            self._refused(host, port, shown(repr(error)))
            if channel is not None:
                channel.free()
        finally:
            if channel is None:
                sock.close()
            with self._lock:
                self._handshakes.pop(sock, None)

    def _refused(self, host: str, port: int, why: str) -> None:
        """Log it, unless that was said: a system that is refused dials 10,000 times a day."""
        said = why.replace(f"{host}:{port}", host)  # each time it has another port
        self._repeats.warn(host, f"path.refused from={host}: {said}")

    def _welcome(self, channel: Channel) -> None:
        envelope, body = receive(channel)
        if envelope.kind is Kind.OPEN_CONTROL:
            self._open_control(channel, decode_plain(body, OpenControl))
        elif envelope.kind is Kind.OPEN_DATA:
            self._open_data(channel, decode_plain(body, OpenData))
        else:
            raise WireError(f"cannot take {envelope.kind.name} as the first word")

    def _open_control(self, channel: Channel, asked: OpenControl) -> None:
        hello = decode_plain(asked.hello, Hello)
        check_identity(channel, hello.system_id)
        peer_id = SystemId(check_id("system", hello.system_id))
        attempt = max(asked.attempt, self._endpoint.attempt_above(peer_id))
        token = secrets.token_bytes(16)
        expected = _Expected(peer_id, channel.peer_id)
        with self._lock:
            waiting = sum(1 for one in self._expected.values() if one.peer_id == peer_id)
            if waiting >= _OPENINGS_MOST:
                raise WireError(f"system {peer_id} opens too many connections at once")
            self._expected[token] = expected
        try:
            accept = Accept(attempt=attempt, hello=self._endpoint.hello(), token=token)
            say(channel, Kind.ACCEPT, accept)
            expected.came.wait(self._timing.connect_s)
        finally:
            with self._lock:
                del self._expected[token]
        if expected.data is None:
            raise PathLostError(
                f"system {peer_id} opened no data channel",
                hint="wait: it dials again",
            )
        self._connect(channel, expected.data, peer_id, attempt, asked.hello)

    def _open_data(self, channel: Channel, asked: OpenData) -> None:
        with self._lock:
            expected = self._expected.get(asked.token)
            if expected is None or expected.data is not None:
                raise WireError("cannot take a data channel: its token isn't known")
            if expected.proved != channel.peer_id:
                raise WireError(f"cannot take a data channel of {channel.peer_id}: another's token")
            expected.data = channel
        expected.came.set()

    def _connect(
        self, control: Channel, data: Channel, peer_id: SystemId, attempt: int, hello: bytes
    ) -> None:
        connection = TcpConnection(
            self._endpoint, peer_id, attempt, control=control, data=data, timing=self._timing
        )
        try:
            self._endpoint.greet(connection, hello)
        except PyrepError as error:
            refuse(data, error)
            raise
        connection.start()
        with self._lock:
            self._connections = {one for one in self._connections if not one.ended.is_set()}
            self._connections.add(connection)
            closing = self._closing
        try:
            if closing:
                raise PathLostError("the system is closing", hint="wait: it dials again")
            say(data, Kind.ACCEPT, Accept(attempt=attempt))
            self._endpoint.path_up(connection)
        except PyrepError as error:
            connection.end(error)


def _listen(address: Address) -> socket.socket:
    try:
        return socket.create_server(
            (address.host, address.port),
            family=socket.AF_INET6 if ":" in address.host else socket.AF_INET,
            backlog=_HANDSHAKES_MOST,
        )
    except OSError as error:
        raise DeviceError(
            f"cannot listen at {address}: {error.strerror or error}",
            hint="name an address of this machine and a port that is free",
            errno_code=error.errno,
        ) from error
