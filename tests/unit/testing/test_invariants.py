"""Every checker sees its invariant broken, when that is done on purpose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from machine.world import PVOLS, SPVOLS, Shape, World
from pyrep._core import CutItem, CutVerb, Fence, Io, group_cut
from pyrep.engine.mirror import Mirror
from pyrep.interconnect.messages import StreamAck
from pyrep.model import (
    Direction,
    Generation,
    GenerationCause,
    GenerationId,
    GenerationState,
    GroupId,
    PairId,
    PairStatus,
    SplitCause,
    SystemId,
    VolumeId,
)
from pyrep.testing import (
    Asked,
    Content,
    HostWrite,
    InvariantError,
    VolumeName,
    check_covered,
    check_duplex,
    check_durable_first,
    check_frozen,
    check_no_early_clear,
    check_one_point,
    check_one_writer,
    check_remote_stays,
    invariants,
    wait_until,
)
from pyrep.testing.sides import Side

CHUNK = 8192
SIZE = 300_000


@pytest.fixture
def world() -> Iterator[World]:
    made = World(Shape(size_bytes=SIZE))
    made.write(PVOLS[0], HostWrite(offset=0, data=b"content" * 10_000))
    made.check()
    yield made
    made.close()


def io_of(world: World, name: VolumeName) -> Io:
    return world.systems[name[0]].state.volume(VolumeId(name[1])).io


def row_of(world: World, name: VolumeName, *, remote: bool) -> Mirror:
    """Return a volume's live row of its (first) local or remote pair."""
    mirrors = world.systems[name[0]].state.mirrors_of(VolumeId(name[1]))
    return next(one for one in mirrors if one.row.is_remote is remote)


def split(world: World, svol: str) -> str:
    """Split a local pair of 100b; return its generation."""
    pair_id = pair_to(world, svol)
    made = world.systems["100b"].pair(pair_id).split()
    world.note({pair_id: Asked.SPLIT})
    world.check()
    return made.generation_id if made else ""


def pair_to(world: World, svol: str) -> str:
    return next(one.pair_id for one in world.reference.pairs.values() if one.svol[1] == svol)


def test_a_difference_that_nothing_covers_is_found_with_its_chunk(world: World) -> None:
    for name in (SPVOLS[0], ("100b", "106b"), ("100a", "106a")):
        io = io_of(world, name)
        before = io.pread(1, 25 * CHUNK)
        io.pwrite(b"\xff", 25 * CHUNK)
        with pytest.raises(InvariantError, match="INV-1") as caught:
            check_covered(*world.open_systems())
        assert caught.value.chunk_index == 25
        io.pwrite(before, 25 * CHUNK)
        check_covered(*world.open_systems())


def test_a_difference_in_the_partial_last_chunk_is_found(world: World) -> None:
    io_of(world, SPVOLS[0]).pwrite(b"\xff", SIZE - 1)
    with pytest.raises(InvariantError) as caught:
        check_covered(*world.open_systems())
    assert caught.value.chunk_index == (SIZE - 1) // CHUNK


def test_a_pending_chunk_may_differ(world: World) -> None:
    io_of(world, ("100a", "106a")).pwrite(b"\xff", 25 * CHUNK)
    row_of(world, PVOLS[0], remote=False).link.pending.set(25)
    check_covered(*world.open_systems())


def test_a_forgotten_mark_of_650_is_found(world: World) -> None:
    """What 650 writes to 105b is marked in 105b's row of pair 130, else 670 would miss it."""
    split(world, "106b")
    world.write(PVOLS[0], HostWrite(offset=3 * CHUNK, data=b"later" * 10_000))
    remote = world.systems["100a"].pair(pair_to(world, "105b"))
    remote.split()
    world.note({remote.pair_id: Asked.SPLIT})
    world.check()
    local = world.systems["100b"].pair(pair_to(world, "106b"))
    job = local.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(60)
    world.note({local.pair_id: Asked.REVERSE})
    world.check()
    marked = row_of(world, SPVOLS[0], remote=True).link.pending
    assert marked.test(3)
    local_row = next(
        one
        for one in world.systems["100b"].state.mirrors_of(VolumeId("105b"))
        if one.row.pair_id == local.pair_id
    )
    assert not local_row.link.pending_count(), "650's writes were echoed into its own row"
    marked.clear(3)
    with pytest.raises(InvariantError, match="INV-1") as caught:
        check_covered(*world.open_systems())
    assert caught.value.chunk_index == 3


def test_an_echo_into_the_row_a_write_came_through_is_found(world: World) -> None:
    split(world, "106b")
    world.write(PVOLS[0], HostWrite(offset=4 * CHUNK, data=b"x"))
    check_duplex(*world.open_systems())  # the real thing marks 106b's pair, and only that
    row = row_of(world, SPVOLS[0], remote=True)
    assert not row.link.pending_count()
    row.link.pending.set(4)
    with pytest.raises(InvariantError, match="DUPLEX") as caught:
        check_duplex(*world.open_systems())
    assert caught.value.chunk_index == 4


