"""Which facts of a pair may follow from which: by commands, by events, by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from pyrep.model import Direction, PairStatus, SplitCause

__all__ = ["Asked", "Events", "Facts", "Place", "reachable"]

_FORWARD, _REVERSE = Direction.FORWARD, Direction.REVERSE
_COPY, _DUPLEX, _SPLIT = PairStatus.COPY, PairStatus.DUPLEX, PairStatus.SPLIT

Place = tuple[PairStatus, SplitCause | None, Direction]


class Asked(StrEnum):
    """A command that was accepted."""

    SPLIT = "split"
    FORWARD = "forward"
    """A resync forward."""
    REVERSE = "reverse"
    """A resync reverse."""
    BACKUP = "backup"
    """A backup into the pair's SVOL: resync forward if need be, then split."""
    RESTORE = "restore"
    """A restore through a remote pair: split, then resync reverse."""


_SPLITTING = {Asked.SPLIT, Asked.BACKUP, Asked.RESTORE}
_COPYING = {Asked.FORWARD, Asked.BACKUP}
_COPYING_BACK = {Asked.REVERSE, Asked.RESTORE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one side's row says of a pair."""

    status: PairStatus
    cause: SplitCause | None = None
    direction: Direction = _FORWARD
    consistent: bool = False

    @property
    def place(self) -> Place:
        """The facts that commands and events change; consistency follows."""
        return self.status, self.cause, self.direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What has happened to a pair since it was last looked at.

    Attributes:
        is_remote: what kind of pair it is.
        asked: the command that was accepted, if any.
        crashed: one of its systems ended uncleanly.
        path_was_lost: the path was down at some moment.
        device_failed: one of its volumes failed.
        congested: hosts may have found the queue of its group full (policy pull-ahead).
    """

    is_remote: bool
    asked: Asked | None = None
    crashed: bool = False
    path_was_lost: bool = False
    device_failed: bool = False
    congested: bool = False


def reachable(place: Place, events: Events) -> set[Place]:
    """Return where a pair may be by now, `place` itself included."""
    found, new = {place}, [place]
    while new:
        for one in _steps(new.pop(), events):
            if one not in found:
                found.add(one)
                new.append(one)
    return found


def _steps(place: Place, events: Events) -> Iterator[Place]:
    """Yield where one command, event or end of a copy leads (architecture, section 3)."""
    status, cause, direction = place
    resumes = cause is not None and cause.resumes_by_itself
    if events.asked in _SPLITTING and (status is not _SPLIT or resumes):
        yield _SPLIT, SplitCause.REQUESTED, direction
    if status is _SPLIT and (events.asked in _COPYING or (resumes and direction is _FORWARD)):
        yield _COPY, None, _FORWARD
    if status is _SPLIT and events.asked in _COPYING_BACK:
        yield _COPY, None, _REVERSE
    if status is _SPLIT and resumes and events.is_remote:
        yield _SPLIT, SplitCause.SPLIT_BRAIN, direction  # both sides were written to
    if events.device_failed:
        yield _SPLIT, SplitCause.DEVICE_ERROR, direction
    if status is _COPY and direction is _REVERSE and not events.is_remote:
        yield _SPLIT, SplitCause.REQUESTED, _FORWARD
    elif status is _COPY:
        yield _DUPLEX, None, _FORWARD
    if status is _DUPLEX:
        yield from _ends_of_duplex(events)


def _ends_of_duplex(events: Events) -> Iterator[Place]:
    if events.crashed:
        yield _SPLIT, SplitCause.UNCLEAN, _FORWARD
    if events.is_remote and events.path_was_lost:
        yield _SPLIT, SplitCause.PATH_LOST, _FORWARD
    if events.is_remote and events.congested:
        yield _SPLIT, SplitCause.CONGESTED, _FORWARD
    if not events.is_remote:
        yield _SPLIT, SplitCause.PROTECT, _FORWARD
