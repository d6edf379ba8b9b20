"""Checkers of INV-1 to INV-7 against live systems (ARCHITECTURE.md).

Each raises `InvariantError` for the first thing it finds wrong. They read volumes below their
fences and the engine's own state, so they belong in tests. Call them while no host writes; copies
may run, but what runs is best waited for first (`pyrep.testing.wait_quiet`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from pyrep._core import Bitmap
from pyrep.engine import StorageSystem
from pyrep.errors import FencedError
from pyrep.model import (
    Congestion,
    Direction,
    Generation,
    GenerationCause,
    MetSide,
    PairStatus,
    VolumeId,
    meet,
)
from pyrep.testing.content import Content, HostWrite
from pyrep.testing.keptbits import kept_bits
from pyrep.testing.reference import VolumeName
from pyrep.testing.sides import PairSides, Side, first_uncovered, pairs_of, sides_of

__all__ = [
    "InvariantError",
    "check_covered",
    "check_duplex",
    "check_durable_first",
    "check_frozen",
    "check_no_early_clear",
    "check_one_point",
    "check_one_writer",
    "check_remote_stays",
]

_FLAGS_OFFSET = 12  # header: magic 8, version 4, flags 4 (csrc/rep_bitmap_file.h)
_OPEN_MARK, _LOG_MARK = 1, 4
_RUNNING = {PairStatus.COPY, PairStatus.DUPLEX}
_LOOKS = 3


class InvariantError(AssertionError):
    """An invariant doesn't hold.

    Attributes:
        invariant: its number, as `INV-1`; or `DUPLEX`, what that status means.
        chunk_index: the first chunk in which it doesn't, if it is about chunks.
    """

    def __init__(self, invariant: str, what: str, *, chunk_index: int | None = None) -> None:
        at = "" if chunk_index is None else f", chunk {chunk_index}"
        super().__init__(f"{invariant}: {what}{at}")
        self.invariant = invariant
        self.chunk_index = chunk_index


def check_covered(*systems: StorageSystem, put_back: Collection[str] = ()) -> None:
    """INV-1: a chunk that differs between a pair's volumes is pending or unsettled on one side.

    The open mark and the hot regions are the other ways to be covered. They aren't counted here, or
    little would be checked; of what they are for, a crash, one sees the result after the next open.

    Args:
        systems: those whose pairs are looked at.
        put_back: remote pairs one of whose systems was put back from an older copy of itself, and
            that weren't DUPLEX since: of these, only where the data identifiers say that what
            differs is in the bits.
    """
    for pair in pairs_of(*systems):
        if pair.pair_id in put_back and not _counts_by_bits(pair):
            continue
        # The cover first: a chunk copied meanwhile is in it and is equal afterwards.
        cover = pair.pvol.mirror.pending()
        cover.update(pair.svol.mirror.pending())
        _require_covered("INV-1", pair, cover, pair.pvol, pair.svol)


def _counts_by_bits(pair: PairSides) -> bool:
    """Whether a resync would believe both sides' bits (docs/identifiers.md)."""
    here, there = pair.pvol.mirror, pair.svol.mirror
    if PairStatus.DUPLEX in {here.row.status, there.row.status}:
        return True
    return meet(
        MetSide(
            lineage=here.row.lineage,
            pending=here.link.pending_count() > 0 or bool(here.link.info().any_unsettled),
            whole=here.row.target_consistent or here.row.direction is Direction.FORWARD,
        ),
        MetSide(
            lineage=there.row.lineage,
            pending=there.link.pending_count() > 0,
            whole=there.row.target_consistent or there.row.direction is Direction.REVERSE,
        ),
    ).bits_suffice


def check_duplex(*systems: StorageSystem) -> None:
    """Check what DUPLEX means: nothing is pending in either row (architecture, section 3).

    A write that came through a row and was echoed into it would be pending there.
    """
    for pair in pairs_of(*systems):
        for side in (pair.pvol, pair.svol):
            if side.mirror.row.status is not PairStatus.DUPLEX:
                continue
            for first, _count in side.mirror.link.pending.runs():
                raise InvariantError(
                    "DUPLEX", f"{pair.name}: pending in the row of {side.name}", chunk_index=first
                )


def check_no_early_clear(*systems: StorageSystem, put_back: Collection[str] = ()) -> None:
    """INV-3: a chunk out of the source's cover is durable at the target.

    It sees more than `check_covered` only where the target's storage keeps unflushed writes apart
    (`VolatileStorage`). Of the target's own row its pending bits count (hosts wrote there), but not
    what it has unsettled: that a power loss would take along. A PVOL that is being copied back to
    has, beside what was copied, what its own hosts never flushed: that tells nothing, it is left
    out. `put_back`: see `check_covered`.
    """
    for pair in pairs_of(*systems):
        if pair.pair_id in put_back and not _counts_by_bits(pair):
            continue
        source, target = pair.source_and_target()
        if source is pair.svol:
            continue
        cover = source.mirror.pending()
        cover.update(target.mirror.link.pending)
        if target.mirror.link.info().epoch_start:  # what hosts wrote there is in shared marks
            cover.update(target.mirror.pending())
        _require_covered("INV-3", pair, cover, source, target, durable=True)


