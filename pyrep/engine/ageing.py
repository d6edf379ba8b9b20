"""Ageing: what tells an old copy of a running system from what it has become since.

In COPY and DUPLEX both sides of a remote pair have one data identifier for what changes all the
time. A copy of one of them, made meanwhile and put back later, would have it, too, and its bits
would say nothing of what came since. So the identifier grows older while something is written
(docs/identifiers.md), led by the primary:

1. the secondary's is one older, durably: it agrees with the primary's of before and of after;
2. the primary's is two older, durably;
3. the secondary's is as old as that, and agrees with nothing younger any more.

Whoever ends, and wherever the path is cut: the ages of the two differ by one at most, and bits
count as they did. Of what was copied before step 1 they differ by two or more. An age says nothing
of what is equal: that is P and U's part, and no step waits for a record or stops a write.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyrep.engine.activity import make_source_durable
from pyrep.engine.backoff import Backoff
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_line import expect
from pyrep.engine.state import SystemState
from pyrep.errors import PathLostError, PyrepError
from pyrep.interconnect.messages import AgedPairs, AgePairs
from pyrep.model import Direction, PairId, PairStatus, SystemId

__all__ = ["Ageing"]

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
_NEVER_S = float("-inf")
_GOES_ON = {PairStatus.COPY, PairStatus.DUPLEX}


@dataclass(frozen=True, slots=True)
class _Seen:
    """When a row's identifier, called so, grew older last, and the last record by then.

    `last`: None: it isn't known that all was durable at the secondary.
    """

    name: int
    at_s: float
    last: int | None


@dataclass(frozen=True, slots=True)
class _Step:
    """A row whose identifier is about to grow older: from this age, with this last record."""

    mirror: Mirror
    name: int
    age: int
    last: int | None


class Ageing:
    """Lets the data identifiers of remote pairs whose PVOL is here grow older, at both sides.

    One that was written to is due `Options.ageing_s` after the last time, and one that has just
    become DUPLEX at once: its name may be as old as the split. All that are due soon come along:
    one transaction of each side's tables is for all pairs of a path.

    Attributes:
        clock: seconds, on a clock that only goes forward.
        backoff: of pairs and systems for which it didn't go.
    """

    def __init__(self, state: SystemState, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self.clock = clock
        self.backoff = Backoff()
        self._lock = threading.Lock()
        self._turns: dict[SystemId, threading.Lock] = {}
        self._seen: dict[bytes, _Seen] = {}
        self._looked_s = _NEVER_S

    # --- when ------------------------------------------------------------------------------------

    def look(self) -> None:
        """Begin what is due, in the background: a secondary that doesn't answer holds nobody up."""
        every_s = self._state.options.ageing_s
        now_s = self.clock()
        if not every_s or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        for system_id in {one.row.pair_system_id for one in self._due(every_s)}:
            peer = self._state.peers.get(system_id)
            is_up = peer is not None and peer.is_connected
            if is_up and self.backoff.may(system_id) and not self._turn(system_id).locked():
                self._state.background(f"age {system_id}", lambda to=system_id: self._try(to))  # type: ignore[misc]

    def _try(self, system_id: SystemId) -> None:
        try:
            self.age(system_id)
        except PathLostError as error:
            _log.info("pair.age peer=%s: %s", system_id, error)
        except PyrepError as error:
            self.backoff.refused(system_id)
            if not self._state.closing:
                _log.warning(
                    "pair.age peer=%s: until this goes a copy that is put back may not be told: %s",
                    system_id,
                    error,
                )
        else:
            self.backoff.forget(system_id)

    def _going_on(self) -> list[tuple[Mirror, _Seen]]:
        """Return the rows that have one identifier with their other side. What isn't is forgotten.

        A name that is new here is as old as the copy into the secondary, which has just begun; the
        one of a pair in DUPLEX is as old as the primary's split.
        """
        state = self._state
        with state.control:
            found = [
                one
                for one in state.mirrors.values()
                if one.row.is_remote
                and one.row.is_primary
                and one.row.status in _GOES_ON
                and one.row.lineage.point
            ]
        now_s = self.clock()
        going_on = []
        with self._lock:
            for one in found:
                row = one.row
                seen = self._seen.get(row.row_key)
                if seen is None or seen.name != row.lineage.point:
                    begun = row.status is PairStatus.COPY
                    seen = _Seen(row.lineage.point, now_s if begun else _NEVER_S, None)
                going_on.append((one, seen))
            self._seen = {one.row.row_key: seen for one, seen in going_on}
        return going_on

    def _due(self, every_s: float) -> list[Mirror]:
        """Return the rows whose identifiers are to grow older if that was last so long ago."""
        found, now_s = self._going_on(), self.clock()
        return [
            one
            for one, seen in found
            if now_s - seen.at_s >= every_s
            and self.backoff.may(one.row.pair_id)
            and self._was_written(one, seen)
        ]

    def _was_written(self, mirror: Mirror, seen: _Seen) -> bool:
        return seen.last is None or seen.last != self._last(mirror)

    def _last(self, mirror: Mirror) -> int | None:
        """Return the number of a row's last record if all of them are durable at the secondary.

        None: they aren't, or it isn't known here. What arrives there after step 1 makes a copy that
        was made in between an old one: the identifier has to grow older once more.
        """
        row = mirror.row
        peer = self._state.peers.get(row.pair_system_id)
        outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
        if row.direction is Direction.REVERSE or outlet is None:
            return None
        last = outlet.stream.info().last  # first: what comes now is unsettled, or has a number
        return None if mirror.link.info().any_unsettled else last

    def _is_held(self, mirror: Mirror) -> bool:
        """Whether a command has the pair, or a backup holds its stream; `control` is held."""
        row = mirror.row
        if row.pair_id in self._state.operations:
            return True
        peer = self._state.peers.get(row.pair_system_id)
        outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
        return outlet is not None and bool(outlet.stream.info().corked)

    def _turn(self, system_id: SystemId) -> threading.Lock:
        with self._lock:
            return self._turns.setdefault(system_id, threading.Lock())

    # --- how -------------------------------------------------------------------------------------

    def age(self, system_id: SystemId, *, at_once: bool = False) -> frozenset[PairId]:
        """Let the identifiers of the pairs with one secondary grow older, of those that are due.

        What is due within half of `Options.ageing_s` comes along. Harmless to repeat after a
        failure, wherever it was.

        Args:
            system_id: the secondary.
            at_once: also of pairs that aren't due, written to or not.

        Returns:
            The pairs of which no earlier copy of either side agrees with the other one any more.

        Raises:
            PathLostError: there is no path, or it was lost.
            PyrepError: the tables of either side couldn't be written.

        Invariants: INV-2: each step is durable before the next one begins.
        """
        with self._turn(system_id):
            steps = self._steps(system_id, at_once=at_once)
            if not steps:
                return frozenset()
            for volume_id in dict.fromkeys(one.mirror.row.volume_id for one in steps):
                # What a copy of the storage has, made from now on: not less than was counted.
                make_source_durable(self._state, volume_id)
            agreed = self._tell(system_id, steps, 1)
            aged = self._grow(agreed)
            closed = self._tell(system_id, aged, 2)
            return self._note(steps, closed)

    def _steps(self, system_id: SystemId, *, at_once: bool) -> list[_Step]:
        soon_s = self._state.options.ageing_s / 2
        found = [one for one, _ in self._going_on()] if at_once else self._due(soon_s)
        steps = []
        with self._state.control:
            for one in found:
                row = one.row
                if row.pair_system_id != system_id or self._is_held(one):
                    continue
                lineage = row.lineage
                steps.append(_Step(one, lineage.point, lineage.age, self._last(one)))
        return steps

    def _tell(self, system_id: SystemId, steps: Sequence[_Step], older: int) -> list[_Step]:
        """Let the secondary's be so much older; return those for which it did."""
        if not steps:
            return []
        asked = AgePairs(
            pair_ids=[one.mirror.row.pair_id for one in steps],
            points=[one.name for one in steps],
            ages=[one.age + older for one in steps],
        )
        peer = self._state.peers.get(system_id)
        if peer is None:
            raise PathLostError(
                f"there is no path to system {system_id} yet",
                hint="connect the two systems; it is tried again by itself",
            )
        done = set(expect(peer.ask(asked), AgedPairs).pair_ids)
        return [one for one in steps if one.mirror.row.pair_id in done]

    def _grow(self, steps: Sequence[_Step]) -> list[_Step]:
        """Step 2, of the pairs that still are as they were, and that no command has."""
        state = self._state
        with state.control:
            if state.closing:
                return []
            ready = [
                one
                for one in steps
                if one.mirror.row.status in _GOES_ON
                and (one.mirror.row.lineage.point, one.mirror.row.lineage.age)
                == (one.name, one.age)
                and state.mirrors.get(one.mirror.key) is one.mirror
                and not self._is_held(one.mirror)
            ]
            state.age([(one.mirror, one.age + 2) for one in ready])
        return ready

    def _note(self, steps: Sequence[_Step], closed: Sequence[_Step]) -> frozenset[PairId]:
        now_s = self.clock()
        done = frozenset(one.mirror.row.pair_id for one in closed)
        for one in steps:
            pair_id = one.mirror.row.pair_id
            if pair_id not in done:
                self.backoff.refused(pair_id)
                continue
            self.backoff.forget(pair_id)
            with self._lock:
                self._seen[one.mirror.row.row_key] = _Seen(one.name, now_s, one.last)
        return done
