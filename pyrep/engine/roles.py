"""Role fences: what a volume's rows forbid to hosts (INV-4, INV-5). Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pyrep._core import Fence
from pyrep.model import Direction, FenceLevel, PairStatus, Row, SplitCause

__all__ = ["guard_of", "role_fence"]

_HOST_MAY_WRITE = {SplitCause.REQUESTED}


def role_fence(rows: Iterable[Row], *, holds_generation: bool) -> Fence:
    """Return the fence of a volume that has these rows.

    The target of a running pair takes no host writes; while its data is inconsistent it isn't
    served for reading either. The SVOL of a remote pair that was split by a failure stays closed:
    the pair goes on forward by itself and would undo what hosts write there. One that hosts may
    write to takes a new data identifier before the first write reaches it.

    Args:
        rows: the volume's rows, of all its pairs.
        holds_generation: whether the volume is the SVOL of a generation not given up.
    """
    fence = Fence.WRITES if holds_generation else Fence.NONE
    for row in rows:
        fence |= _of_row(row)
    return fence


def guard_of(row: Row) -> bool | None:
    """Return whether hosts' writes to a row's volume fail while it doesn't ship (fence level data).

    None: as it is. A copy that begins switches it on when its row ships, so that no write fails
    between the command and that moment; one that waits for its path has it on. So it is with a
    repair, which begins one.
    """
    if row.fence_level is FenceLevel.NEVER or not row.is_primary:
        return False
    match row.status:
        case PairStatus.SPLIT if row.cause is SplitCause.REPAIR:
            return None
        case PairStatus.SPLIT:
            return row.cause is not None and row.cause.is_error
        case PairStatus.DUPLEX:
            return True
        case _:
            return None


def _of_row(row: Row) -> Fence:
    is_target = row.is_primary == (row.direction is Direction.REVERSE)
    if not is_target:
        return Fence.NONE
    if not row.target_consistent:
        return Fence.WRITES | Fence.READS
    if row.status is not PairStatus.SPLIT:
        return Fence.WRITES
    if row.is_primary:
        return Fence.NONE
    if row.cause not in _HOST_MAY_WRITE:
        return Fence.WRITES
    return Fence.FIRST if row.is_remote and not row.lineage.written else Fence.NONE
