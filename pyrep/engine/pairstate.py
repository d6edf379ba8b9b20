"""What a pair is at one moment, as this system's rows and the core tell it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import RefusedError
from pyrep.model import Direction, PairId, PairStatus, Row, SplitCause

__all__ = ["Lag", "PairState", "check_may_become", "look_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a remote pair's secondary is behind: what is in the queue of the pair's group.

    Attributes:
        queued_bytes: bytes of records that the secondary hasn't received, headers included.
        records: how many these are.
        received_s: age of the oldest of them, in seconds; 0: there is none.
        durable_s: age of the oldest record that isn't known to be on stable storage there.
    """

    queued_bytes: int
    records: int
    received_s: float
    durable_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairState:
    """A pair at one moment, as this system's row and the core tell it.

    Attributes:
        status: SIMPLEX (there is no such pair any more), COPY, DUPLEX or SPLIT.
        cause: why it is SPLIT.
        direction: of the copy that runs or last ran.
        target_consistent: whether the volume that is copied into holds a content its source had.
        pending_count: chunks pending in this side's row.
        pending_bytes: the same in bytes, the last chunk counted whole.
        unsettled: whether something sent isn't known to be durable at the target.
        unsettled_bytes: bytes of the chunks concerned: after a crash these are copied again, too.
        lag: how far the secondary is behind, of a remote pair whose PVOL is here; None while its
            stream isn't open. What is pending comes on top.
        stopped: whether its copy was stopped by command before its end: it is in COPY, and goes on
            by another resync alone, or when the system is opened or its path comes back.
        paused: whether the copy that runs out of this side, or that this side leads, rests.
        converges: False while a copy to the secondary runs that may not end, because hosts write
            as fast as the path takes it (`Options.converge_share`).
        pulled_ahead_count: how often it left a full queue (SPLIT, congested) since the system was
            opened. A pair that does again and again doesn't keep up, though each copy ends.
        pulled_ahead_at: when it did last.
    """

    status: PairStatus
    cause: SplitCause | None = None
    direction: Direction = Direction.FORWARD
    target_consistent: bool = False
    pending_count: int = 0
    pending_bytes: int = 0
    unsettled: bool = False
    unsettled_bytes: int = 0
    lag: Lag | None = None
    stopped: bool = False
    paused: bool = False
    converges: bool = True
    pulled_ahead_count: int = 0
    pulled_ahead_at: datetime | None = None


def look_at(state: SystemState, pair_id: PairId) -> PairState:
    """Return what a pair is now; of one that has failed, what the tables will say."""
    with state.control:
        state.check_open()
        rows = state.table.pair_rows(pair_id)
        if not rows:
            return PairState(status=PairStatus.SIMPLEX)
        mirror = state.mirror(pair_id)
        mine = [state.mirrors[one.pair_id, one.volume_id] for one in rows]
        row = _as_it_is(mirror.row, mine)
        count = mirror.link.pending_count()
        unsettled = mirror.link.unsettled_count()
        return PairState(
            status=row.status,
            cause=row.cause,
            direction=row.direction,
            target_consistent=row.target_consistent,
            pending_count=count,
            pending_bytes=count * row.chunk_bytes,
            unsettled=unsettled > 0,
            unsettled_bytes=unsettled * row.chunk_bytes,
            lag=_lag(state, row),
            stopped=row.status is PairStatus.COPY and any(one.stopped for one in mine),
            paused=any(one.job is not None and one.job.is_paused for one in mine),
            converges=mirror.convergence is None or mirror.convergence.converges,
            pulled_ahead_count=mirror.pulled_ahead_count,
            pulled_ahead_at=mirror.pulled_ahead_at,
        )


def _lag(state: SystemState, row: Row) -> Lag | None:
    peer = state.peers.get(row.pair_system_id) if row.is_primary else None
    outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
    info = outlet.stream.info() if outlet else None
    if info is None or not info.open:
        return None
    return Lag(
        queued_bytes=info.queued_bytes,
        records=info.last - info.received,
        received_s=info.received_lag_s,
        durable_s=info.durable_lag_s,
    )


def _as_it_is(row: Row, sides: Iterable[Mirror]) -> Row:
    """Return a row; of a pair of which an end couldn't be written down, as it is going to be."""
    failed = [one for one in sides if one.failed and one.row.status is not PairStatus.SPLIT]
    if not failed or row.status is PairStatus.SPLIT:
        return row
    return replace(
        row,
        status=PairStatus.SPLIT,
        cause=SplitCause.DEVICE_ERROR,
        target_consistent=row.target_consistent and all(one.spared for one in failed),
    )


def check_may_become(pair_id: PairId, now: PairState, wanted: Sequence[PairStatus]) -> None:
    """Raise RefusedError when a pair can't have one of these statuses any more by itself."""
    if now.status is PairStatus.SIMPLEX or (
        now.cause is not None and not now.cause.resumes_by_itself
    ):
        raise RefusedError(
            f"pair {pair_id} won't be {'/'.join(wanted)}: it is {now.status} ({now.cause})",
            hint="resync it" if now.cause else "it was dissolved: create it anew",
        )
    if now.stopped:
        back = now.direction is Direction.REVERSE
        call = "pair.resync(direction=Direction.REVERSE)" if back else "pair.resync()"
        raise RefusedError(
            f"pair {pair_id} won't be {'/'.join(wanted)}: its copy was stopped",
            hint=f"go on with it: {call}",
        )
