"""Two sides of a remote pair that meet: their data identifiers decide before anything is copied."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from pyrep.engine.decide import name_of
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.model import (
    Direction,
    Lineage,
    Meeting,
    MetSide,
    PairStatus,
    Relation,
    Row,
    SplitCause,
    SystemId,
    meet,
    meeting_refusal,
)

__all__ = ["Met", "RemoteMeetings", "Will", "begun_to_write"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What whoever wants a copy has said of what may be lost.

    Attributes:
        discard: the system whose side of the pair is to be given up; None: nobody was named.
        by_itself: nobody wants it but the system.
        undirected: nobody said which way: forward, if nothing is given up by that.
        by_bits: a workflow: it discards what its own steps have made, never more than the bits say.
    """

    discard: SystemId | None = None
    by_itself: bool = False
    undirected: bool = False
    by_bits: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """What a meeting has shown: what `meet` makes of it, and both sides."""

    meeting: Meeting
    primary: MetSide
    secondary: MetSide
    status: PairStatus
    """The secondary's."""

    @property
    def there(self) -> Lineage:
        """The secondary's data identifiers."""
        return self.secondary.lineage

    def base(self, target: Lineage) -> int:
        """Return by what a copy's target is matched until its source has begun."""
        return self.meeting.key or target.point


class RemoteMeetings:
    """Asks the secondary what it holds, and refuses copies that would go the wrong way."""

    def __init__(self, state: SystemState, line: RemoteLine) -> None:
        self._state = state
        self._line = line

    def read(self, mirror: Mirror) -> Met:
        """Return what the two sides of a pair are to each other at this moment.

        Raises:
            RefusedError: the secondary doesn't know the pair.
            PathLostError.
        """
        told = self._line.read(mirror)
        there = Lineage(
            current=told.current,
            common=told.common,
            written=told.written,
            history=tuple(told.history),
            age=told.age,
        )
        # A side that is the target of a copy back is half-way in the other's eyes only.
        forward = Direction(told.direction) is Direction.FORWARD
        secondary = MetSide(
            lineage=there,
            pending=told.pending_count > 0,
            whole=told.target_consistent or not forward,
        )
        primary = self.here(mirror)
        return Met(
            meeting=meet(primary, secondary),
            primary=primary,
            secondary=secondary,
            status=PairStatus(told.status),
        )

    def here(self, mirror: Mirror) -> MetSide:
        """Return the primary's side as it is now."""
        row, info = mirror.row, mirror.link.info()
        return MetSide(
            lineage=row.lineage,
            pending=mirror.link.pending_count() > 0 or bool(info.any_unsettled),
            whole=row.target_consistent or row.direction is Direction.FORWARD,
        )

    def again(self, mirror: Mirror, before: Row, met: Met, will: Will) -> Met:
        """Return what the sides are to each other now that hosts are fenced off the primary's.

        What was written to it since `before` was its row makes it a side that was written to.

        Raises:
            RefusedError: hosts have begun to write to it since the meeting, and nobody has said by
                name that it is to be given up.
        """
        here = replace(met.primary, pending=self.here(mirror).pending)
        begun = before.status is PairStatus.SPLIT and here.pending and not met.primary.pending
        if begun and will.discard is None:
            raise begun_to_write(
                before, primary=self._state.system_id, secondary=before.pair_system_id
            )
        return replace(met, meeting=meet(here, met.secondary), primary=here)

    def require(self, mirror: Mirror, met: Met, direction: Direction, will: Will) -> None:
        """Raise RefusedError, with the choices, if a copy in this direction may not begin.

        Raises:
            InvalidArgumentError: the system to discard isn't the one that the copy overwrites.
        """
        self.check(mirror, met, direction, will)
        if met.meeting.relation not in {Relation.NOTHING, Relation.BITMAP}:
            _log.warning(
                "pair.meeting pair=%s relation=%s direction=%s discard=%s",
                mirror.row.pair_id,
                met.meeting.relation,
                direction,
                will.discard,
            )

    def check(self, mirror: Mirror, met: Met, direction: Direction, will: Will) -> None:
        """Do the same without a line of log: nothing is about to be copied."""
        doing = f"cannot resync {name_of(mirror.row, self._state.system_id)} {direction}"
        discards = self._discards(mirror, will.discard, direction, doing)
        reason = meeting_refusal(
            met.meeting,
            direction,
            gives_up=not will.by_itself and not will.undirected,
            discards=discards,
        )
        if reason is None and will.by_bits and not met.meeting.bits_suffice:
            reason = f"{met.meeting.relation}: {met.meeting.reason}"
        if reason is not None:
            raise RefusedError(f"{doing}: {reason}", hint=self.choices(mirror))

    def _discards(
        self, mirror: Mirror, discard: SystemId | None, direction: Direction, doing: str
    ) -> Direction | None:
        if discard is None:
            return None
        overwritten = self.overwritten(mirror, direction)
        if discard != overwritten:
            raise InvalidArgumentError(
                f"{doing}: it would overwrite {overwritten}'s side, not {discard}'s",
                hint=self.choices(mirror),
            )
        return direction

    def overwritten(self, mirror: Mirror, direction: Direction) -> SystemId:
        """Return the system whose volume a copy overwrites."""
        forward = direction is Direction.FORWARD
        return mirror.row.pair_system_id if forward else self._state.system_id

    def choices(self, mirror: Mirror) -> str:
        """Return what can be done about two sides of which one has to be given up."""
        return _choices(self._state.system_id, mirror.row.pair_system_id)

    def note_split_brain(self, mirror: Mirror, met: Met) -> None:
        """Let the row say that the pair doesn't go on by itself. Its operation is held.

        A secondary that still says COPY is told, now or when the path is back: no copy runs.
        """
        with self._state.control:
            if mirror.row.status is PairStatus.DUPLEX or mirror.job:
                return
            mirror.link.mark()
            self._state.change(
                mirror,
                status=PairStatus.SPLIT,
                cause=SplitCause.SPLIT_BRAIN,
                pending_union=False,
            )
        self._line.tell_split(mirror, there=met.status)


def begun_to_write(row: Row, *, primary: SystemId, secondary: SystemId) -> RefusedError:
    """Return the refusal of a copy into a volume that hosts began to write to as it was prepared.

    What they wrote is acknowledged, and whoever asked for the copy hadn't seen it.
    """
    return RefusedError(
        f"cannot resync pair {row.pair_id}: hosts have begun to write to {row.volume_id} just now",
        hint=f"look at pair.estimate() and ask again; {_choices(primary, secondary)}",
    )


def _choices(here: SystemId, there: SystemId) -> str:
    return (
        f'name the side to give up: pair.resync(discard="{there}") keeps what {here} holds, '
        f'pair.resync(discard="{here}") what {there} holds'
    )
