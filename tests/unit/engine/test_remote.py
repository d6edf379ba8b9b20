from __future__ import annotations

import contextlib
import threading

import pytest

from pyrep.engine import ChangedBacking, Options, Pair
from pyrep.errors import (
    CancelledError,
    FencedError,
    InvalidArgumentError,
    NotFoundError,
    PathLostError,
    PyrepError,
    RefusedError,
    TimedOutError,
)
from pyrep.interconnect.messages import RemovePair, SplitPair
from pyrep.model import AckPoint, Direction, GenerationCause, PairStatus, SplitCause
from pyrep.testing import wait_until
from rig import CHUNK, LONG_S, MIB, SIZE, Rig, content, equal, fill, refused, row_of


@pytest.mark.parametrize("ack", [AckPoint.RECEIVED, AckPoint.DURABLE])
def test_a_synchronous_write_is_at_the_secondary_when_it_returns(rig: Rig, ack: AckPoint) -> None:
    pair = rig.remote(ack=ack)
    assert equal(rig.pvol, rig.spvol)
    for seed in range(3):
        fill(rig.pvol, 10 + seed)
        assert equal(rig.pvol, rig.spvol)
    rig.pvol.zero(CHUNK, 0)
    rig.pvol.trim(CHUNK, 2 * CHUNK)
    rig.pvol.flush()
    assert equal(rig.pvol, rig.spvol)
    assert pair.status().pending_count == 0
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX
    assert pair.group_id == "pair-100a.1"


def test_a_host_write_to_the_secondary_volume_is_refused_while_it_is_a_target(rig: Rig) -> None:
    rig.remote()
    with refused(FencedError, rig.a, rig.b, names="105b"):
        rig.spvol.pwrite(b"x", 0)


def test_a_lost_path_splits_both_sides_and_the_pair_resumes_by_itself(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    for system in (rig.a, rig.b):
        row = row_of(system, pair)
        assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.PATH_LOST)
    fill(rig.pvol, 3)
    assert pair.status().pending_count > 0
    assert rig.spvol.pread(1, 0) is not None
    with refused(FencedError, rig.b, names="105b"):
        rig.spvol.pwrite(b"x", 0)
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_cut_and_restore_again_and_again_under_writes_ends_duplex_and_equal(rig: Rig) -> None:
    pair = rig.remote()
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        seed = 0
        while not stop.is_set():
            try:
                fill(rig.pvol, seed, count=3)
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
            seed += 1

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for _ in range(25):
        rig.path.cut()
        rig.path.connect()
    stop.set()
    for writer in writers:
        writer.join()
    assert not failures
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_path_that_is_cut_at_once_after_it_came_back_leaves_no_pair_behind(rig: Rig) -> None:
    pairs = [rig.remote(), rig.a.create_remote_pair("106a", "100b", "106b")]
    pairs[1].wait(timeout_s=LONG_S)
    for turn in range(15):
        rig.path.cut()
        fill(rig.pvol, turn)
        rig.path.connect()
        rig.path.cut()
        rig.path.connect()
        for pair in pairs:
            pair.wait(timeout_s=LONG_S)
            rig.both(pair, PairStatus.DUPLEX)
        assert equal(rig.pvol, rig.spvol)


def test_a_second_path_supersedes_the_first_one(rig: Rig) -> None:
    pair = rig.remote()
    first = rig.path
    rig.reconnect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    fill(rig.pvol, 3)
    assert equal(rig.pvol, rig.spvol)
    first.cut()
    fill(rig.pvol, 4)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)


@pytest.mark.parametrize("cuts", [1, 3])
def test_an_initial_copy_goes_on_after_the_path_was_lost(rig: Rig, cuts: int) -> None:
    fill(rig.pvol, 1, count=100)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    for seed in range(cuts):
        rig.path.cut()
        assert pair.status().status is not PairStatus.SIMPLEX
        fill(rig.pvol, seed)
        rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_the_target_of_a_broken_off_initial_copy_is_not_served(rig: Rig) -> None:
    fill(rig.pvol, 1)
    rig.path.stall()
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    rig.path.cut()
    assert row_of(rig.b, pair).status is PairStatus.COPY
    with refused(FencedError, rig.a, rig.b, names="105b"):
        rig.spvol.pread(1, 0)
    pair.split()
    assert pair.status().cause is SplitCause.REQUESTED
    rig.path.connect()
    wait_until(lambda: row_of(rig.b, pair).cause is SplitCause.REQUESTED)
    with refused(FencedError, rig.b, names="105b"):
        rig.spvol.pread(1, 0)
    with refused(RefusedError, rig.a, rig.b, names="SVOL is inconsistent"):
        pair.resync(direction=Direction.REVERSE)