def test_a_late_acknowledgement_doesnt_clear_a_newer_mark(world: World) -> None:
    """And if it did, that would be found."""
    outlet = world.systems["100a"].state.peers[SystemId("100b")].known_outlet(GroupId("g"))
    assert outlet is not None
    info = outlet.stream.info()
    world.cut()
    world.check()
    world.write(PVOLS[0], HostWrite(offset=26 * CHUNK, data=b"newer than the acknowledgement"))
    late = StreamAck(
        stream_id=outlet.stream_id,
        attempt=info.attempt,
        received=info.last,
        durable=info.last,
    )
    outlet.take_ack(late)
    pending = row_of(world, PVOLS[0], remote=True).link.pending
    assert pending.test(26)
    world.check()
    pending.clear(26)
    with pytest.raises(InvariantError, match="INV-1") as caught:
        check_covered(*world.open_systems())
    assert caught.value.chunk_index == 26


def test_an_acknowledgement_of_an_older_write_doesnt_clear_the_newer_one_to_its_chunk(
    world: World,
) -> None:
    """The mark of what is still queued stays until its own number is durable."""
    row = row_of(world, PVOLS[0], remote=True)
    stream = world.stream()
    assert stream is not None
    world.path.stall()
    volume = world.systems["100a"].volume("105a")
    io = io_of(world, PVOLS[0])
    io_before = io.pread(10, 2 * CHUNK)
    last = stream.info().last
    host = threading.Thread(target=volume.pwrite, args=(b"0123456789", 2 * CHUNK), name="host")
    host.start()
    wait_until(lambda: stream.info().last > last)
    stream.ack(stream.info().attempt, stream.info().received, stream.info().durable)
    assert io.pread(10, 2 * CHUNK) != io_before
    assert row.pending().test(2)
    check_covered(*world.open_systems())
    world.path.resume()
    host.join()


def test_a_row_that_works_before_it_is_durable_is_found(world: World) -> None:
    mirror = row_of(world, PVOLS[0], remote=True)
    mirror.row = replace(mirror.row, target_consistent=False)
    with pytest.raises(InvariantError, match="INV-2"):
        check_durable_first(*world.open_systems())


def test_a_bitmap_file_without_its_open_mark_is_found(world: World) -> None:
    row_of(world, PVOLS[0], remote=True).file.mark_closed(1)
    with pytest.raises(InvariantError, match=r"INV-2.*marked as in use"):
        check_durable_first(*world.open_systems())


@pytest.mark.parametrize(
    ("system_id", "remote"), [("100a", True), ("100b", False)], ids=["remote", "local"]
)
def test_bits_that_are_pending_in_memory_alone_are_found(
    world: World, system_id: str, *, remote: bool
) -> None:
    for one in ("100a", "100b"):
        world.reopen(one)  # no region is hot any more
    world.settle()
    mirror = row_of(world, (system_id, "105a" if remote else "105b"), remote=remote)
    mirror.link.pending.set(25)
    with pytest.raises(InvariantError, match=r"INV-2.*in memory alone") as caught:
        check_durable_first(*world.open_systems())
    assert caught.value.chunk_index == 25
    mirror.save()
    check_durable_first(*world.open_systems())
    mirror.link.pending.fill()
    with pytest.raises(InvariantError, match=r"INV-2.*in memory alone"):
        check_durable_first(*world.open_systems())
    mirror.mark_all()
    check_durable_first(*world.open_systems())


def test_a_chunk_cleared_before_it_is_durable_is_found() -> None:
    world = World(Shape(size_bytes=SIZE, volatile=True))
    try:
        check_no_early_clear(*world.open_systems())
        for name in (PVOLS[0], ("100a", "106a"), SPVOLS[0], ("100b", "106b"), ("100b", "107b")):
            io_of(world, name).pwrite(b"equal everywhere, durable nowhere", 7 * CHUNK)
        check_covered(*world.open_systems())
        with pytest.raises(InvariantError, match="INV-3") as caught:
            check_no_early_clear(*world.open_systems())
        assert caught.value.chunk_index == 7
    finally:
        world.close()


def test_a_generation_that_changed_is_found(world: World) -> None:
    split(world, "106b")
    io_of(world, ("100b", "106b")).pwrite(b"\xff", 3 * 4096)
    with pytest.raises(InvariantError, match=r"INV-4.*changed") as caught:
        check_frozen(world.reference.generations, *world.open_systems())
    assert caught.value.chunk_index == 3


def test_a_generation_that_takes_host_writes_is_found(world: World) -> None:
    split(world, "106b")
    world.systems["100b"].state.volume(VolumeId("106b")).core.fence(Fence.NONE)
    with pytest.raises(InvariantError, match=r"INV-4.*takes host writes"):
        check_frozen(world.reference.generations, *world.open_systems())


def test_a_generation_that_was_given_up_unasked_is_found(world: World) -> None:
    generation_id = split(world, "106b")
    world.systems["100b"].generations.change(
        GenerationId(generation_id), state=GenerationState.GIVEN_UP
    )
    with pytest.raises(InvariantError, match=r"INV-4.*isn't held"):
        check_frozen(world.reference.generations, *world.open_systems())


