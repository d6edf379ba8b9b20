"""What a resync would do, told before anything is done: the dry connect."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep._core import Bitmap
from pyrep.engine.local import LocalPairs
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote import RemotePairs
from pyrep.engine.remote_meeting import Will
from pyrep.engine.state import SystemState
from pyrep.errors import NotFoundError, RefusedError
from pyrep.model import (
    Direction,
    Meeting,
    PairId,
    PairStatus,
    Relation,
    SystemId,
    chunk_count,
)

__all__ = ["ResyncEstimate", "estimate_local", "estimate_path", "estimate_remote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResyncEstimate:
    """What a resync would copy now; hosts that write meanwhile add to it.

    Attributes:
        pair_id: the pair.
        status: its status now; what is DUPLEX has nothing to copy.
        relation: how the contents of the two sides are related; of a local pair NOTHING or BITMAP;
            None: the secondary doesn't know the pair.
        direction: which way it would copy.
        copy_bytes: what would be copied, the last chunk counted as far as the volume goes.
        chunks: the same in chunks.
        reason: why, for people.
        refusal: why it would be refused as asked; None: it wouldn't be for this.
        hint: what to do about that.
    """

    pair_id: PairId
    status: PairStatus
    relation: Relation | None
    direction: Direction
    copy_bytes: int
    chunks: int
    reason: str
    refusal: str | None = None
    hint: str | None = None


def estimate_local(
    state: SystemState, local: LocalPairs, pair_id: PairId, direction: Direction
) -> ResyncEstimate:
    """Return the estimate of a local pair: both rows are here."""
    local.breaks.refresh()
    with state.control:
        pvol, svol = state.sides(pair_id)
        union = pvol.pending()
        union.update(svol.pending())
        row = pvol.row
    if row.status is PairStatus.DUPLEX:
        union = _none_of(state, pvol)
    relation = Relation.BITMAP if union.any() else Relation.NOTHING
    known = _known(relation, direction, "both rows are of this system")
    return _estimate(state, pvol, union, known, direction)


def estimate_remote(
    state: SystemState,
    remote: RemotePairs,
    pair_id: PairId,
    direction: Direction | None,
    will: Will,
) -> ResyncEstimate:
    """Return the estimate of a remote pair whose PVOL is here; the secondary is asked."""
    remote.failures.refresh()
    mirror = state.mirror(pair_id)
    if mirror.row.status is PairStatus.DUPLEX:
        nothing = _none_of(state, mirror)
        forward, why = Direction.FORWARD, "it is DUPLEX: what differs is on its way, in order"
        known = _known(Relation.NOTHING, forward, why)
        return _estimate(state, mirror, nothing, known, forward)
    met = remote.meetings.read(mirror)
    # Without a direction a resync goes forward, and is refused where that would give up something.
    asked = direction or Direction.FORWARD
    way = direction or met.meeting.direction or Direction.FORWARD
    union = remote.line.peek(mirror)
    if not met.meeting.bits_suffice:
        union.fill()
    refusal = hint = None
    try:
        remote.meetings.check(mirror, met, asked, will)
    except RefusedError as error:
        refusal, hint = str(error), error.hint
    return _estimate(
        state,
        mirror,
        union,
        met.meeting,
        way,
        refusal=refusal,
        hint=hint,
    )


def estimate_path(
    state: SystemState, remote: RemotePairs, system_id: SystemId
) -> list[ResyncEstimate]:
    """Return the estimates of all pairs with a secondary, in the order of the table.

    One of a pair that the secondary doesn't know says so, and the others are asked all the same.
    """
    state.peer(system_id).connection()
    found = []
    for row in state.table.rows():
        if not row.is_primary or row.pair_system_id != system_id or not row.is_remote:
            continue
        try:
            found.append(estimate_remote(state, remote, row.pair_id, None, Will(undirected=True)))
        except NotFoundError:
            continue  # dissolved meanwhile
        except RefusedError as error:
            found.append(
                ResyncEstimate(
                    pair_id=row.pair_id,
                    status=row.status,
                    relation=None,
                    direction=row.direction,
                    copy_bytes=0,
                    chunks=0,
                    reason="the secondary doesn't know the pair",
                    refusal=str(error),
                    hint=error.hint,
                )
            )
    return found


def _known(relation: Relation, direction: Direction, reason: str) -> Meeting:
    return Meeting(relation=relation, direction=direction, key=0, reason=reason)


def _none_of(state: SystemState, mirror: Mirror) -> Bitmap:
    size = state.volume(mirror.row.volume_id).record.size_bytes
    return Bitmap(chunk_count(size, mirror.row.chunk_bytes))


def _estimate(
    state: SystemState,
    mirror: Mirror,
    union: Bitmap,
    meeting: Meeting,
    direction: Direction,
    *,
    refusal: str | None = None,
    hint: str | None = None,
) -> ResyncEstimate:
    row = mirror.row
    size = state.volume(row.volume_id).record.size_bytes
    extents = union.extents(chunk_bytes=row.chunk_bytes, size_bytes=size)
    return ResyncEstimate(
        pair_id=row.pair_id,
        status=row.status,
        relation=meeting.relation,
        direction=direction,
        copy_bytes=sum(length for _, length in extents),
        chunks=union.count(),
        reason=meeting.reason,
        refusal=refusal,
        hint=hint,
    )
