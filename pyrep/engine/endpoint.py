"""The system's end of every path: handshake, frames, acknowledgements, commands."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, assert_never

import msgspec

from pyrep._core import LinkCore, decode_numbers
from pyrep.engine.cancel import Cancel, ProgressCallback
from pyrep.engine.digestdesk import DigestDesk
from pyrep.engine.outlet import stream_id_of
from pyrep.engine.peer import Peer
from pyrep.engine.remote import RemotePairs
from pyrep.engine.secondary import SecondarySide
from pyrep.engine.state import SystemState
from pyrep.errors import (
    CancelledError,
    InvalidArgumentError,
    NotFoundError,
    PathLostError,
    PyrepError,
    WireError,
)
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.messages import (
    AbandonPair,
    AgePairs,
    Answer,
    BeginForward,
    BeginReverse,
    BindChannel,
    Call,
    CreatePair,
    Done,
    FindData,
    FinishPair,
    Hello,
    KnownPairs,
    Message,
    OpenStream,
    Order,
    PeerFailed,
    Pending,
    ReadDigests,
    ReadPair,
    RemovePair,
    Result,
    ReverseEnd,
    ReverseProgress,
    ReverseRun,
    SplitPair,
    StreamAck,
    decode_message,
    decode_plain,
    encode,
)
from pyrep.interconnect.terms import OFFER, Offer, agree
from pyrep.meta import PeerRecord
from pyrep.model import SystemId, check_id
from pyrep.seams import Buffer, Connection

__all__ = ["CallHandler", "ErrandHandler", "SystemEndpoint"]

_log = logging.getLogger(__name__)

SILENT_TIMES = 5
"""For so many times `ack_timeout_s` a stream may go unanswered that nobody waits for: a path must
be slower than 18 KB/s for a frame of 1 MiB to take as long."""

SILENT_LEAST_S = 10.0
"""And at least so long, however hasty writers are."""

CallHandler = Callable[[Peer, dict[str, Any]], dict[str, Any]]

ErrandHandler = Callable[[Peer, dict[str, Any], ProgressCallback, Cancel], dict[str, Any]]


class SystemEndpoint:
    """What the path calls (seams.Endpoint).

    Attributes:
        calls: the workflows' own commands.
        errands: those of them that take long (`pyrep/workflows/errands.py`).
        offer: versions and features that the handshake offers; tests make it another one.
    """

    def __init__(self, state: SystemState, remote: RemotePairs, secondary: SecondarySide) -> None:
        self._state = state
        self._remote = remote
        self._secondary = secondary
        self._desk = DigestDesk(state)
        self.calls: dict[str, CallHandler] = {}
        self.errands: dict[str, ErrandHandler] = {}
        self.offer: Offer = OFFER

    @property
    def system_id(self) -> SystemId:
        """The system's id."""
        return self._state.system_id

    # --- handshake -------------------------------------------------------------------------------

    def hello(self) -> bytes:
        """Return this side's handshake."""
        self._state.check_open()
        return encode(
            Hello(
                system_id=self.system_id,
                boot_id=self._state.boot_id,
                system_key=self._state.record.key,
                **self.offer.words(),
            )
        )

    def attempt_above(self, peer_id: SystemId) -> int:
        """Return the lowest number that the next connection with a system may have.

        By the clock, so that a system restored from an older copy doesn't use a number twice.
        """
        known = self._state.peer_table.get(peer_id)
        return max(time.time_ns(), known.attempt + 1 if known else 0)

    def is_connected(self, peer_id: SystemId) -> bool:
        """Whether there is a connection with a system."""
        peer = self._state.peers.get(peer_id)
        return peer is not None and peer.is_connected

    def greet(self, connection: Connection, hello: bytes) -> None:
        """Check the other side's handshake and remember its boot; an older connection is given up.

        A boot id that changed means that what the peer had received but not made durable is lost:
        P |= U before anything else. A stream never outlives its connection here, so that its links
        have done so already; one that is still open is broken now.
        """
        with self._state.at_work():
            self._state.check_open()
            self._greet(connection, decode_plain(hello, Hello))

    def _greet(self, connection: Connection, heard: Hello) -> None:
        state = self._state
        try:
            there = SystemId(check_id("system", heard.system_id))
        except InvalidArgumentError as error:
            raise WireError(f"cannot take a handshake: {error}") from error
        terms = agree(self.system_id, self.offer, there, Offer.of(heard))
        if there == self.system_id:
            raise WireError(
                f"system {there} can't be connected to itself or to a system of its own id",
                hint="give each system an id of its own",
            )
        self._check_same(there, heard.system_key)
        with state.control:
            peer = state.peers.get(there)
            if peer is None:
                peer = state.peers[there] = Peer(
                    self.system_id,
                    there,
                    queue_bytes=state.options.queue_bytes,
                    lost=self._stream_lost,
                    failed=self._volume_failed,
                )
        older = peer.in_use()
        if older is not None:
            if connection.attempt <= older.attempt:
                raise WireError(f"system {there} is connected by a later attempt already")
            # Closed before its streams end: half open, it takes nothing more, and who sends over it
            # would be waited for until its ping's time-out, which is longer than a handshake's.
            older.close()
            self.path_down(older)
        peer.await_left(state.options.ack_timeout_s)
        known = state.peer_table.get(there)
        if known is None or known.boot_id != heard.boot_id:
            peer.break_streams()
        state.peer_table.put(
            PeerRecord(
                peer_system_id=there,
                boot_id=heard.boot_id,
                attempt=connection.attempt,
                key=heard.system_key,
            )
        )
        peer.connected(connection, terms)

    def _check_same(self, there: SystemId, key: bytes) -> None:
        """Refuse another system of the id of one that this system has pairs with.

        It doesn't know these pairs, and would have them forgotten or filled with other data.
        """
        known = self._state.peer_table.get(there)
        if known is None or known.key in {b"", key}:
            return
        rows = [one for one in self._state.table.rows() if one.is_remote]
        shared = [one.pair_id for one in rows if one.pair_system_id == there]
        if shared:
            raise WireError(
                f"system {self.system_id} has pair {shared[0]} with another system of the id "
                f"{there}: this one's key differs",
                hint=f"give this one another id; or, if the other is gone for good, dissolve its "
                f"pairs at {self.system_id}: pair.dissolve(without_peer=True)",
            )

    def path_up(self, connection: Connection) -> None:
        """Go on with the pairs that may, in the background."""
        peer = self._peer_of(connection)
        _log.info("path.up system=%s peer=%s", self.system_id, peer.system_id)
        self._state.background(
            f"resume {peer.system_id}", lambda: self._remote.resumes.path_returned(peer.system_id)
        )

    def path_down(self, connection: Connection) -> None:
        """Give the connection up; rows follow."""
        for peer in list(self._state.peers.values()):
            if not peer.disconnected(connection):
                continue
            try:
                _log.info("path.down system=%s peer=%s", self.system_id, peer.system_id)
                if not self._state.closing:
                    self._remote.resumes.path_lost(peer.system_id)
                    self._secondary.path_lost(peer.system_id)
            finally:
                peer.left()

    def close_broken(self) -> None:
        """Close the connections of which a stream broke: a peer past its time-out is lost.

        Streams that are silent break here: where no writer waits for answers nobody else notices.
        """
        patience_s = max(SILENT_LEAST_S, SILENT_TIMES * self._state.options.ack_timeout_s)
        for peer in list(self._state.peers.values()):
            peer.break_silent(time.monotonic(), patience_s)
            connection = peer.broken_connection()
            if connection is not None:
                connection.close()

    def _stream_lost(self, _peer: Peer, connection: Connection) -> None:
        """A stream broke by itself: a writer's time-out, or a frame that the peer refused."""
        connection.close()

    def _peer_of(self, connection: Connection) -> Peer:
        for peer in list(self._state.peers.values()):
            if peer.has(connection):
                return peer
        raise PathLostError(
            "this connection was given up",
            hint="try again: a later one is in use, or is made",
        )

    # --- data ------------------------------------------------------------------------------------

    def take_frame(self, connection: Connection, frame: Buffer) -> None:
        """Apply and acknowledge; volumes that failed split their pairs."""
        with self._state.at_work():
            self._peer_of(connection).take_frame(connection, frame)

    def _volume_failed(self, link: LinkCore, errno_code: int) -> None:
        for mirror in list(self._state.mirrors.values()):
            if mirror.link is link:
                self._secondary.volume_failed(mirror, errno_code)

    def take_ack(self, connection: Connection, ack: bytes) -> None:
        """Take the peer's numbers."""
        with self._state.at_work():
            peer = self._peer_of(connection)
            for pair_id, code in peer.take_ack(decode_plain(ack, StreamAck)):
                _log.warning("pair.peer_failed pair=%s errno=%d", pair_id, code)
                self._remote.failures.note_peer_failed(pair_id)
                self._state.background(f"split {pair_id}", self._remote.failures.refresh)

    def pump_frames(self, connection: Connection) -> bytes:
        """Take frames by the connection's pump until something else comes."""
        while True:
            with self._state.at_work():
                peer = self._peer_of(connection)
                envelope = peer.pump_frames(connection)
            if envelope is not None:
                return envelope

    def pump_numbers(self, connection: Connection) -> bytes:
        """Take numbers by the connection's pump until something else comes."""
        while True:
            with self._state.at_work():
                envelope = self._peer_of(connection).pump_numbers(connection)
            if envelope is not None:
                return envelope

    def take_numbers(self, connection: Connection, body: bytes) -> None:
        """Take the peer's numbers, as the core sends them."""
        with self._state.at_work():
            self._peer_of(connection).take_numbers(decode_numbers(body))

    # --- commands --------------------------------------------------------------------------------

    def answer(self, connection: Connection, message: bytes) -> bytes:
        """Perform a command; what it raises travels back.

        Raises:
            WireError: it is damaged, or no command: who sends such a thing is cut off.
        """
        command = decode_message(message)
        try:
            with self._state.at_work():
                peer = self._peer_of(connection)
                return encode(self._perform(peer, connection, command))
        except (PathLostError, CancelledError):
            raise
        except PyrepError as error:
            return encode(PeerFailed.of(error))

    def _perform(self, peer: Peer, connection: Connection, message: Message) -> Answer:
        if self._state.closing:
            raise PathLostError(
                f"system {self.system_id} is closing", hint="try again when it is served again"
            )
        peer.terms.check(message, f"system {peer.system_id}")
        side = self._secondary
        match message:
            case ReadPair():
                return side.facts(peer, message.pair_id)
            case Pending():
                return side.pending(peer, connection, message)
            case BeginForward():
                return side.begin_forward(peer, connection, message)
            case BeginReverse():
                return side.back.begin(peer, connection, message)
            case ReverseProgress():
                return side.back.progress(peer, connection, message)
            case CreatePair():
                return side.create(peer, connection, message)
            case ReadDigests():
                return self._desk.read(peer, message)
            case FindData():
                return self._desk.find_data(peer, message)
            case AgePairs():
                return side.age(peer, connection, message)
            case Call():
                return self._call(peer, message)
            case _:
                self._obey(peer, connection, message)
                return Done()

    def _obey(self, peer: Peer, connection: Connection, order: Order) -> None:
        side = self._secondary
        match order:
            case OpenStream():
                self._check_own_stream(peer, order.stream_id)
                peer.open_stream(connection, order)
            case BindChannel():
                side.bind(peer, connection, order)
            case RemovePair():
                side.remove(peer, connection, order.pair_id)
            case KnownPairs():
                side.forget_others(peer, connection, order)
            case FinishPair():
                side.finish(peer, connection, order)
            case SplitPair():
                side.split(peer, connection, order)
            case ReverseRun():
                side.back.run(peer, connection, order)
            case ReverseEnd():
                side.back.finish(peer, connection, order.pair_id)
            case AbandonPair():
                side.back.abandon(peer, connection, order.pair_id)
            case _:
                assert_never(order)

    def _check_own_stream(self, peer: Peer, stream_id: int) -> None:
        """Refuse streams of groups in which this system has no pair with the peer."""
        rows = [one.row for one in list(self._state.mirrors.values())]
        groups = {
            one.group_id for one in rows if one.is_remote and one.pair_system_id == peer.system_id
        }
        if stream_id not in {stream_id_of(peer.system_id, one) for one in groups if one}:
            raise NotFoundError(
                f"system {peer.system_id} has no group of stream {stream_id} here",
                hint="look into the pair at both systems: system.pairs()",
            )

    def _call(self, peer: Peer, message: Call) -> Result:
        handler = self.calls.get(message.verb)
        if handler is None:
            raise NotFoundError(
                f"system {self.system_id} has no command {message.verb!r}",
                hint="update the older of the two systems",
            )
        try:
            return Result(body=msgspec.to_builtins(handler(peer, message.body)))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # A body that says something else than its verb wants. Whoever looks for a bug of this
            # side's finds the traceback at level debug.
            why = f"{type(error).__name__}: {error}"
            _log.warning(
                "path.garbled_call peer=%s verb=%s why=%s",
                peer.system_id,
                shown(message.verb),
                shown(why),
            )
            _log.debug("path.garbled_call verb=%s", shown(message.verb), exc_info=True)
            raise WireError(
                f"system {self.system_id} can't take this {message.verb!r}: {shown(why)}"
            ) from error
