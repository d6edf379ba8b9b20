"""What a row's new status asks of its other columns, so that no caller can forget it."""

from __future__ import annotations

from dataclasses import replace

from pyrep.model import PairStatus, Row, new_content_id

__all__ = ["counted", "identified"]


def identified(old: Row, new: Row) -> Row:
    """Return a remote row with the data identifiers that its new status asks for.

    The primary's content begins to differ when it stops to ship, and is the secondary's again when
    the pair is DUPLEX. Whoever sets identifiers by name knows better.
    """
    if not new.is_remote or new.lineage is not old.lineage or new.status is old.status:
        return new
    if new.status is PairStatus.DUPLEX:
        return replace(new, lineage=new.lineage.in_sync(new.lineage.current))
    if new.is_primary and old.status is PairStatus.DUPLEX and new.status is PairStatus.SPLIT:
        return replace(new, lineage=new.lineage.diverged(new_content_id()))
    return new


def counted(row: Row) -> Row:
    """Return a row; of one in DUPLEX nothing is pending that needn't be.

    One that a repair has split waits for a command until a copy has begun.
    """
    if row.repaired and row.status is not PairStatus.SPLIT:
        row = replace(row, repaired=False)
    in_sync = row.status is PairStatus.DUPLEX
    return replace(row, overmarked=False) if in_sync and row.overmarked else row
