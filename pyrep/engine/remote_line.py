"""What passes between the two sides of a remote pair, as its primary sees it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pyrep._core import Ack, Bitmap, LinkMode, StreamInfo
from pyrep.engine.caller import Caller
from pyrep.engine.decide import name_of
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.state import SystemState
from pyrep.errors import (
    DeviceError,
    NotFoundError,
    PathLostError,
    RefusedError,
    TimedOutError,
    WireError,
)
from pyrep.interconnect.messages import (
    Answer,
    BeginForward,
    BindChannel,
    PairFacts,
    Pending,
    PendingBits,
    ReadPair,
    SplitPair,
    Waits,
)
from pyrep.model import Direction, GroupId, PairStatus, SplitCause, SystemId

__all__ = ["RemoteLine", "expect"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


class RemoteLine:
    """Questions, orders and records to the secondary of a pair whose PVOL is here."""

    def __init__(self, state: SystemState) -> None:
        self._state = state

    def peer(self, mirror: Mirror) -> Peer:
        """Return the pair's other system. PathLostError: there was no path since the open."""
        try:
            return self._state.peer(mirror.row.pair_system_id)
        except NotFoundError as error:  # the pair knows it: there was no path since the open
            raise PathLostError(str(error), hint="connect the two systems") from error

    def union(
        self, mirror: Mirror, direction: Direction, *, resumes: bool = False, forced: bool = False
    ) -> tuple[Bitmap, bool]:
        """550: read the peer's bitmap; return it together with this side's.

        Returns:
            The union, and whether more may be pending than differs.
        """
        answer = self._ask_of(
            mirror,
            Pending(
                pair_id=mirror.row.pair_id, direction=direction, resumes=resumes, forced=forced
            ),
        )
        told = expect(answer, PendingBits)
        union = mirror.pending()
        union.update_roaring(told.bits)
        return union, mirror.is_overmarked or told.overmarked

    def read(self, mirror: Mirror) -> PairFacts:
        """Return the secondary's row. RefusedError: it has none."""
        return expect(self._ask_of(mirror, ReadPair(pair_id=mirror.row.pair_id)), PairFacts)

    def peek(self, mirror: Mirror) -> Bitmap:
        """Return the union of both sides' pending bits, of which nothing is going to be copied."""
        question = Pending(pair_id=mirror.row.pair_id, direction=Direction.FORWARD, peek=True)
        union = mirror.pending()
        union.update_roaring(expect(self._ask_of(mirror, question), PendingBits).bits)
        return union

    def _ask_of(self, mirror: Mirror, question: Pending | ReadPair) -> Answer:
        try:
            return self.peer(mirror).ask(question)
        except NotFoundError as error:
            name = name_of(mirror.row, self._state.system_id)
            raise RefusedError(
                f"cannot resync {name}: system {mirror.row.pair_system_id} doesn't know it",
                hint="dissolve it here, pair.dissolve(), and create it anew",
            ) from error

    def become_target(
        self, mirror: Mirror, asked: BeginForward, caller: Caller | None = None
    ) -> bytes:
        """Let the secondary become the target; return what is pending there then, as it travels.

        Local copies there that stand against it are waited for, at most its `Options.copy_wait_s`.

        Raises:
            RefusedError, BusyError, PathLostError.
            CancelledError: the caller gave up waiting; nothing has changed there.
        """
        peer = self.peer(mirror)
        begun_s = time.monotonic()
        while True:
            answer = peer.ask(asked)
            if not isinstance(answer, Waits):
                return expect(answer, PendingBits).bits
            self.tell_of(peer, answer, caller)
            asked = msgspec.structs.replace(asked, waited_s=time.monotonic() - begun_s)

    def tell_of(self, peer: Peer, waits: Waits, caller: Caller | None) -> None:
        """Tell a caller of the copy there that stands against an order, which may be given again.

        Raises:
            CancelledError: the caller gave up, or this system is being closed.
        """
        if caller:
            caller.check()
            caller.tell(
                f"waiting for the copy of pair {waits.pair_id} of system {peer.system_id}",
                done_bytes=waits.done_bytes,
                total_bytes=waits.total_bytes,
            )
        self._state.check_open()

    def ship(self, mirror: Mirror) -> Outlet:
        """Let the row ship; the peer knows stream and channel."""
        outlet = self.bound_outlet(mirror)
        outlet.ship(mirror)
        return outlet

    def bound_outlet(self, mirror: Mirror) -> Outlet:
        """Return the outlet of the pair's group; the peer knows stream and channel.

        Raises:
            PathLostError.
            DeviceError: the SVOL failed just now; the row is about to say so.
        """
        peer = self.peer(mirror)
        group_id = mirror.row.group_id
        if group_id is None:
            raise WireError(f"pair {mirror.row.pair_id} has no group")
        outlet = peer.outlet(group_id)
        pair_id = mirror.row.pair_id
        channel = outlet.channel(pair_id)
        try:
            peer.ask(BindChannel(stream_id=outlet.stream_id, channel=channel, pair_id=pair_id))
        except DeviceError:
            mirror.failed = True
            raise
        return outlet

    def check_ships(self, mirror: Mirror) -> None:
        """Before DUPLEX: a path lost meanwhile has taken the link out of its stream."""
        if mirror.row.status is not PairStatus.COPY:
            raise RefusedError(
                f"cannot end the copy: status is {mirror.row.status}",
                hint="resync the pair: pair.resync()",
            )
        info = mirror.link.info()
        if info.mode is not LinkMode.SHIP or info.broken or not self.peer(mirror).is_connected:
            raise PathLostError(
                "the path was lost at the end of the copy",
                hint="restore the path: the copy goes on then",
            )

    def ships(self, mirror: Mirror) -> bool:
        """Whether its writes still go into its stream."""
        info = mirror.link.info()
        return info.mode is LinkMode.SHIP and not info.broken

    def drain_or_break(self, mirror: Mirror, caller: Caller | None = None) -> None:
        """Drain; a peer that doesn't answer in time is lost."""
        try:
            self.drain(mirror, caller)
        except TimedOutError:
            outlet = self.peer(mirror).known_outlet(mirror.row.group_id or GroupId(""))
            if outlet is not None:
                outlet.stream.break_off()

    def drain(self, mirror: Mirror, caller: Caller | None = None) -> None:
        """Wait until what was queued for a pair is durable at the peer; a lost path is none.

        Raises:
            TimedOutError: the peer doesn't answer. CancelledError: the caller gave up.
        """
        try:
            peer = self.peer(mirror)
            outlet = peer.known_outlet(mirror.row.group_id) if mirror.row.group_id else None
            if outlet is None:
                return
            outlet.require_open()
            before = outlet.stream.info()
            outlet.stream.barrier()
            outlet.await_answer(
                before.last,
                Ack.DURABLE,
                timeout_s=self._state.options.ack_timeout_s,
                wake=self._state.wake,
                look=_look_for(caller, before, peer.system_id) if caller else None,
            )
        except PathLostError as error:
            _log.info("pair.drain pair=%s path lost: %s", mirror.row.pair_id, error)

    def tell_split(self, mirror: Mirror, *, there: PairStatus | None = None) -> None:
        """Let the secondary split too; when the path is down it learns of it later.

        Of a split brain it is told only if it says COPY (`there`): that copy has ended, and as long
        as it seems to run nothing may be copied into its volume. Else its hosts go on as they are
        until somebody decides.
        """
        row = mirror.row
        is_apart = row.cause is SplitCause.SPLIT_BRAIN and there is not PairStatus.COPY
        if row.cause is None or is_apart:
            return
        try:
            self.peer(mirror).ask(SplitPair(pair_id=row.pair_id, cause=str(row.cause)))
        except (PathLostError, NotFoundError) as error:
            _log.info("pair.split pair=%s the secondary isn't told yet: %s", row.pair_id, error)


def _look_for(
    caller: Caller, before: StreamInfo, system_id: SystemId
) -> Callable[[StreamInfo], None]:
    """Return what tells a caller how far a queue has arrived, by the numbers of its records."""
    what = f"waiting until what was written is at system {system_id}"
    count = max(before.last - before.received, 1)

    def look(now: StreamInfo) -> None:
        caller.check()
        arrived = min(max(now.received - before.received, 0), count)
        caller.tell(
            what,
            done_bytes=before.queued_bytes * arrived // count,
            total_bytes=before.queued_bytes,
        )

    return look


def expect(answer: object, kind: type[T]) -> T:
    """Return the answer, which must be of this kind. WireError: it isn't."""
    if not isinstance(answer, kind):
        raise WireError(f"the peer answered {type(answer).__name__}, not {kind.__name__}")
    return answer
