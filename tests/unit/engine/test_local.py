from __future__ import annotations

import pytest

from pyrep.engine import Cancel, Progress
from pyrep.errors import (
    CancelledError,
    FencedError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
)
from pyrep.model import Direction, GenerationState, PairStatus, SplitCause
from rig import CHUNK, LONG_S, MIB, SIZE, Rig, Site, content, equal, fill, refused, snapshot


@pytest.fixture
def one(site: Site) -> Site:
    site.make("100b", "105b", "106b", "107b", "108b")
    fill(site.volume("100b", "105b"), 1)
    return site


def test_a_new_pair_copies_everything_and_is_duplex(one: Site) -> None:
    system = one.systems["100b"]
    fill(system.volume("106b"), 9)
    pair = system.create_local_pair("105b", "106b")
    assert pair.wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("106b"))
    state = pair.status()
    assert (state.pending_count, state.pending_bytes, state.target_consistent) == (0, 0, True)
    assert [row.volume_id for row in pair.rows] == ["105b", "106b"]
    assert pair.row.pair_id == "100b.1"
    assert "100b.1 (100b:105b → 100b:106b)" in pair.name


def test_writes_to_a_duplex_pair_reach_both_volumes_and_leave_nothing_pending(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    fill(system.volume("105b"), 2)
    assert equal(system.volume("105b"), system.volume("106b"))
    assert pair.status().pending_count == 0


def test_a_last_chunk_that_is_partial_is_mirrored_and_marked(site: Site) -> None:
    size = SIZE + 5000
    system = site.make("100b", "105b", "106b", size=size)
    volume = system.volume("105b")
    volume.pwrite(b"tail", size - 4)
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    assert system.volume("106b").pread(4, size - 4) == b"tail"
    pair.split()
    volume.pwrite(b"TAIL", size - 4)
    assert list(pair.pending()) == [SIZE // CHUNK]
    assert pair.pending_extents() == [(SIZE, 5000)]
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    assert system.volume("106b").pread(4, size - 4) == b"TAIL"


def test_a_split_makes_a_generation_that_later_writes_do_not_change(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    generation = pair.split(label="monday")
    assert generation is not None
    assert generation.state is GenerationState.COMPLETE
    assert generation.label == "monday"
    frozen = content(system.volume("106b"))
    fill(system.volume("105b"), 3)
    assert content(system.volume("106b")) == frozen
    assert not equal(system.volume("105b"), system.volume("106b"))
    assert system.generation(generation.generation_id) == generation
    with system.generations.view(generation.generation_id, generation.members[0].source) as view:
        assert view.pread(SIZE, 0) == frozen
        view.pwrite(b"only in the view", 0)
    assert content(system.volume("106b")) == frozen


def test_split_pending_is_exactly_the_chunks_written_since(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    volume = system.volume("105b")
    volume.pwrite(b"x", 3 * CHUNK)
    volume.pwrite(b"xy", 10 * CHUNK - 1)
    volume.zero(CHUNK, 20 * CHUNK)
    volume.trim(1, 30 * CHUNK)
    assert list(pair.pending()) == [3, 9, 10, 20, 30]
    expected = [(3, 1), (9, 2), (20, 1), (30, 1)]
    assert pair.pending_extents() == [(first * CHUNK, n * CHUNK) for first, n in expected]


def test_a_generation_takes_no_host_write(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    with refused(FencedError, system, names="106b"):
        system.volume("106b").pwrite(b"x", 0)
    pair.split()
    with refused(FencedError, system, names="106b"):
        system.volume("106b").pwrite(b"x", 0)
    with refused(FencedError, system, names="106b"):
        system.volume("106b").zero(10, 0)


def test_a_forward_resync_sends_what_is_pending_and_gives_the_generation_up(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    generation = pair.split()
    assert generation is not None
    fill(system.volume("105b"), 3)
    pending = pair.status().pending_bytes
    job = pair.resync()
    assert job is not None
    seen: list[Progress] = []
    job.wait(LONG_S, progress=seen.append)
    assert seen[-1].done_bytes == seen[-1].total_bytes == pending
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("106b"))
    assert system.generation(generation.generation_id).state is GenerationState.GIVEN_UP


def test_a_reverse_resync_brings_the_generation_back_and_ends_split(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    frozen = content(system.volume("106b"))
    fill(system.volume("105b"), 4)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert content(system.volume("105b")) == frozen
    state = pair.status()
    assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.REQUESTED)
    assert (state.pending_count, state.direction) == (0, Direction.FORWARD)
    fill(system.volume("105b"), 5)
    assert content(system.volume("106b")) == frozen
    assert pair.status().pending_count > 0


def test_a_reverse_resync_splits_duplex_siblings_first_as_one_generation(one: Site) -> None:
    system = one.systems["100b"]
    pairs = [system.create_local_pair("105b", svol) for svol in ("106b", "107b", "108b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    pairs[0].split()
    fill(system.volume("105b"), 6)
    before = content(system.volume("105b"))
    job = pairs[0].resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    for pair in pairs[1:]:
        assert pair.status().cause is SplitCause.PROTECT
    protect = system.list_generations()[-1]
    assert {member.svol for member in protect.members} == {"107b", "108b"}
    assert content(system.volume("107b")) == content(system.volume("108b")) == before
    # What the reverse copy changed in 105b is pending towards the siblings.
    assert pairs[1].pending() == pairs[2].pending() != set()
    job = pairs[1].resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(system.volume("105b"), system.volume("107b"))


def test_siblings_split_at_different_times_know_their_own_marks_also_after_a_reopen(
    one: Site,
) -> None:
    system = one.systems["100b"]
    pairs = [system.create_local_pair("105b", svol) for svol in ("106b", "107b", "108b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    volume = system.volume("105b")
    pairs[0].split()
    volume.pwrite(b"1", 1 * CHUNK)
    pairs[1].split()
    volume.pwrite(b"2", 2 * CHUNK)
    expected = {"100b.1": [1, 2], "100b.2": [2], "100b.3": []}
    assert [list(pair.pending()) for pair in pairs[:2]] == [[1, 2], [2]]
    assert pairs[2].status().pending_count == 0
    for _ in range(2):
        system = one.reopen("100b")
        assert {pair.pair_id: list(pair.pending()) for pair in system.pairs()} == expected
    system.volume("105b").pwrite(b"3", 3 * CHUNK)
    system.pair("100b.3").split()
    system.volume("105b").pwrite(b"4", 4 * CHUNK)
    expected = {"100b.1": [1, 2, 3, 4], "100b.2": [2, 3, 4], "100b.3": [4]}
    system = one.reopen("100b")
    assert {pair.pair_id: list(pair.pending()) for pair in system.pairs()} == expected
    for pair in system.pairs():
        job = pair.resync()
        assert job is not None
        job.wait(LONG_S)
        assert equal(system.volume("105b"), system.volume(pair.row.mirror_volume_id))


def test_a_crash_makes_every_chunk_of_every_pair_pending_and_keeps_the_generation(
    one: Site,
) -> None:
    system = one.systems["100b"]
    pairs = [system.create_local_pair("105b", svol) for svol in ("106b", "107b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    generation = pairs[0].split()
    assert generation is not None
    one.reopen("100b")  # so that marks of a clean close are on disk
    fill(one.volume("100b", "105b"), 3)
    system = one.reopen("100b", crash=True)
    chunks = SIZE // CHUNK
    split = system.pair("100b.1")
    assert split.status().status is PairStatus.SPLIT
    assert split.status().cause is SplitCause.REQUESTED
    assert len(split.pending()) == chunks
    assert system.generation(generation.generation_id).is_complete
    # The other one was DUPLEX: it is resynced by itself.
    assert system.pair("100b.2").wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("107b"))


def test_a_second_crash_right_after_the_first_loses_no_bit(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    fill(system.volume("105b"), 3)
    written = set(system.pair("100b.1").pending())
    one.reopen("100b")
    one.reopen("100b", crash=True)
    system = one.reopen("100b", crash=True)
    assert set(system.pair("100b.1").pending()) == written
    system = one.reopen("100b")
    assert set(system.pair("100b.1").pending()) == written


def test_a_clean_close_keeps_a_duplex_pair_duplex(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    fill(system.volume("105b"), 2)
    system = one.reopen("100b")
    state = system.pair("100b.1").status()
    assert (state.status, state.pending_count) == (PairStatus.DUPLEX, 0)
    fill(system.volume("105b"), 3)
    assert equal(system.volume("105b"), system.volume("106b"))


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("direction", list(Direction))
def test_an_interrupted_copy_goes_on_in_its_direction_after_a_reopen(
    one: Site, direction: Direction, crash: bool
) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    expected = content(system.volume("106b"))
    fill(system.volume("105b"), 3)
    if direction is Direction.FORWARD:
        expected = content(system.volume("105b"))
    job = pair.resync(direction=direction)
    assert job is not None
    job.cancel()
    system = one.reopen("100b", crash=crash)
    end = PairStatus.DUPLEX if direction is Direction.FORWARD else PairStatus.SPLIT
    system.pair("100b.1").wait(end, timeout_s=LONG_S)
    assert content(system.volume("105b")) == content(system.volume("106b")) == expected


def test_a_cancelled_copy_stays_in_copy_and_a_resync_goes_on(site: Site) -> None:
    system = site.make("100b", "105b", "106b", size=8 * MIB)
    fill(system.volume("105b"), 1, count=300)
    cancel = Cancel()
    cancel.cancel()
    pair = system.create_local_pair("105b", "106b")
    job = system.state.mirror(pair.pair_id).job
    if job is not None:
        try:
            job.wait(LONG_S, cancel=cancel)
        except CancelledError:
            assert pair.status().status is PairStatus.COPY
    again = pair.resync()
    if again is not None:
        again.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(system.volume("105b"), system.volume("106b"))


def test_resync_while_a_cancelled_job_is_ending_begins_another_one(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    for seed in range(8):
        pair.split()
        fill(system.volume("105b"), seed)
        job = pair.resync()
        assert job is not None
        job.cancel()
        again = pair.resync()
        if again is not None:
            again.wait(LONG_S)
        assert pair.status().status is PairStatus.DUPLEX
        assert equal(system.volume("105b"), system.volume("106b"))


def test_a_split_during_the_copy_stops_it_and_makes_no_generation(site: Site) -> None:
    system = site.make("100b", "105b", "106b", size=8 * MIB)
    fill(system.volume("105b"), 1, count=300)
    pair = system.create_local_pair("105b", "106b")
    generation = pair.split()
    state = pair.status()
    assert state.status is PairStatus.SPLIT
    assert state.target_consistent == (generation is not None)
    if generation is None:
        with pytest.raises(FencedError, match="106b"):
            system.volume("106b").pread(1, 0)
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    assert equal(system.volume("105b"), system.volume("106b"))


def test_a_split_that_finds_the_copy_done_splits_the_duplex_pair(one: Site) -> None:
    system = one.systems["100b"]
    for seed in range(8):
        pair = system.create_local_pair("105b", "106b")
        generation = pair.split()
        state = pair.status()
        assert state.status is PairStatus.SPLIT
        assert (generation is not None) == state.target_consistent, seed
        pair.dissolve()


def test_split_pairs_splits_all_at_one_point_or_none(one: Site) -> None:
    system = one.systems["100b"]
    pairs = [system.create_local_pair("105b", svol) for svol in ("106b", "107b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    generation = system.split_pairs([pair.pair_id for pair in pairs] * 2, label="both")
    assert generation is not None
    assert {member.svol for member in generation.members} == {"106b", "107b"}
    assert equal(system.volume("106b"), system.volume("107b"))
    assert system.split_pairs([pair.pair_id for pair in pairs]) is None


def test_split_again_and_resync_of_a_duplex_pair_are_no_ops(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    assert pair.resync() is None
    pair.split()
    before = snapshot(system)
    assert pair.split() is None
    assert snapshot(system) == before


def test_dissolving_leaves_two_volumes_that_go_their_own_ways(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    generation = pair.split()
    assert generation is not None
    pair.dissolve()
    assert pair.status().status is PairStatus.SIMPLEX
    assert system.pairs() == ()
    assert system.generation(generation.generation_id).state is GenerationState.GIVEN_UP
    system.volume("106b").pwrite(b"mine", 0)
    assert system.volume("105b").pread(4, 0) != b"mine"
    assert not list((system.directory / "bitmaps").iterdir())
    system.create_local_pair("106b", "105b").wait(timeout_s=LONG_S)


def test_a_volume_that_had_split_pairs_can_be_deleted_and_the_system_opens_again(
    one: Site,
) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    system = one.reopen("100b")  # the marks' intervals are on disk now
    system.pair(pair.pair_id).dissolve()
    system.delete_volume("105b")
    system = one.reopen("100b")
    system = one.reopen("100b", crash=True)
    assert [volume.volume_id for volume in system.volumes()] == ["106b", "107b", "108b"]


def test_commands_that_the_matrix_refuses_say_why_and_change_nothing(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    with refused(RefusedError, system, names="reverse resync needs SPLIT"):
        pair.resync(direction=Direction.REVERSE)
    generation = pair.split()
    assert generation is not None
    source = generation.members[0].source
    with system.generations.view(generation.generation_id, source):
        with refused(RefusedError, system, names="in use by view-"):
            pair.resync()
        with refused(RefusedError, system, names="in use by view-"):
            pair.dissolve()
    system.protect_generation(generation.generation_id)
    with refused(RefusedError, system, names="protected"):
        pair.resync()
    with refused(RefusedError, system, names="protected"):
        pair.dissolve()


def test_clashing_roles_are_refused(one: Site) -> None:
    system = one.systems["100b"]
    system.create_local_pair("105b", "106b").wait(timeout_s=LONG_S)
    with refused(RefusedError, system, names="its own mirror"):
        system.create_local_pair("105b", "105b")
    with refused(RefusedError, system, names="is the SVOL of pair 100b.1 already"):
        system.create_local_pair("107b", "106b")
    with refused(RefusedError, system, names="nothing may follow it"):
        system.create_local_pair("106b", "107b")
    with refused(RefusedError, system, names="a cycle"):
        system.create_local_pair("106b", "105b")
    with refused(RefusedError, system, names="is the PVOL of pair 100b.1"):
        system.create_local_pair("107b", "105b")
    with refused(RefusedError, system, names="these volumes are pair 100b.1 already"):
        system.create_local_pair("105b", "106b")


@pytest.mark.parametrize("chunk_bytes", [0, -8192, 2048, 5000, 2 * MIB])
def test_a_chunk_size_out_of_range_is_refused(one: Site, chunk_bytes: int) -> None:
    system = one.systems["100b"]
    with refused(InvalidArgumentError, system, names=str(chunk_bytes)):
        system.create_local_pair("105b", "106b", chunk_bytes=chunk_bytes)


def test_siblings_have_one_chunk_size(one: Site) -> None:
    system = one.systems["100b"]
    system.create_local_pair("105b", "106b", chunk_bytes=4096).wait(timeout_s=LONG_S)
    with refused(InvalidArgumentError, system, names="4096"):
        system.create_local_pair("105b", "107b")


def test_volumes_of_unequal_size_are_refused(one: Site) -> None:
    system = one.systems["100b"]
    system.create_volume("small", SIZE - 1)
    with refused(InvalidArgumentError, system, names=f"{SIZE} and {SIZE - 1} bytes"):
        system.create_local_pair("105b", "small")


def test_unknown_ids_are_refused_with_those_there_are(one: Site) -> None:
    system = one.systems["100b"]
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    with refused(NotFoundError, system, names="999"):
        system.create_local_pair("105b", "999")
    with refused(NotFoundError, system, names="100b.9"):
        system.pair("100b.9")
    with refused(NotFoundError, system, names="g-none"):
        system.generation("g-none")
    generation = pair.split()
    assert generation is not None
    with (
        refused(NotFoundError, system, names="999"),
        system.generations.view(
            generation.generation_id, system.volume("107b").volume_id.__class__("999")
        ),
    ):
        pass


def test_nothing_is_copied_from_a_volume_that_a_reverse_copy_left_half_way(rig: Rig) -> None:
    remote, local = rig.remote(), rig.local()
    local.split()
    remote.split()
    fill(rig.spvol, 3)
    job = local.resync(direction=Direction.REVERSE)
    assert job is not None
    job.cancel()
    try:
        job.wait(LONG_S)
    except CancelledError:
        local.split()
        for direction in Direction:
            if direction is Direction.REVERSE:
                with refused(RefusedError, rig.a, rig.b, names="105b"):
                    remote.resync(direction=direction)
        with refused(RefusedError, rig.b, names="inconsistent"):
            rig.b.create_local_pair("105b", "107b")
