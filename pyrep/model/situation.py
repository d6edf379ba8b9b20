"""Situations: what is asked of a pair, all that the answer depends on, and the answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyrep.model.pair import CopyType, Direction, PairStatus, SplitCause

__all__ = ["Command", "Decision", "Force", "Outcome", "RemoteView", "Situation"]


class Command(StrEnum):
    """What can be asked of a pair."""

    CREATE = "create"
    SPLIT = "split"
    RESYNC_FORWARD = "resync forward"
    RESYNC_REVERSE = "resync reverse"
    DISSOLVE = "dissolve"


class Force(StrEnum):
    """What a caller accepts, by name, that would be refused else.

    INCONSISTENT_SOURCE: a resync copies from a volume that a copy has left half-way.
    INCONSISTENT_LEFT: a pair is dissolved whose volume a copy has left half-way.
    """

    INCONSISTENT_SOURCE = "inconsistent_source"
    INCONSISTENT_LEFT = "inconsistent_left"

    def accepts(self, command: Command) -> bool:
        """Whether it says anything about this command."""
        if self is Force.INCONSISTENT_LEFT:
            return command is Command.DISSOLVE
        return command in {Command.RESYNC_FORWARD, Command.RESYNC_REVERSE}


class Outcome(StrEnum):
    """What comes of a command."""

    DONE = "done"
    NO_OP = "no-op"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What comes of a command, and why.

    Attributes:
        outcome: DONE: perform it; NO_OP: it is so already; REFUSED: raise.
        reason: of a refusal or a no-op, the clause after "cannot resync pair 7: "; of a command
            that is done, what it doesn't do although one might expect it, or "".
        hint: of a refusal, what to do instead, or "".
    """

    outcome: Outcome
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteView:
    """A remote pair, as seen from one of its volumes' local pairs.

    Attributes:
        status: its status.
        direction: of the copy that runs or last ran.
        consistent: whether the volume that `direction` copies into is consistent.
    """

    status: PairStatus
    direction: Direction = Direction.FORWARD
    consistent: bool = True

    @property
    def spvol_consistent(self) -> bool:
        """Whether its SVOL is; when it copies back it is the source, and so it is."""
        return self.consistent or self.direction is Direction.REVERSE

    @property
    def is_filling(self) -> bool:
        """Whether it is copying into its SVOL, the SPVOL."""
        return self.status is PairStatus.COPY and self.direction is Direction.FORWARD


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a decision depends on.

    Attributes:
        copy_type: of the pair.
        status: its status; SIMPLEX if there is no such pair.
        direction: of the copy that runs or last ran.
        cause: why it is SPLIT.
        target_consistent: whether the volume that `direction` copies into is consistent.
        remote: of a local pair, the remote pair whose SVOL is this pair's PVOL (the SPVOL).
        sibling_reverse: another pair is copying into a volume of this one: a local pair back into
            the PVOL they share, or a remote pair back into the volume a local pair copies from.
        sibling_copying: another pair is copying out of a volume that this one may copy into: a
            local pair's PVOL (it matters to a reverse resync only, nothing follows a local SVOL),
            the target of a remote pair.
        source_consistent: whether the PVOL is, as far as other pairs' copies go; what this pair's
            own left half-way is told by `target_consistent`.
        reverse_source_consistent: the same of the SVOL, the source of a reverse resync.
        target_remote: the remote pair that the volume to be copied into takes part in, as PVOL or
            SVOL; for a reverse resync into an SPVOL it is `remote`, and needn't be given twice.
        svol_pins: holders that use the generation in the SVOL (INV-4).
        forced: the caller accepts, by name, that inconsistent data is copied or left behind.
    """

    copy_type: CopyType
    status: PairStatus
    direction: Direction = Direction.FORWARD
    cause: SplitCause | None = None
    target_consistent: bool = True
    remote: RemoteView | None = None
    sibling_reverse: bool = False
    sibling_copying: bool = False
    source_consistent: bool = True
    reverse_source_consistent: bool = True
    target_remote: RemoteView | None = None
    svol_pins: tuple[str, ...] = ()
    forced: bool = False

    @property
    def is_copying_back(self) -> bool:
        """Whether a reverse copy of this pair runs."""
        return self.status is PairStatus.COPY and self.direction is Direction.REVERSE

    @property
    def pvol_consistent(self) -> bool:
        """Whether no reverse copy of this pair has left its PVOL half-way."""
        return self.target_consistent or self.direction is Direction.FORWARD

    @property
    def svol_consistent(self) -> bool:
        """Whether no forward copy of this pair has left its SVOL half-way."""
        return self.target_consistent or self.direction is Direction.REVERSE


def done(reason: str = "") -> Decision:
    """Return the decision to perform the command."""
    return Decision(outcome=Outcome.DONE, reason=reason)


def no_op(reason: str) -> Decision:
    """Return the decision that nothing is left to do."""
    return Decision(outcome=Outcome.NO_OP, reason=reason)


def refused(reason: str, hint: str) -> Decision:
    """Return the decision to refuse the command."""
    return Decision(outcome=Outcome.REFUSED, reason=reason, hint=hint)
