"""A TCP proxy that does to connections what networks do: no root, no other process.

It stands between two systems that reach each other over TCP, or between any client and server. What
it does is told by calls; faults that strike after so many bytes strike at exactly that byte,
however the bytes come, so that a test is the same each time.
"""

from __future__ import annotations

import contextlib
import enum
import logging
import socket
import struct
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

from pyrep.interconnect.address import Address
from pyrep.testing.proxied import Direction, Faults, HowEnded, Way

__all__ = ["FaultProxy", "Way"]

_log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_AT_ONCE = struct.pack("ii", 1, 0)


class _Door(enum.Enum):
    """What becomes of new connections."""

    OPEN = "open"
    REFUSING = "refusing"
    MUTE = "mute"


class _Connection:
    """One client, the server behind it, and both directions between them."""

    def __init__(
        self,
        number: int,
        client: socket.socket,
        server: socket.socket,
        faults: dict[Way, Faults],
        over: Callable[[_Connection], None],
    ) -> None:
        self.number = number
        self._ends = (client, server)
        self._over = over
        self._lock = threading.Lock()
        self._is_over = False
        self._open_ways = 2
        self.directions = [
            Direction(
                faults[way], number, source, target, ended=self._way_ended, gone=self._thread_gone
            )
            for way, source, target in (
                (Way.THERE, client, server),
                (Way.BACK, server, client),
            )
        ]
        self.threads = [thread for one in self.directions for thread in one.threads]
        self._working = len(self.threads)

    def end(self, *, reset: bool) -> None:
        """End both sockets: with a reset, or as if each other end had closed. Idempotent."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            for one in self.directions:
                one.end()  # first: the end that is read below isn't passed on in good order
            for sock in self._ends:
                with contextlib.suppress(OSError):
                    if reset:  # sent by close; what waits for bytes is woken
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                    sock.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)

    def _way_ended(self, how: HowEnded) -> None:
        """One direction has ended: the connection too, if something broke or it is the second."""
        with self._lock:
            self._open_ways -= 1
            goes_on = how is HowEnded.ORDERLY and self._open_ways
        if not goes_on:
            self.end(reset=False)

    def _thread_gone(self) -> None:
        """The last one closes the sockets: nobody uses a descriptor that is another's by then."""
        with self._lock:
            self._working -= 1
            last = not self._working
        if last:
            for sock in self._ends:
                sock.close()
            self._over(self)


