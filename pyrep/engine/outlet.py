"""An outlet: the sending end of one stream, with its channels and its thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import xxhash

from pyrep._core import (
    Ack,
    LinkCore,
    Pump,
    Stream,
    StreamInfo,
    Wake,
    new_frame_buffer,
)
from pyrep.engine.mirror import Mirror
from pyrep.errors import CancelledError, PathLostError, PyrepError, TimedOutError
from pyrep.interconnect.frames import seal
from pyrep.interconnect.messages import StreamAck
from pyrep.model import AckPoint, Congestion, FenceLevel, GroupId, PairId, SystemId
from pyrep.seams import Connection

__all__ = ["Outlet", "ack_of", "stream_id_of"]

_log = logging.getLogger(__name__)

_IDLE_S = 0.5

_LOOK_S = 0.2
"""How often who waits for an answer is told how far it is."""

_ACKS = {
    AckPoint.QUEUED: Ack.QUEUED,
    AckPoint.RECEIVED: Ack.RECEIVED,
    AckPoint.DURABLE: Ack.DURABLE,
}


def stream_id_of(sender: SystemId, group_id: GroupId) -> int:
    """Return the id of the stream from `sender` for a group: the same whenever it is asked."""
    return int(xxhash.xxh3_64_intdigest(f"{sender}\0{group_id}".encode())) >> 1


def ack_of(ack: AckPoint | None) -> Ack:
    """Return the core's word for an acknowledgement point."""
    return _ACKS[ack or AckPoint.RECEIVED]


def _guard(mirror: Mirror) -> None:
    if mirror.row.fence_level is FenceLevel.DATA and mirror.row.is_primary:
        mirror.link.guard(on=True)


