"""Loss and return of the path, of a system, and stalls between."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pyrep.engine import ChangedBacking, Options, Pair
from pyrep.errors import (
    FencedError,
    PathLostError,
    PyrepError,
    RefusedError,
    TimedOutError,
)
from pyrep.model import Direction, PairStatus, SplitCause
from pyrep.testing import wait_until
from rig import CHUNK, LONG_S, SIZE, Rig, equal, fill, refused, row_of


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


def _settle(pair: Pair) -> None:
    """Bring a pair to DUPLEX, whatever state a race has left it in."""

    def is_duplex() -> bool:
        try:
            pair.resync()
            return pair.status().status is PairStatus.DUPLEX
        except PyrepError:
            return False

    wait_until(is_duplex)