def _require_covered(
    invariant: str,
    pair: PairSides,
    cover: Bitmap,
    source: Side,
    target: Side,
    *,
    durable: bool = False,
) -> None:
    far = target.durable_io if durable else target.io
    index = first_uncovered(source.io, far, source.mirror.row.chunk_bytes, cover)
    if index is not None:
        row = source.mirror.row
        what = "isn't durable at the target" if durable else "differs"
        raise InvariantError(
            invariant,
            f"{pair.name}, {row.status} {row.direction}: what {what} isn't covered",
            chunk_index=index,
        )


def check_durable_first(*systems: StorageSystem) -> None:
    """INV-2: rows are in the table as they are at work, and so is what a crash would need of them.

    Their bitmap files are marked as in use, and what is pending in a pair's source (of a local
    pair, in both rows) is in pages, hot, or under the open mark. The other row's bits count as
    well: a copy begins with the union of both.
    """
    for side in sides_of(*systems):
        state = side.system.state
        with state.control:  # what changes by itself, as an identifier's age, isn't half-way
            row = side.mirror.row
            stored = state.table.get(row.pair_id, row.volume_id)
        if stored != row:
            raise InvariantError(
                "INV-2", f"pair {row.pair_id}, {side.name}: works as {row}, stored is {stored}"
            )
        header = state.store.path_of(row.row_key).read_bytes()[:16]
        if not header[_FLAGS_OFFSET] & (_OPEN_MARK | _LOG_MARK):
            raise InvariantError(
                "INV-2", f"pair {row.pair_id}, {side.name}: its bitmap file isn't marked as in use"
            )
    for pair in pairs_of(*systems):
        source, target = pair.source_and_target()
        _require_kept(pair, source, target)
        if not target.mirror.row.is_remote:
            # A remote one's records leave bits here that its source answers for.
            _require_kept(pair, target, source)


def _require_kept(pair: PairSides, side: Side, other: Side) -> None:
    for look in range(_LOOKS):
        lost = side.mirror.pending()
        if lost.any():
            lost.difference_update(kept_bits(side))
        if lost.any():
            lost.difference_update(kept_bits(other))
        if not lost.any():
            return
        if look + 1 < _LOOKS:
            continue  # a copy cleared them, and the row was saved, between one look and the other
        first, count = next(iter(lost.runs()))
        raise InvariantError(
            "INV-2",
            f"{pair.name}: {count} chunks are pending in the row of {side.name} in memory alone",
            chunk_index=first,
        )


def check_frozen(
    frozen: Mapping[str, Mapping[VolumeName, Content]], *systems: StorageSystem
) -> None:
    """INV-4: held generations have the bytes they were split with, and take no host write.

    Args:
        frozen: per generation id, the content of each of its SVOLs.
        systems: those that hold them.
    """
    for system in systems:
        for generation_id, members in frozen.items():
            for (system_id, volume_id), content in members.items():
                if system_id == system.system_id:
                    _require_frozen(system, generation_id, volume_id, content)


def _require_frozen(
    system: StorageSystem, generation_id: str, volume_id: str, content: Content
) -> None:
    name = f"generation {generation_id} on {system.system_id}:{volume_id}"
    held = system.generations.on_svol(VolumeId(volume_id))
    if held is None or held.generation_id != generation_id:
        raise InvariantError("INV-4", f"{name} isn't held any more")
    io = system.state.volume(VolumeId(volume_id)).io
    for index in content.differing_in(io):
        raise InvariantError("INV-4", f"{name} has changed (4 KiB chunks)", chunk_index=index)
    if _takes_a_host_write(system, volume_id):
        raise InvariantError("INV-4", f"{name} takes host writes")


def _takes_a_host_write(system: StorageSystem, volume_id: str) -> bool:
    """Try to write the first byte that is there already."""
    state = system.state
    first = state.volume(VolumeId(volume_id)).io.pread(1, 0)
    try:
        system.volume(volume_id).pwrite(first, 0)
    except FencedError:
        return False
    return True


