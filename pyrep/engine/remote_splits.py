"""Splits of remote pairs, at their primary."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from pyrep._core import CutItem, CutVerb, group_cut
from pyrep.engine.caller import Caller
from pyrep.engine.decide import Judge
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_failures import RemoteFailures
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.roles import guard_of
from pyrep.engine.state import SystemState
from pyrep.errors import (
    NotFoundError,
    PathLostError,
    PyrepError,
)
from pyrep.interconnect.messages import (
    AbandonPair,
)
from pyrep.model import (
    Direction,
    PairId,
    PairStatus,
    SplitCause,
    WorkflowId,
)
from pyrep.model.situation import Command

__all__ = ["RemoteSplits"]

_log = logging.getLogger(__name__)


class RemoteSplits:
    """Splits remote pairs whose PVOL is here, at one point."""

    def __init__(
        self, state: SystemState, judge: Judge, line: RemoteLine, failures: RemoteFailures
    ) -> None:
        self._state = state
        self._judge = judge
        self._line = line
        self._failures = failures

    def split(
        self,
        pair_ids: Sequence[PairId],
        *,
        lease: WorkflowId | None = None,
        caller: Caller | None = None,
    ) -> None:
        """Split remote pairs at one point (520, 630): SPLIT, requested; both sides mark.

        What was written before the split is at the secondary when this returns, unless the path is
        down: then those chunks are pending.

        Raises:
            RefusedError, BusyError, TimedOutError: nothing has changed.
            CancelledError: nothing has, but that copies that ran are stopped.
        """
        state = self._state
        self._failures.refresh()
        with state.operation("split", list(pair_ids), lease=lease):
            mirrors = [state.mirror(pair_id) for pair_id in dict.fromkeys(pair_ids)]
            todo = [one for one in mirrors if self._judge.remote(Command.SPLIT, one)]
            self.split_held(todo, caller or Caller())

    def split_held(self, mirrors: Sequence[Mirror], caller: Caller) -> None:
        """Split pairs at one point whose operations are held, and that may be split."""
        for one in mirrors:
            if one.job:
                caller.tell(f"ending the copy of pair {one.row.pair_id}")
                one.job.close()  # it may come to its end meanwhile
        duplex = [one for one in mirrors if one.row.status is PairStatus.DUPLEX]
        for one in duplex:  # the backlog, as long as a caller may still give up
            self._line.drain(one, caller)
        caller.past("the split has begun")
        for one in mirrors:
            if one not in duplex:
                self._stop(one, caller)
        if duplex:
            self._split_duplex(duplex, caller)

    def set_aside(self, mirror: Mirror) -> None:
        """Split a pair in DUPLEX whose SVOL turned out not to be equal; the operation is held.

        SPLIT, repair: its hosts stay off, and a forward resync brings it back, by command or when
        the path is back. What it copies into isn't what its PVOL ever held: the cause says so.
        Until that copy's row ships no write of a host fails for want of a mirror.
        """
        self._line.drain(mirror)  # while the fence level holds: a backlog may take long
        mirror.link.guard(on=False)
        try:
            self._split_duplex([mirror], Caller(), cause=SplitCause.REPAIR)
        except PyrepError:
            self.guard_again(mirror)
            raise

    def guard_again(self, mirror: Mirror) -> None:
        """The copy that was to follow `set_aside` hasn't begun: the fence level holds as before."""
        mirror.link.guard(on=guard_of(mirror.row) is not False)

    def _split_duplex(
        self,
        mirrors: Sequence[Mirror],
        caller: Caller,
        *,
        cause: SplitCause = SplitCause.REQUESTED,
    ) -> None:
        state = self._state
        for one in mirrors:
            self._line.drain(one, caller)
        before = [one.row for one in mirrors]
        state.commit(*(replace(one, status=PairStatus.SPLIT, cause=cause) for one in before))
        try:
            group_cut(
                [CutItem(verb=CutVerb.SPLIT, on=one.link) for one in mirrors],
                timeout_s=state.options.ack_timeout_s,
                wake=state.wake,
            )
        except PyrepError as error:
            if all(self._line.ships(one) for one in mirrors):
                state.commit(*before)
                raise
            # A stream that broke has made the cut: nothing went out behind its last record.
            _log.info("pair.split pairs=%s path lost: %s", [one.pair_id for one in before], error)
        for one in mirrors:
            one.link.mark()
            self._line.drain_or_break(one, caller)
            caller.tell(f"telling system {one.row.pair_system_id} of the split")
            self._line.tell_split(one)

    def _stop(self, mirror: Mirror, caller: Caller) -> None:
        """Split a pair that isn't DUPLEX: a copy stops where it is; an automatic resume is off."""
        row = mirror.row
        if row.status is PairStatus.COPY and row.direction is Direction.REVERSE:
            caller.tell(f"waiting until system {row.pair_system_id} has stopped to copy")
            try:
                self._line.peer(mirror).ask(AbandonPair(pair_id=row.pair_id))
                self._line.peer(mirror).unbind_link(mirror.link)
            except (PathLostError, NotFoundError) as error:
                _log.info("pair.stop pair=%s the secondary isn't told yet: %s", row.pair_id, error)
        mirror.link.mark()
        # A record that comes when its pair is unbound would cost the whole connection.
        self._line.drain_or_break(mirror, caller)
        self._state.change(
            mirror, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED, pending_union=False
        )
        caller.tell(f"telling system {row.pair_system_id} of the split")
        self._line.tell_split(mirror)