def test_a_requested_split_lets_hosts_write_on_both_sides_and_forward_overwrites(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    for system in (rig.a, rig.b):
        assert row_of(system, pair).cause is SplitCause.REQUESTED
    rig.pvol.pwrite(b"a", 3 * CHUNK)
    rig.spvol.pwrite(b"b", 5 * CHUNK)
    assert 5 in rig.b.pair(pair.pair_id).pending()
    assert 3 in pair.pending()
    expected = content(rig.pvol)
    job = pair.resync(discard="100b")
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_requested_split_is_not_resumed_by_a_path_that_returns(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    pair.split()
    assert pair.status().cause is SplitCause.REQUESTED
    assert row_of(rig.b, pair).cause is SplitCause.PATH_LOST
    rig.path.connect()
    wait_until(lambda: row_of(rig.b, pair).cause is SplitCause.REQUESTED)
    assert pair.status().status is PairStatus.SPLIT
    with pytest.raises(RefusedError, match="won't be DUPLEX"):
        pair.wait(timeout_s=LONG_S)


def test_host_writes_to_the_secondary_during_the_handover_of_a_resync_are_overwritten(
    rig: Rig,
) -> None:
    pair = rig.remote()
    stop = threading.Event()

    def write() -> None:
        seed = 0
        while not stop.is_set():
            seed += 1
            with contextlib.suppress(FencedError):
                fill(rig.spvol, seed, count=1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(15):
            pair.split()
            job = pair.resync()
            assert job is not None
            job.wait(LONG_S)
            assert equal(rig.pvol, rig.spvol)
    finally:
        stop.set()
        writer.join()


def test_a_reverse_resync_brings_the_secondary_content_home_and_ends_duplex(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    fill(rig.pvol, 8)
    expected = content(rig.spvol)
    job = pair.resync(direction=Direction.REVERSE, discard="100a")
    assert job is not None
    job.wait(LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert pair.status().direction is Direction.FORWARD
    assert content(rig.pvol) == content(rig.spvol) == expected
    fill(rig.pvol, 9)
    assert equal(rig.pvol, rig.spvol)


def test_a_reverse_copy_that_lost_its_path_resumes_in_the_same_direction(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7, count=50)
    expected = content(rig.spvol)
    rig.path.stall()
    pair.resync(direction=Direction.REVERSE)
    rig.path.cut()
    row = row_of(rig.a, pair)
    assert (row.status, row.direction) == (PairStatus.COPY, Direction.REVERSE)
    with refused(FencedError, rig.a, names="105a"):
        rig.pvol.pread(1, 0)
    with refused(RefusedError, rig.a, names="COPY (reverse)"):
        pair.resync()
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


@pytest.mark.parametrize("crashed", ["100a", "100b"])
def test_a_crash_during_a_reverse_copy_resumes_it(rig: Rig, crashed: str) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7, count=50)
    expected = content(rig.spvol)
    rig.path.stall()
    pair.resync(direction=Direction.REVERSE)
    rig.reopen(crashed, crash=True)
    rig.path.resume()
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_secondary_that_crashed_when_only_it_had_ended_the_reverse_copy_is_copied_again(
    rig: Rig,
) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 7)
    expected = content(rig.spvol)
    mirror = rig.a.state.mirror(pair.pair_id)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    # As if the primary had stopped between its secondary's end of the copy and its own.
    rig.path.cut()
    rig.a.state.change(
        mirror,
        status=PairStatus.COPY,
        cause=None,
        direction=Direction.REVERSE,
        target_consistent=False,
    )
    rig.reopen("100a", crash=True)
    rig.reopen("100b", crash=True)
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_cancelled_reverse_copy_can_be_resumed_or_stopped(rig: Rig) -> None:
    pair = rig.remote()
    for seed in range(5):
        pair.split()
        fill(rig.spvol, seed, count=50)
        expected = content(rig.spvol)
        job = pair.resync(direction=Direction.REVERSE)
        assert job is not None
        job.cancel()
        try:
            job.wait(LONG_S)
        except CancelledError:
            assert pair.status().status is PairStatus.COPY
            with refused(RefusedError, rig.a, names="reverse"):
                pair.resync()
            pair.split()
            assert rig.path.is_up
            with refused(RefusedError, rig.a, rig.b, names="only reverse resumes"):
                pair.resync()
            again = pair.resync(direction=Direction.REVERSE)
            assert again is not None
            again.wait(LONG_S)
        rig.both(pair, PairStatus.DUPLEX)
        assert content(rig.pvol) == content(rig.spvol) == expected


def test_a_split_during_a_copy_does_not_cost_the_path(rig: Rig) -> None:
    fill(rig.pvol, 1, count=200)
    other = rig.a.create_remote_pair("106a", "100b", "106b", group="g")
    other.wait(timeout_s=LONG_S)
    for seed in range(10):
        pair = rig.a.create_remote_pair("105a", "100b", "105b", group="g")
        fill(rig.pvol, seed)
        pair.split()
        assert pair.status().status is PairStatus.SPLIT
        assert rig.path.is_up
        assert other.status().status is PairStatus.DUPLEX
        pair.dissolve()
        assert rig.b.volume("105b").rows == ()


def test_split_of_a_group_is_at_one_point_of_the_writes(rig: Rig) -> None:
    pairs = [
        rig.a.create_remote_pair("105a", "100b", "105b", group="g"),
        rig.a.create_remote_pair("106a", "100b", "106b", group="g"),
    ]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            rig.a.volume("105a").pwrite(number.to_bytes(8, "little"), 0)
            rig.a.volume("106a").pwrite(number.to_bytes(8, "little"), 0)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            rig.a.split_pairs([pair.pair_id for pair in pairs])
            first, second = (
                int.from_bytes(content(rig.b.volume(one))[:8], "little") for one in ("105b", "106b")
            )
            assert first - second in {0, 1}
            for pair in pairs:
                job = pair.resync()
                assert job is not None
                job.wait(LONG_S)
    finally:
        stop.set()
        writer.join()


def test_protect_splits_the_secondary_local_mirrors_before_a_forward_copy(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    rig.path.cut()
    before = content(rig.spvol)
    fill(rig.pvol, 3)
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    assert local.status().cause is SplitCause.PROTECT
    assert content(rig.svol) == before
    generation = rig.b.list_generations()[-1]
    assert generation.cause is GenerationCause.PROTECT
    assert generation.is_complete
    assert local.status().pending_count > 0


def test_no_protective_generation_when_nothing_is_to_be_copied(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    rig.path.cut()
    pair_row = row_of(rig.a, pair)
    assert pair_row.status is PairStatus.SPLIT
    job = rig.a.state.mirror(pair.pair_id)
    job.link.clean()
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    assert local.status().status in {PairStatus.DUPLEX, PairStatus.SPLIT}


def test_the_primary_local_mirrors_are_split_before_a_reverse_copy(rig: Rig) -> None:
    pair = rig.remote()
    local = rig.a.create_local_pair("105a", "106a")
    local.wait(timeout_s=LONG_S)
    pair.split()
    fill(rig.spvol, 3)
    before = content(rig.pvol)
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert local.status().cause is SplitCause.PROTECT
    assert content(rig.a.volume("106a")) == before
    assert equal(rig.pvol, rig.spvol)


def test_writes_of_a_local_copy_back_travel_home_with_the_remote_reverse_copy(rig: Rig) -> None:
    pair, local = rig.remote(), rig.local()
    local.split()
    expected = content(rig.svol)
    fill(rig.pvol, 5)
    pair.split()
    fill(rig.pvol, 6)
    job = local.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    assert content(rig.spvol) == expected
    home = pair.resync(discard="100a")
    assert home is not None
    home.wait(LONG_S)
    assert content(rig.pvol) == content(rig.spvol) == content(rig.svol) == expected


def test_a_third_system_collects_in_the_same_secondary(rig: Rig) -> None:
    pair = rig.remote(group="g")
    rig.b.create_volume("205b", SIZE)
    third = rig.make("100c", "105c")
    path = rig.connect("100c", "100b")
    fill(third.volume("105c"), 3)
    other = third.create_remote_pair("105c", "100b", "205b", group="g")
    other.wait(timeout_s=LONG_S)
    with refused(RefusedError, rig.a, rig.b, third, names="105b"):
        third.create_remote_pair("105c", "100b", "105b")
    path.cut()
    assert row_of(rig.b, other).cause is SplitCause.PATH_LOST
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX
    fill(rig.pvol, 4)
    fill(third.volume("105c"), 4)
    path.connect()
    other.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert equal(third.volume("105c"), rig.b.volume("205b"))


def test_a_system_reaches_only_its_own_pairs_at_the_secondary(rig: Rig) -> None:
    pair = rig.remote()
    third = rig.make("100c", "105c")
    rig.connect("100c", "100b")
    third.state.peer(rig.b.system_id).ask(RemovePair(pair_id=pair.pair_id))
    with pytest.raises(NotFoundError, match=pair.pair_id):
        third.state.peer(rig.b.system_id).ask(SplitPair(pair_id=pair.pair_id, cause="requested"))
    assert row_of(rig.b, pair).status is PairStatus.DUPLEX


def test_dissolving_frees_both_sides(rig: Rig) -> None:
    pair = rig.remote()
    pair.dissolve()
    assert rig.a.pairs() == rig.b.pairs() == ()
    rig.spvol.pwrite(b"mine", 0)
    fill(rig.pvol, 3)
    again = rig.a.create_remote_pair("105a", "100b", "105b")
    again.wait(timeout_s=LONG_S)
    assert again.pair_id != pair.pair_id
    assert equal(rig.pvol, rig.spvol)


def test_dissolving_without_a_path_is_refused(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    with refused(PathLostError, rig.a, rig.b, names="100b"):
        pair.dissolve()


def test_commands_at_the_secondary_name_the_primary_to_ask(rig: Rig) -> None:
    pair = rig.remote()
    here = rig.b.pair(pair.pair_id)
    for command in (here.split, here.resync, here.dissolve):
        with refused(RefusedError, rig.a, rig.b, names="primary"):
            command()


def test_clashing_roles_are_refused_wherever_they_are_known(rig: Rig) -> None:
    rig.remote()
    rig.local()
    with refused(RefusedError, rig.a, rig.b, names="105b is the SVOL of pair 100a.1"):
        rig.a.create_remote_pair("106a", "100b", "105b")
    with refused(RefusedError, rig.a, rig.b, names="PVOL of pair 100a.1"):
        rig.a.create_remote_pair("105a", "100b", "107b")
    with refused(RefusedError, rig.a, rig.b, names="only local pairs may follow"):
        rig.b.create_remote_pair("105b", "100a", "106a")
    with refused(RefusedError, rig.a, rig.b, names="106b"):
        rig.a.create_remote_pair("106a", "100b", "106b")
    with refused(RefusedError, rig.b, names="106b"):
        rig.b.create_local_pair("106b", "107b")


def test_unequal_sizes_and_unknown_ids_are_refused_at_both_sides(rig: Rig) -> None:
    rig.b.create_volume("small", MIB)
    with refused(InvalidArgumentError, rig.a, rig.b, names=f"{MIB}"):
        rig.a.create_remote_pair("105a", "100b", "small")
    with refused(NotFoundError, rig.a, rig.b, names="nowhere"):
        rig.a.create_remote_pair("105a", "100b", "nowhere")
    with refused(NotFoundError, rig.a, rig.b, names="100x"):
        rig.a.create_remote_pair("105a", "100x", "105b")
    with refused(InvalidArgumentError, rig.a, rig.b, names="group"):
        rig.a.create_remote_pair("105a", "100b", "105b", group="not a group")
    with refused(InvalidArgumentError, rig.a, rig.b, names="5000"):
        rig.a.create_remote_pair("105a", "100b", "105b", chunk_bytes=5000)


def test_a_command_without_a_path_names_it(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    with refused(PathLostError, rig.a, rig.b, names="100b"):
        pair.resync()
    with refused(PathLostError, rig.a, rig.b, names="100b"):
        rig.a.create_remote_pair("106a", "100b", "106b")


def test_a_split_of_a_reopened_system_works_before_it_is_connected(rig: Rig) -> None:
    pair = rig.remote()
    rig.reopen("100a")
    again = rig.a.pair(pair.pair_id)
    again.split()
    assert again.status().cause is SplitCause.REQUESTED
    with refused(PathLostError, rig.a, names="100b"):
        again.resync()
    rig.reconnect()
    wait_until(lambda: row_of(rig.b, again).cause is SplitCause.REQUESTED)


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("who", [("100a",), ("100b",), ("100a", "100b")])
def test_after_any_end_of_either_side_the_pair_is_equal_again(
    rig: Rig, who: tuple[str, ...], crash: bool
) -> None:
    pair = rig.remote()
    fill(rig.pvol, 2)
    for system_id in who:
        rig.reopen(system_id, crash=crash)
    row = row_of(rig.a, pair)
    assert row.status is PairStatus.SPLIT
    fill(rig.pvol, 3)
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_clean_reopen_copies_only_what_was_written(rig: Rig) -> None:
    pair = rig.remote()
    rig.reopen("100a")
    again = rig.a.pair(pair.pair_id)
    assert again.status().pending_count == 0
    rig.pvol.pwrite(b"x", 5 * CHUNK)
    assert list(again.pending()) == [5]


def test_a_writer_waits_for_a_stalled_path_until_the_time_out_and_then_goes_on_marked(
    rig: Rig,
) -> None:
    rig.options["100a"] = Options(ack_timeout_s=0.3)
    rig.reopen("100a")
    rig.reconnect()
    pair = rig.remote()
    rig.path.stall()
    rig.pvol.pwrite(b"late", 7 * CHUNK)
    assert 7 in pair.pending()
    wait_until(lambda: not rig.path.is_up)
    for system in (rig.a, rig.b):
        wait_until(
            lambda system=system: row_of(system, pair).cause is SplitCause.PATH_LOST  # type: ignore[misc]
        )
    rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


def test_a_stall_that_ends_in_time_costs_nothing(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.stall()
    writer = threading.Thread(target=rig.pvol.pwrite, args=(b"slow", 0))
    writer.start()
    assert writer.is_alive()
    rig.path.resume()
    writer.join()
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)


def test_a_split_during_a_stall_ends_in_time_one_way_or_the_other(rig: Rig) -> None:
    rig.options["100a"] = Options(ack_timeout_s=0.3)
    rig.reopen("100a")
    rig.reconnect()
    pair = rig.remote()
    rig.path.stall()
    writer = threading.Thread(target=rig.pvol.pwrite, args=(b"slow", 0))
    writer.start()
    wait_until(lambda: pair.status().unsettled)  # else a split that comes first finds no stall
    with contextlib.suppress(TimedOutError):
        pair.split()
    writer.join()
    wait_until(lambda: not rig.path.is_up)
    assert 0 in pair.pending()
    rig.path.connect()
    _settle(pair)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_resync_and_split_race_with_a_path_that_comes_and_goes(rig: Rig) -> None:
    pair = rig.remote()
    stop = threading.Event()

    def shake() -> None:
        while not stop.is_set():
            rig.path.cut()
            rig.path.connect()

    shaker = threading.Thread(target=shake)
    shaker.start()
    try:
        for seed in range(40):
            for command in (pair.split, pair.resync):
                try:
                    command()
                except PyrepError:
                    continue
            fill(rig.pvol, seed, count=2)
    finally:
        stop.set()
        shaker.join()
    rig.path.connect()
    _settle(pair)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def _settle(pair: Pair) -> None:
    """Bring a pair to DUPLEX, whatever state a race has left it in."""

    def is_duplex() -> bool:
        try:
            pair.resync()
            return pair.status().status is PairStatus.DUPLEX
        except PyrepError:
            return False

    wait_until(is_duplex)


def test_reverse_resync_races_with_a_path_that_comes_and_goes(rig: Rig) -> None:
    pair = rig.remote()
    pair.split()
    fill(rig.spvol, 3, count=60)
    expected = content(rig.spvol)
    pair.resync(direction=Direction.REVERSE)
    for _ in range(10):
        rig.path.cut()
        rig.path.connect()
    pair.wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert content(rig.pvol) == content(rig.spvol) == expected


def test_assume_unchanged_is_needed_for_a_backing_file_that_was_touched(rig: Rig) -> None:
    pair = rig.remote()
    rig.a.close()
    path = rig.root / "100a" / "volumes" / "105a.img"
    path.touch()
    rig.options["100a"] = Options(changed_backing=ChangedBacking.ALL_PENDING)
    rig.open("100a")
    again = rig.a.pair(pair.pair_id)
    assert again.status().cause is SplitCause.UNCLEAN
    assert len(again.pending()) == SIZE // CHUNK
    rig.reconnect()
    again.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
