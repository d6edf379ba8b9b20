"""Orders of a primary at the secondary: the pair that is meant, its turn, what was decided by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyrep.engine.mirror import Mirror
from pyrep.engine.peer import Peer
from pyrep.engine.remote_meeting import begun_to_write
from pyrep.engine.state import SystemState
from pyrep.errors import NotFoundError
from pyrep.model import GroupId, PairId
from pyrep.seams import Connection

__all__ = ["check_seen", "group_of", "in_turn", "own_row"]


def own_row(state: SystemState, peer: Peer, pair_id: str) -> Mirror:
    """Return this side's row of a pair with this peer: a system reaches only its own pairs."""
    mirror = state.mirror(PairId(pair_id))
    if mirror.row.pair_system_id != peer.system_id or mirror.row.is_primary:
        raise NotFoundError(
            f"no pair {pair_id} of system {peer.system_id}",
            hint="look into the pair at both systems: system.pairs()",
        )
    return mirror


def group_of(mirror: Mirror) -> GroupId:
    """Return the consistency group of a remote pair's row."""
    if mirror.row.group_id is None:
        raise NotFoundError(
            f"pair {mirror.row.pair_id} has no group",
            hint="look into the pair at both systems: system.pairs()",
        )
    return mirror.row.group_id


@contextlib.contextmanager
def in_turn(state: SystemState, peer: Peer, connection: Connection) -> Iterator[None]:
    """Hold `control` for an order's effect: no order of a later connection comes between.

    Raises:
        PathLostError: one may have come before.
    """
    with state.control:
        peer.check_in_use(connection)
        yield


def check_seen(state: SystemState, mirror: Mirror, *known: int, written: bool = True) -> None:
    """Raise RefusedError if this side is no longer what the primary has decided by.

    Args:
        state: this system's.
        mirror: the row.
        known: what its content may be called; with 0, anything.
        written: whether hosts may have written. Rows of 0.1.0 have no names that would tell.
    """
    row = mirror.row
    if (row.lineage.written and not written) or (
        0 not in known and row.lineage.current not in known
    ):
        raise begun_to_write(row, primary=row.pair_system_id, secondary=state.system_id)
