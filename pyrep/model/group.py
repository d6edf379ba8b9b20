"""Consistency groups: pairs that split at one point (INV-6) and show one status together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pyrep.model.pair import PairStatus, Row, SplitCause

__all__ = ["GroupStatus", "group_status"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStatus:
    """The status of a group: that of its worst member.

    Attributes:
        status: COPY if any member copies, else SPLIT if any is split, else DUPLEX; SIMPLEX if the
            group has no member.
        cause: of the worst split; an error before a requested one.
    """

    status: PairStatus
    cause: SplitCause | None = None


def _badness(row: Row) -> int:
    if row.status is PairStatus.COPY:
        return 3
    if row.cause is not None:
        return 2 if row.cause.is_error else 1
    return 0


def group_status(rows: Iterable[Row]) -> GroupStatus:
    """Return the worst member's status: COPY, then split by an error, then SPLIT, then DUPLEX.

    Args:
        rows: one side of each pair of the group.
    """
    worst = max(rows, key=_badness, default=None)
    if worst is None:
        return GroupStatus(status=PairStatus.SIMPLEX)
    return GroupStatus(status=worst.status, cause=worst.cause)