class Outlet:
    """The ordered stream to one remote system for one consistency group.

    Its thread takes frames and sends them; it ends with the connection. `lost` is told, from that
    thread, when the stream broke by itself (a writer's time-out).
    """

    def __init__(
        self,
        sender: SystemId,
        group_id: GroupId,
        *,
        queue_bytes: int,
        lost: Callable[[Connection], None],
    ) -> None:
        self.group_id = group_id
        self.stream_id = stream_id_of(sender, group_id)
        self.stream = Stream(self.stream_id, capacity_bytes=queue_bytes)
        self._lost = lost
        self._wake = Wake()
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()
        """Held from taking a frame to having sent it: frames go in order."""
        self._connection: Connection | None = None
        self._unanswered: tuple[tuple[int, int], float] | None = None
        self._is_carried = False
        """Whether the core sends: its writers send what they wait for by themselves."""
        self._channels: dict[PairId, int] = {}
        self._links: dict[int, tuple[PairId, LinkCore]] = {}

    def open(self, connection: Connection) -> int:
        """Begin sending over a connection; return the number of the first record."""
        self.close_sender()
        self._channels.clear()
        self._links.clear()
        self._wake.clear()
        with self._turn:
            next_number = self.stream.open(connection.attempt)
            self._connection = connection
            pump = connection.pump
            self._is_carried = isinstance(pump, Pump)
            self.stream.carry(pump.data if isinstance(pump, Pump) else None)
        self._thread = threading.Thread(
            target=self._send, args=(connection,), name=f"send {self.group_id}", daemon=True
        )
        self._thread.start()
        return next_number

    def _send(self, connection: Connection) -> None:
        try:
            if self._is_carried:
                self.stream.pump(self._wake)
            buffer, memory = new_frame_buffer()
            while True:
                if not self.stream.wait_takable(_IDLE_S, self._wake):
                    continue
                with self._turn:
                    length = self.stream.take_into(buffer, 0, self._wake)
                    if length:
                        frame = memory[:length]
                        seal(frame)
                        connection.send_frame(frame)
        except CancelledError:
            return
        except PyrepError as error:
            _log.info("path.send_failed group=%s why=%s", self.group_id, error)
        except Exception:  # noqa: BLE001 (the stream ends, loudly)
            _log.exception("path.send_failed group=%s", self.group_id)
        self.stream.break_off()
        self._lost(connection)

    def channel(self, pair_id: PairId) -> int:
        """Return the pair's channel in this stream, for this connection."""
        return self._channels.setdefault(pair_id, len(self._channels) + 1)

    def ship(self, mirror: Mirror) -> None:
        """Let a row's link ship into the stream.

        Raises:
            PathLostError: it isn't open; the link marks.
        """
        channel = self._enter(mirror)
        mirror.link.ship(self.stream, channel, ack_of(mirror.row.ack))
        _guard(mirror)

    def ship_clean(self, mirror: Mirror) -> bool:
        """Do the same if nothing is pending in the row; return whether."""
        channel = self._enter(mirror)
        ships = mirror.link.ship_clean(self.stream, channel, ack_of(mirror.row.ack))
        if ships:
            _guard(mirror)
        return ships

    def _enter(self, mirror: Mirror) -> int:
        channel = self.channel(mirror.row.pair_id)
        self._links[channel] = (mirror.row.pair_id, mirror.link)
        mirror.link.pull_ahead(when_full=mirror.row.congestion is Congestion.PULL_AHEAD)
        return channel

    def take_ack(self, ack: StreamAck) -> list[tuple[PairId, int]]:
        """Take the peer's numbers; return the pairs whose volume failed there, with the errno.

        Links of failed volumes break first: what the numbers would settle becomes pending.
        """
        failed = []
        for channel, code in ack.errors.items():
            if channel in self._links:
                pair_id, link = self._links[channel]
                link.refuse(self.stream, code)
                failed.append((pair_id, code))
        self.stream.ack(ack.attempt, ack.received, ack.durable)
        return failed

    def await_answer(
        self,
        number: int,
        ack: Ack,
        *,
        timeout_s: float,
        wake: Wake,
        look: Callable[[StreamInfo], None] | None = None,
    ) -> None:
        """Wait for a record, as long as the peer goes on answering: a backlog may be long.

        Args:
            number: the record's.
            ack: where it has to be.
            timeout_s: longest time without an answer.
            wake: ends the wait.
            look: called now and then; what it raises ends the wait, too.

        Raises:
            TimedOutError: no answer for `timeout_s`. PathLostError, CancelledError.
        """
        before = None
        while True:
            info = self.stream.info()
            now = (info.received, info.durable)
            if now == before:
                raise TimedOutError(
                    f"the peer hasn't answered the stream of group {self.group_id} for "
                    f"{timeout_s:g} s",
                    hint="is that system alive? system.paths() tells; try again",
                )
            before = now
            end_s = time.monotonic() + timeout_s
            while True:
                left_s = max(end_s - time.monotonic(), 0.0)
                if look is not None:
                    look(self.stream.info())
                slice_s = left_s if look is None else min(left_s, _LOOK_S)
                try:
                    self.stream.wait(number, ack, timeout_s=slice_s, wake=wake)
                except TimedOutError:
                    if slice_s == left_s:
                        break
                else:
                    return

    def await_answer_of_job(self, number: int, ack: Ack, *, wake: Wake) -> None:
        """Wait for a record for as long as the connection lasts: the peer's storage may be slow.

        Its flush of a whole copy takes longer than hosts may be kept waiting. A job that gave up
        for that would leave its pair in COPY with nobody who went on with it; a peer that is gone
        ends the connection, whose return does.

        Raises:
            PathLostError, CancelledError.
        """
        self.stream.wait(number, ack, timeout_s=None, wake=wake)

    def await_durable_of_job(self, wake: Wake) -> None:
        """Wait as long until everything sent up to now is durable at the peer: its bits may go.

        Raises:
            PathLostError, CancelledError.
        """
        last = self.stream.info().last
        self.stream.barrier()
        self.await_answer_of_job(last, Ack.DURABLE, wake=wake)

    def drain(self, *, timeout_s: float, wake: Wake, links: list[LinkCore]) -> None:
        """Wait until everything sent so far is durable at the peer, and settled here.

        Raises:
            PathLostError, TimedOutError, CancelledError.
        """
        for _ in range(3):
            last = self.stream.info().last
            self.stream.barrier()
            self.stream.wait(last, Ack.DURABLE, timeout_s=timeout_s, wake=wake)
            info = self.stream.info()
            if not any(link.info().any_unsettled for link in links):
                return
            # An epoch was closing already; what was sent since then is in the next one. Its barrier
            # is asked for, but the sender may not have put it yet: then it is the next record.
            self.stream.barrier()
            number = max(info.last, info.durable + 1)
            self.stream.wait(number, Ack.DURABLE, timeout_s=timeout_s, wake=wake)
        if any(link.info().any_unsettled for link in links):
            raise TimedOutError(
                f"the stream of group {self.group_id} doesn't settle while hosts write",
                hint="try again when hosts write less",
            )

    def close_sender(self) -> None:
        """End the sending thread."""
        self._wake.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
            self._thread = None

    def end(self) -> None:
        """Send nothing any more; what is held goes when the thread is out, which isn't waited for.

        The stream isn't broken: its thread would take that for a lost path.
        """
        self._wake.set()
        self._connection = None

    def close(self) -> None:
        """Break the stream and end the thread. The stream is freed when no link ships into it."""
        self.stream.break_off()
        self.close_sender()

    def is_silent(self, now_s: float, patience_s: float) -> bool:
        """Return whether nothing was answered for so long of what was sent. Asked now and then.

        A data channel may lead nowhere while the control channel, and its pings, live. In mode
        queued no writer waits for an answer, so that nobody else would find out: the secondary
        would stay behind for as long as the queue has room.

        Args:
            now_s: the time, on any clock that only goes forward.
            patience_s: how long nothing may be answered. One frame may take long on a slow path.
        """
        info = self.stream.info()
        if not info.open or info.taken <= info.received:
            self._unanswered = None
            return False
        answered = (info.attempt, info.received)
        if self._unanswered is None or self._unanswered[0] != answered:
            self._unanswered = answered, now_s
        return now_s - self._unanswered[1] >= patience_s

    def require_open(self) -> None:
        """Raise PathLostError unless the stream is open."""
        if not self.stream.info().open:
            raise PathLostError(
                f"the stream of group {self.group_id} isn't open",
                hint="restore the path; system.paths() says why it is down",
            )