@pytest.mark.parametrize("target", [SPVOLS[0], ("100b", "106b"), ("100a", "106a")])
def test_a_target_that_takes_host_writes_is_found(world: World, target: VolumeName) -> None:
    check_one_writer(*world.open_systems())
    world.systems[target[0]].state.volume(VolumeId(target[1])).core.fence(Fence.NONE)
    with pytest.raises(InvariantError, match="INV-5"):
        check_one_writer(*world.open_systems())


def test_an_inconsistent_target_that_is_served_is_found(world: World) -> None:
    mirror = row_of(world, SPVOLS[0], remote=True)
    mirror.row = replace(mirror.row, target_consistent=False)  # the fence doesn't follow
    with pytest.raises(InvariantError, match=r"INV-5.*served for reading"):
        check_one_writer(*world.open_systems())


def test_a_row_that_changes_while_it_is_looked_at_is_no_breach(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = row_of(world, SPVOLS[0], remote=True)
    whole = mirror.row
    mirror.row = replace(whole, target_consistent=False)
    serves = invariants._serves_reads

    def becomes_whole(side: Side) -> bool:
        mirror.row = whole  # and its fence is open by now
        return serves(side)

    monkeypatch.setattr(invariants, "_serves_reads", becomes_whole)
    check_one_writer(*world.open_systems())


def test_a_target_that_only_one_side_knows_of_is_checked(world: World) -> None:
    """The primary says DUPLEX; were the secondary split, its hosts would write into the mirror."""
    mirror = row_of(world, SPVOLS[0], remote=True)
    mirror.row = replace(mirror.row, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED)
    world.systems["100b"].state.refence([VolumeId("105b")])
    with pytest.raises(InvariantError, match="INV-5"):
        check_one_writer(*world.open_systems())


def two_volumes() -> tuple[
    dict[VolumeName, Content], list[tuple[VolumeName, HostWrite]], dict[VolumeName, Content]
]:
    before = {name: Content(10_000) for name in PVOLS}
    writes = [
        (PVOLS[number % 2], HostWrite(offset=number * 100, data=bytes([number + 1])))
        for number in range(6)
    ]
    return before, writes, {name: content.copy() for name, content in before.items()}


def test_a_later_write_without_an_earlier_one_is_found() -> None:
    before, writes, now = two_volumes()
    for name, write in [*writes[:3], writes[4]]:
        now[name].apply(write)
    with pytest.raises(InvariantError, match="INV-6"):
        check_one_point(before, writes, {name: one.to_bytes() for name, one in now.items()})


def test_volumes_at_different_points_are_found() -> None:
    before, writes, now = two_volumes()
    for name, write in writes:
        if name == PVOLS[0]:
            now[name].apply(write)
    with pytest.raises(InvariantError, match="INV-6"):
        check_one_point(before, writes, {name: one.to_bytes() for name, one in now.items()})


@pytest.mark.parametrize("count", range(7))
def test_every_prefix_is_one_point(count: int) -> None:
    before, writes, now = two_volumes()
    for name, write in writes[:count]:
        now[name].apply(write)
    found = {name: one.to_bytes() for name, one in now.items()}
    assert check_one_point(before, writes, found) == count


PAIR = PairId("100a.1")
GOOD = Generation(
    generation_id=GenerationId("g1"),
    attempt_id="a1",
    label="",
    cause=GenerationCause.BACKUP,
    state=GenerationState.COMPLETE,
    taken_at=datetime(2026, 1, 1, tzinfo=UTC),
    home=SystemId("100b"),
    members=(),
    hold_ms=1.0,
    queued_max_bytes=0,
    remote_before=((PAIR, "DUPLEX"),),
    remote_during=((PAIR, "DUPLEX"),),
    remote_after=((PAIR, "DUPLEX"),),
)


@pytest.mark.parametrize(
    "bad",
    [
        replace(GOOD, remote_during=((PAIR, "SPLIT"),)),
        replace(GOOD, remote_after=((PAIR, "COPY"),)),
        replace(GOOD, remote_after=()),
        replace(GOOD, hold_ms=None),
        replace(GOOD, queued_max_bytes=None),
    ],
    ids=["split during", "copying after", "untold", "hold untold", "queue untold"],
)
def test_a_backup_that_disturbed_the_mirror_or_doesnt_tell_is_found(bad: Generation) -> None:
    check_remote_stays([GOOD])
    with pytest.raises(InvariantError, match="INV-7"):
        check_remote_stays([GOOD, bad])


def test_a_stream_that_is_still_held_back_is_found(world: World) -> None:
    stream = world.stream()
    assert stream is not None
    state = world.systems["100a"].state
    group_cut([CutItem(verb=CutVerb.CORK, on=stream)], timeout_s=10, wake=state.wake)
    with pytest.raises(InvariantError, match="INV-7"):
        check_remote_stays([], *world.open_systems())
    stream.uncork()
    check_remote_stays([], *world.open_systems())
