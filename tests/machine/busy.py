"""Copies, verifications and repairs while a host goes on writing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from machine.world import PLACES, World
from pyrep.engine import CopyJob
from pyrep.errors import FencedError, MirrorLostError
from pyrep.model import Direction, PairStatus, VolumeId
from pyrep.testing import (
    Asked,
    Content,
    HostWrite,
    ReferencePair,
    VolumeName,
    check_one_point,
)

__all__ = ["LOWER_PLACES", "copy_while_writing", "repair_while_writing"]

LOWER_PLACES = PLACES // 2
"""Where the host of a repair writes: below this. What is planted lies above, in other chunks."""


def copy_while_writing(
    world: World,
    pair: ReferencePair,
    direction: Direction,
    writes: Sequence[HostWrite],
    begin: Callable[[], CopyJob | None],
) -> bool:
    """Let a host write to the source of a remote copy from its beginning on; return if it began.

    A copy back fences its source at the end: from there on nothing is written.
    """
    forward = direction is Direction.FORWARD
    source, target = (pair.pvol, pair.svol) if forward else (pair.svol, pair.pvol)
    job = begin()
    if job is None:
        return False
    done = _write(world, source, writes)
    job.wait(60)
    world.note({pair.pair_id: Asked(direction.value)})
    world.settle()
    world.observe()  # where nothing was pending, all that crossed are these writes, in their order
    for write in done:
        world.reference.write(source, write)
        if not forward and pair.here.status is PairStatus.DUPLEX:
            world.reference.write(target, write)
    world.systems[target[0]].volume(target[1]).flush()  # what came behind the copy, too
    return True


def _write(world: World, name: VolumeName, writes: Sequence[HostWrite]) -> list[HostWrite]:
    """Write until hosts are fenced off; return what was written."""
    done: list[HostWrite] = []
    volume = world.systems[name[0]].volume(name[1])
    try:
        for write in writes:
            volume.pwrite(write.data, write.offset)
            done.append(write)
    except FencedError:
        pass
    except MirrorLostError:  # fence level data; this one may have been written
        length = len(writes[len(done)].data)
        if volume.pread(length, writes[len(done)].offset) == writes[len(done)].data:
            done.append(writes[len(done)])
    return done


def repair_while_writing(
    world: World, pair: ReferencePair, planted: int, writes: Sequence[HostWrite]
) -> None:
    """Find a byte that was changed below a pair in DUPLEX, and repair it, while a host writes.

    Args:
        world: the systems.
        pair: whose PVOL takes host writes.
        planted: the byte, above `LOWER_PLACES`.
        writes: the host's, below.
    """
    before = world.reference.content(pair.pvol).copy()
    known = set(world.observed().generations)
    handle = world.systems[pair.pvol[0]].pair(pair.pair_id)
    io = world.systems[pair.svol[0]].state.volume(VolumeId(pair.svol[1])).io
    (byte,) = io.pread(1, planted)
    io.pwrite(bytes([byte ^ 1]), planted)
    done: list[HostWrite] = []
    host = threading.Thread(
        target=lambda: done.extend(_write(world, pair.pvol, writes)), name="host"
    )
    host.start()
    found = handle.verify()
    chunk_bytes = handle.row.chunk_bytes
    differing = [offset for offset, _ in found.differing]
    job = handle.repair(found)
    if job is not None:
        job.wait(60)
    host.join()
    assert differing == [planted // chunk_bytes * chunk_bytes], found
    world.settle()
    _take_over(world, pair, before, known, done)
    world.systems[pair.svol[0]].volume(pair.svol[1]).flush()
    world.reference.flush(pair.svol)


def _take_over(
    world: World,
    pair: ReferencePair,
    before: Content,
    known: set[str],
    writes: Sequence[HostWrite],
) -> None:
    """Tell the reference what was written; mirrors split for the copy hold a prefix (INV-6)."""
    behind = {one.svol for one in world.reference.pairs.values() if one.pvol == pair.svol}
    kept = [
        world.live(svol)
        for generation_id, members in world.observed().generations.items()
        if generation_id not in known
        for svol in members
        if svol in behind
    ]
    plan = [(pair.pvol, write) for write in writes]
    counts = {check_one_point({pair.pvol: before}, plan, {pair.pvol: data}) for data in kept}
    assert len(counts) <= 1, "mirrors that were split together hold different moments"
    count = counts.pop() if counts else len(plan)
    for name, write in plan[:count]:
        world.reference.write(name, write)
    world.observe()
    for name, write in plan[count:]:
        world.reference.write(name, write)
