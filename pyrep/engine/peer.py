"""A peer: another system, the connection to it, and the streams both ways."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable

from pyrep._core import Apply, LinkCore, Numbers, Pump, Wake, check_frame, decode_numbers
from pyrep.engine.outlet import Outlet, stream_id_of
from pyrep.errors import DeviceError, PathLostError, WireError
from pyrep.interconnect.frames import check_digest
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.messages import (
    Answer,
    Message,
    OpenStream,
    PeerFailed,
    StreamAck,
    decode_answer,
    encode,
)
from pyrep.interconnect.terms import Terms
from pyrep.model import GroupId, PairId, SystemId
from pyrep.seams import Buffer, Connection

__all__ = ["Peer"]

_log = logging.getLogger(__name__)


def _pump_of(connection: Connection) -> Pump:
    """Return the pump of a connection that has one."""
    pump = connection.pump
    if isinstance(pump, Pump):
        return pump
    raise TypeError(f"{connection} has no pump")


class Peer:
    """Another system. All may be called from any thread.

    Attributes:
        terms: version and features of the connection in use, or of the last one.
    """

    def __init__(
        self,
        here: SystemId,
        there: SystemId,
        *,
        queue_bytes: int,
        lost: Callable[[Peer, Connection], None],
        failed: Callable[[LinkCore, int], None],
    ) -> None:
        """Make it, without a connection.

        Args:
            here: this system.
            there: the other one.
            queue_bytes: of each of its streams.
            lost: told of a connection of which a stream broke by itself.
            failed: told of links whose volume failed as records came through them, with the errno,
                before the peer is; without a lock held here.
        """
        self.system_id = there
        self.terms = Terms()
        self._here = here
        self._queue_bytes = queue_bytes
        self._lost = lost
        self._failed = failed
        self._lock = threading.RLock()
        self._over = threading.Condition(self._lock)
        self._leaving = 0
        self.opening = threading.Lock()
        """Held while a stream is opened and the other side told.

        Else another pair of the group binds its channel to a stream that isn't known there yet. It
        is taken outside `control` and inside `operation`.
        """
        self._connection: Connection | None = None
        self._outlets: dict[GroupId, Outlet] = {}
        self._applies: dict[int, Apply] = {}
        self._unused_outlets: set[GroupId] = set()
        self._unused_applies: set[int] = set()
        self._ended_bytes = 0
        self._wake = Wake()
        self.roster = threading.Lock()
        """Held while a pair is added, and while the peer is told all pairs: none is between."""

    # --- connection ------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def frame_bytes(self) -> int:
        """Bytes of all frames sent to it in this process's life, headers included."""
        with self._lock:
            outlets = list(self._outlets.values())
            ended_bytes = self._ended_bytes
        return ended_bytes + sum(one.stream.info().frame_bytes for one in outlets)

    def connected(self, connection: Connection, terms: Terms) -> None:
        """Take a new connection into use."""
        with self._lock:
            self._wake.clear()
            self.terms = terms
            self._connection = connection
            for group_id in self._unused_outlets:
                self._drop_outlet(group_id)
            for stream_id in self._unused_applies:
                self._applies.pop(stream_id, None)
            self._unused_outlets.clear()
            self._unused_applies.clear()

    def disconnected(self, connection: Connection) -> bool:
        """Give a connection up: streams break. False: it was given up before.

        If True, no other one is taken into use until the caller says `left`, when its rows have
        followed: else what becomes of them for the old connection would befall the new one's.
        """
        with self._lock:
            if self._connection is not connection:
                return False
            self._connection = None
            self._leaving += 1
            self._wake.set()
        self.break_streams()
        return True

    def left(self) -> None:
        """All that the end of a connection brings is done."""
        with self._lock:
            self._leaving -= 1
            self._over.notify_all()

    def await_left(self, timeout_s: float) -> None:
        """Wait for what the end of an earlier connection brings. PathLostError: it takes longer."""
        with self._lock:
            if not self._over.wait_for(lambda: not self._leaving, timeout_s):
                raise PathLostError(
                    f"system {self._here} isn't over the end of its last path to {self.system_id}",
                    hint="it is tried again",
                )

    def in_use(self) -> Connection | None:
        """Return the connection in use, if there is one."""
        return self._connection

    def broken_connection(self) -> Connection | None:
        """Return the connection in use if one of its streams broke by itself."""
        with self._lock:
            connection = self._connection
            outlets = list(self._outlets.values())
        if connection is None:
            return None
        infos = [one.stream.info() for one in outlets]
        broken = any(one.attempt == connection.attempt and not one.open for one in infos)
        return connection if broken else None

    def check_in_use(self, connection: Connection) -> None:
        """Refuse what has come over a connection that was given up: a later one has other orders.

        Held by `SystemState.control` until the order has had its effect, no order of a later
        connection comes between.

        Raises:
            PathLostError: a later connection has superseded this one, or none has yet.
        """
        if self._connection is not connection:
            raise PathLostError(
                f"this connection of system {self.system_id} was given up",
                hint="try again: a later one is in use, or is made",
            )

    def break_silent(self, now_s: float, patience_s: float) -> None:
        """Break streams of which nothing was answered for so long; see `Outlet.is_silent`."""
        with self._lock:
            outlets = list(self._outlets.values())
        for one in outlets:
            if one.is_silent(now_s, patience_s):
                _log.warning(
                    "path.silent peer=%s group=%s: of what was sent nothing was answered for %g s, "
                    "though the path is up",
                    self.system_id,
                    one.group_id,
                    patience_s,
                )
                one.stream.break_off()

    def has(self, connection: Connection) -> bool:
        """Whether this is the connection in use."""
        return self._connection is connection

    def break_streams(self) -> None:
        """P |= U in every link that still ships: the peer has lost what wasn't durable."""
        with self._lock:
            outlets = list(self._outlets.values())
        for outlet in outlets:
            outlet.close()

    def connection(self) -> Connection:
        """Return the connection. PathLostError: there is none."""
        with self._lock:
            if self._connection is None:
                raise PathLostError(
                    f"the path from {self._here} to {self.system_id} is down",
                    hint="restore the path; system.paths() says why it is down",
                )
            return self._connection

    def ask(self, message: Message) -> Answer:
        """Send a command and return its answer; what it raised there is raised here.

        Raises:
            WireError: the other system doesn't know the command; nothing was sent. Or its answer is
                damaged: then the connection ends.
        """
        self.terms.check(message, f"system {self.system_id}")
        connection = self.connection()
        told = connection.request(encode(message))
        try:
            answer = decode_answer(told)
        except WireError as error:
            _log.warning("path.garbage peer=%s cut off: %s", self.system_id, shown(error))
            connection.close()
            raise
        if isinstance(answer, PeerFailed):
            raise answer.to_error()
        return answer

    def close(self) -> None:
        """Free everything. Links no longer ship into the streams."""
        with self._lock:
            connection = self._connection
        if connection and self.disconnected(connection):
            self.left()
        for outlet in self._outlets.values():
            outlet.close()
            outlet.stream.close()
        for apply in self._applies.values():
            apply.close()
        self._outlets.clear()
        self._applies.clear()

    # --- sending ---------------------------------------------------------------------------------

    def outlet(self, group_id: GroupId) -> Outlet:
        """Return the outlet of a group, open over the present connection; the peer knows of it.

        Raises:
            PathLostError: there is no connection.
        """
        with self.opening:
            outlet, opened = self.opened_outlet(group_id)
            if opened is not None:
                self.ask(opened)
        return outlet

    def opened_outlet(self, group_id: GroupId) -> tuple[Outlet, OpenStream | None]:
        """As `outlet`, but what the peer must be told, if anything, is the caller's to tell."""
        with self._lock:
            connection = self.connection()
            self._unused_outlets.discard(group_id)
            outlet = self._outlets.get(group_id)
            if outlet is None:
                outlet = Outlet(
                    self._here,
                    group_id,
                    queue_bytes=self._queue_bytes,
                    lost=lambda gone: self._lost(self, gone),
                )
                self._outlets[group_id] = outlet
            info = outlet.stream.info()
            if info.attempt == connection.attempt:
                outlet.require_open()  # one that broke ends the connection, soon
                return outlet, None
            next_number = outlet.open(connection)
            return outlet, OpenStream(
                stream_id=outlet.stream_id,
                attempt=connection.attempt,
                next_number=next_number,
            )

    def end_outlet(self, group_id: GroupId) -> None:
        """End the stream of a group that no pair will be in again, and free its queue and thread.

        Over this connection it can't be opened again: the peer knows its number.
        """
        with self._lock:
            self._drop_outlet(group_id)

    def leave_outlet(self, group_id: GroupId) -> None:
        """Do so with the next connection, unless the group is used again before."""
        with self._lock:
            self._unused_outlets.add(group_id)

    def leave_incoming(self, group_id: GroupId) -> None:
        """Forget the peer's stream of a group without pairs with the next connection.

        Not before: barriers may still be under way in it, and a frame of an unknown stream ends
        the connection.
        """
        with self._lock:
            self._unused_applies.add(stream_id_of(self.system_id, group_id))

    def _drop_outlet(self, group_id: GroupId) -> None:
        outlet = self._outlets.pop(group_id, None)
        if outlet is not None:
            self._ended_bytes += outlet.stream.info().frame_bytes
            outlet.end()

    def known_outlet(self, group_id: GroupId) -> Outlet | None:
        """Return the outlet of a group if there is one."""
        with self._lock:
            return self._outlets.get(group_id)

    def take_ack(self, ack: StreamAck) -> list[tuple[PairId, int]]:
        """Take numbers for one of the outlets; return the pairs that failed at the peer."""
        with self._lock:
            found = [one for one in self._outlets.values() if one.stream_id == ack.stream_id]
        return found[0].take_ack(ack) if found else []

    def take_numbers(self, numbers: Numbers) -> None:
        """Take numbers for one of the outlets. WireError: of records that were never sent."""
        with self._lock:
            found = [one for one in self._outlets.values() if one.stream_id == numbers.stream_id]
        for one in found:
            one.stream.ack(numbers.attempt, numbers.received, numbers.durable)

    def pump_numbers(self, connection: Connection) -> bytes | None:
        """Take numbers of all streams there are now; return an envelope that is none of them.

        None: there is more to take, perhaps of a stream that has been made meanwhile.
        """
        pump = _pump_of(connection)
        with self._lock:
            streams = [one.stream for one in self._outlets.values()]
        left = pump.numbers(streams)
        if left.numbers is not None:
            self.take_numbers(decode_numbers(left.numbers))
        return left.envelope

    # --- receiving -------------------------------------------------------------------------------

    def _check_current(self, connection: Connection, attempt: int) -> None:
        """Refuse what a connection that was superseded has asked for, or another's attempt."""
        self.check_in_use(connection)
        if attempt != connection.attempt:
            raise WireError(
                f"cannot open a stream of attempt {attempt} over attempt {connection.attempt}"
            )

    def open_stream(self, connection: Connection, opened: OpenStream) -> None:
        """The peer is going to send a stream.

        Raises:
            WireError: it is of another attempt, or open already; nothing has changed.
            PathLostError: a later connection has superseded this one; nothing has changed.
        """
        with self._lock:
            self._check_current(connection, opened.attempt)
            known = self._applies.get(opened.stream_id)
            if known is not None and known.info().attempt >= opened.attempt:
                raise WireError(f"stream {opened.stream_id} is open already")
            self._unused_applies.discard(opened.stream_id)
            apply = self._applies.get(opened.stream_id)
            if apply is None:
                apply = self._applies[opened.stream_id] = Apply(opened.stream_id)
            # Held: by the time that a late order unbound them, channels would be a later one's.
            told = apply.unbind_all()
            apply.start(opened.attempt, opened.next_number)
        self._tell(told)

    def bind(self, connection: Connection, stream_id: int, channel: int, link: LinkCore) -> None:
        """Let records of a channel come through a link, in place of what was bound to it.

        Raises:
            PathLostError: a later connection has superseded this one: what it calls this channel
                may be another pair's.
            DeviceError: what had come through the channel before can't be made durable. It is
                bound, and `failed` was told: a copy that began now couldn't be ended.
        """
        apply = self.incoming(stream_id)
        apply.settle()  # not below the lock, as far as possible
        with self._lock:
            self._check_current(connection, connection.attempt)
            told = apply.unbind(channel)
            apply.bind(channel, link)
        if told:
            self._tell([told])
            raise DeviceError(
                f"system {self._here} couldn't make durable what had come from system "
                f"{self.system_id}: {os.strerror(told[1])}",
                hint="mend that volume's storage, then resync the pair",
                errno_code=told[1],
            )

    def incoming(self, stream_id: int) -> Apply:
        """Return the incoming side of a stream. WireError: it was never opened."""
        with self._lock:
            apply = self._applies.get(stream_id)
        if apply is None:
            raise WireError(f"system {self.system_id} never opened stream {stream_id}")
        return apply

    def incoming_of(self, group_id: GroupId) -> Apply:
        """Return the incoming side of the peer's stream of a group."""
        return self.incoming(stream_id_of(self.system_id, group_id))

    def drop_all(self) -> None:
        """Take every link out of every incoming stream, so that what they point to can be freed."""
        with self._lock:
            for apply in self._applies.values():
                apply.drop_all()

    def unbind_link(self, link: LinkCore, connection: Connection | None = None) -> None:
        """Take a link out of every incoming stream: its pair is going, or its copy, or the path.

        What came through it is durable then, or `failed` is told. INV-3.

        Args:
            link: the link.
            connection: on whose behalf. PathLostError: a later one has superseded it, and what it
                has bound stays.
        """
        told = []
        with self._lock:  # as `bind`: what is bound and what is kept alive for it stay one
            if connection is not None:
                self.check_in_use(connection)
            for apply in self._applies.values():
                told += apply.unbind_link(link)
        self._tell(told)

    def _tell(self, told: Iterable[tuple[LinkCore, int]]) -> None:
        for link, code in told:
            self._failed(link, code)

    def take_frame(self, connection: Connection, frame: Buffer) -> None:
        """Check and apply a frame, make durable what a barrier asks for, acknowledge.

        Raises:
            WireError: nothing of it had an effect; the connection isn't to be trusted any more.
        """
        check_digest(frame)
        apply = self.incoming(check_frame(frame).stream_id)
        has_barrier = apply.frame(frame, self._wake)
        if has_barrier:
            apply.settle()
        self._acknowledge(connection, apply)

    def pump_frames(self, connection: Connection) -> bytes | None:
        """Take frames as `take_frame` does, by the core; return an envelope that is no frame's.

        None: there is more to take, perhaps of a stream that has been opened meanwhile.
        """
        pump = _pump_of(connection)
        with self._lock:
            applies = list(self._applies.values())
        left = pump.frames(applies, self._wake)
        if left.failed is not None:
            self._acknowledge(connection, left.failed)
        elif left.frame is not None:
            self.take_frame(connection, left.frame)
        return left.envelope

    def _acknowledge(self, connection: Connection, apply: Apply) -> None:
        errors: dict[int, int] = {}
        while (info := apply.answer()) is None:
            found = apply.take_errors()
            self._tell(found.values())
            errors |= {channel: code for channel, (_, code) in found.items()}
        ack = StreamAck(
            stream_id=apply.stream_id,
            attempt=info.attempt,
            received=info.applied,
            durable=info.durable,
            errors=errors,
        )
        connection.send_ack(encode(ack))