def check_one_writer(*systems: StorageSystem, put_back: Collection[str] = ()) -> None:
    """INV-5: the target of a COPY or DUPLEX takes no host write, nor reads while inconsistent.

    A remote pair's sides may for a while disagree about status and direction: what either of them
    takes for the target must be closed. Not where one was put back (`put_back`, see
    `check_covered`): an old copy may take for its target what has moved on since.
    """
    for pair in pairs_of(*systems):
        for side in (pair.pvol, pair.svol):
            row = side.mirror.row
            if row.status in _RUNNING:
                target = pair.svol if row.direction is Direction.FORWARD else pair.pvol
                if target is side or pair.pair_id not in put_back:
                    _require_closed(pair, side, target)
    for side in sides_of(*systems):
        if _is_served_torn(side) and _is_still(lambda side=side: _is_served_torn(side), side):  # type: ignore[misc]
            raise InvariantError(
                "INV-5",
                f"pair {side.mirror.row.pair_id}: {side.name} is inconsistent and served for "
                f"reading",
            )


def _require_closed(pair: PairSides, side: Side, target: Side) -> None:
    """`side`: whose row says that this is the target."""
    row = side.mirror.row

    def is_open() -> bool:
        now = side.mirror.row
        if now.status not in _RUNNING or now.direction is not row.direction:
            return False
        return _takes_a_host_write(target.system, target.mirror.row.volume_id)

    if is_open() and _is_still(is_open, side, target):
        raise InvariantError("INV-5", f"{pair.name}: the target {target.name} takes host writes")


def _is_still(is_so: Callable[[], bool], *sides: Side) -> bool:
    """Look again while no row of these sides' systems changes.

    A row changes before the fence that follows from it, both under one lock: who looks without it
    may see one of before and one of after.
    """
    with contextlib.ExitStack() as held:
        for state in {id(one.system.state): one.system.state for one in sides}.values():
            held.enter_context(state.control)
        return is_so()


def _is_served_torn(side: Side) -> bool:
    row = side.mirror.row
    return not row.is_source and not row.target_consistent and _serves_reads(side)


def _serves_reads(side: Side) -> bool:
    try:
        side.system.volume(side.mirror.row.volume_id).pread(1, 0)
    except FencedError:
        return False
    return True


def check_one_point(
    before: Mapping[VolumeName, Content],
    writes: Sequence[tuple[VolumeName, HostWrite]],
    found: Mapping[VolumeName, bytes],
) -> int:
    """INV-6: volumes split together hold a prefix of the writes, the same on all of them.

    Args:
        before: content of each source volume before the first of the writes.
        writes: in the order of issue, each issued after the one before was acknowledged.
        found: what the generation holds, by source volume.

    Returns:
        How many of the writes it holds.
    """
    now = {name: content.copy() for name, content in before.items()}
    wanted = {name: Content.of(data) for name, data in found.items()}
    for count in range(len(writes) + 1):
        if all(now[name] == content for name, content in wanted.items()):
            return count
        if count < len(writes):
            name, write = writes[count]
            now[name].apply(write)
    raise InvariantError(
        "INV-6",
        f"what was split at one point on {', '.join(':'.join(name) for name in found)} "
        f"is after no prefix of {len(writes)} writes",
    )


def check_remote_stays(generations: Iterable[Generation], *systems: StorageSystem) -> None:
    """INV-7: backups left remote mirrors in operation and say what they did to them.

    Args:
        generations: of the catalogue; those that no backup made are passed over.
        systems: no stream of theirs is still held back.
    """
    rows = [side.mirror.row for side in sides_of(*systems)]
    ahead = {row.pair_id for row in rows if row.congestion is Congestion.PULL_AHEAD}
    for one in generations:
        if one.cause is GenerationCause.BACKUP and one.is_complete:
            _require_undisturbed(one, ahead)
    for side in sides_of(*systems):
        row, state = side.mirror.row, side.system.state
        peer = state.peers.get(row.pair_system_id) if row.group_id else None
        outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
        if outlet is not None and outlet.stream.info().corked:
            raise InvariantError("INV-7", f"the stream of group {row.group_id} is still held back")


def _require_undisturbed(generation: Generation, ahead: AbstractSet[str]) -> None:
    """`ahead`: pairs that may pull ahead of a full queue, which the generation then says."""
    name = f"generation {generation.generation_id}"
    before, during = dict(generation.remote_before), dict(generation.remote_during)
    after = dict(generation.remote_after)
    if not before.keys() == during.keys() == after.keys():
        raise InvariantError("INV-7", f"{name} doesn't tell every remote pair's statuses")
    if before and (generation.hold_ms is None or generation.queued_max_bytes is None):
        raise InvariantError("INV-7", f"{name} doesn't tell its hold")
    for pair_id, status in before.items():
        changed = [one for one in (during[pair_id], after[pair_id]) if one != status]
        if status == PairStatus.DUPLEX and pair_id not in ahead and changed:
            raise InvariantError("INV-7", f"{name}: pair {pair_id} went DUPLEX → {changed[0]}")