class FaultProxy:
    """Passes TCP connections on to a target, with faults. A context manager.

    All calls may come from any thread, while connections are up. A way is the direction of bytes:
    `Way.THERE` from who dials to the target, `Way.BACK` from the target to who dials; None is both.
    Connections are numbered from 0 in the order in which they are taken; `on` limits a fault to
    some of them. Of a path between two systems each attempt opens two: control, then data.

    Args:
        target: host:port that connections are passed on to. May be changed; it holds for the next.
        listen: host:port where the proxy is dialled.
    """

    def __init__(self, target: str, *, listen: str = "127.0.0.1:0") -> None:
        self.target = target
        self._lock = threading.Lock()
        self._making = threading.Lock()
        """Held while a connection is made: the server may know it, so cuts must find it."""
        self._faults = {way: Faults() for way in Way}
        self._door = _Door.OPEN
        self._connections: dict[int, _Connection] = {}
        self._muted: list[socket.socket] = []
        self._count = 0
        self._closed = False
        self._ended: list[threading.Thread] = []
        where = Address.parse(listen)
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        self._sock = socket.create_server((where.host, where.port), family=family)
        name = self._sock.getsockname()
        self.address = str(Address(host=name[0], port=name[1]))
        self._thread = threading.Thread(target=self._take, name=f"proxy {self.address}")
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything, and wait for it. Idempotent."""
        with self._lock:
            self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._sock.close()
        for one in self._faults.values():
            one.close()
        with self._lock:
            muted, self._muted = self._muted, []
            threads = self._ended + [
                thread for one in self._connections.values() for thread in one.threads
            ]
        self.cut()
        for sock in muted:
            sock.close()
        for thread in threads:
            thread.join()

    # --- looking ---------------------------------------------------------------------------------

    @property
    def taken_count(self) -> int:
        """How many connections were taken so far, those that were refused not among them."""
        return self._count

    @property
    def live(self) -> tuple[int, ...]:
        """The numbers of the connections that are up."""
        with self._lock:
            return tuple(sorted(self._connections))

    def passed_bytes(self, way: Way) -> int:
        """Return how many bytes were passed on in a direction so far."""
        return self._faults[way].passed_bytes

    # --- faults ----------------------------------------------------------------------------------

    def delay(self, seconds: float, way: Way | None = None) -> None:
        """Let all bytes be under way for so long; what follows them isn't held up more by it."""
        for one in self._of(way):
            one.set(delay_s=seconds)

    def limit(self, bytes_s: float | None, way: Way | None = None) -> None:
        """Let no more than so many bytes a second pass, in each direction; None: all."""
        for one in self._of(way):
            one.set(bytes_s=bytes_s)

    def stall(self, way: Way | None = None) -> None:
        """Let bytes wait, until `go_on`: senders are stopped when buffers are full."""
        for one in self._of(way):
            one.set(stalled=True)

    def go_on(self, way: Way | None = None) -> None:
        """End a stall."""
        for one in self._of(way):
            one.set(stalled=False)

    def swallow(self, way: Way | None = None, *, on: Collection[int] | None = None) -> None:
        """Take bytes and pass none on, nor an end: half-open, or dead if it is both ways.

        It lasts for the connections that it strikes, also after `calm`: bytes are missing there.
        """
        for one in self._of(way):
            one.swallow(on)

    def corrupt_after(
        self, count_bytes: int, way: Way, *, mask: int = 1, on: Collection[int] | None = None
    ) -> None:
        """Flip the bits in `mask` of the byte that comes after so many more in a direction."""
        self._faults[way].corrupt_after(count_bytes, mask, on)

    def cut_after(
        self, count_bytes: int, way: Way, *, on: Collection[int] | None = None, reset: bool = False
    ) -> None:
        """End all connections when exactly so many more bytes were passed on in a direction."""
        self._faults[way].cut_after(count_bytes, on, lambda: self._end_all(reset=reset))

    def calm(self) -> None:
        """Take back what was asked for and hasn't struck yet, delays, limits, stalls, the door."""
        self._door = _Door.OPEN
        for one in self._faults.values():
            one.calm()

    def cut(self) -> None:
        """End all connections now; both ends read an end of file."""
        self._end_all(reset=False)

    def reset(self) -> None:
        """End all connections now; both ends get a reset."""
        self._end_all(reset=True)

    def refuse(self) -> None:
        """Reset new connections at once, until `accept`; those that are up stay."""
        self._door = _Door.REFUSING

    def mute(self) -> None:
        """Take new connections and never answer, until `accept`: a host that hangs."""
        self._door = _Door.MUTE

    def accept(self) -> None:
        """Take new connections again."""
        self._door = _Door.OPEN

    def _of(self, way: Way | None) -> list[Faults]:
        return [self._faults[one] for one in Way if way in {None, one}]

    def _end_all(self, *, reset: bool) -> None:
        with self._making, self._lock:
            connections = list(self._connections.values())
        for one in connections:
            one.end(reset=reset)

    # --- connections -----------------------------------------------------------------------------

    def _take(self) -> None:
        while not self._closed:
            try:
                client, _ = self._sock.accept()
            except OSError:
                continue
            match self._door:
                case _Door.OPEN:
                    with self._making:
                        self._pass_on(client)
                case _Door.MUTE:
                    with self._lock:
                        self._muted.append(client)
                case _Door.REFUSING:
                    _reset(client)

    def _pass_on(self, client: socket.socket) -> None:
        where = Address.parse(self.target)
        try:
            server = socket.create_connection((where.host, where.port), _CONNECT_S)
        except OSError as error:
            _log.info("proxy.target_away target=%s why=%s", self.target, error)
            _reset(client)
            return
        for sock in (client, server):
            sock.settimeout(None)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            connection = _Connection(self._count, client, server, self._faults, self._forget)
            self._count += 1
            self._connections[connection.number] = connection
        for one in connection.directions:
            one.start()

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            del self._connections[connection.number]
            self._ended = [one for one in self._ended if one.is_alive()]
            self._ended += connection.threads


def _reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    sock.close()
