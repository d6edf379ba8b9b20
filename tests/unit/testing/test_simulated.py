"""The simulated path: each of its faults happens, and two systems get over it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep.engine import Options, StorageSystem
from pyrep.errors import PathLostError
from pyrep.model import PairStatus
from pyrep.testing import (
    Kind,
    SimulatedClock,
    SimulatedPath,
    check_covered,
    check_duplex,
    check_one_writer,
    connect_simulated,
    wait_quiet,
    wait_until,
)

SIZE_BYTES = 1 << 20


class Two:
    """Two systems, a simulated path, a pair."""

    def __init__(self, directory: Path) -> None:
        options = Options(ack_timeout_s=60.0)
        self.systems = [
            StorageSystem.create(directory / one, one, options=options) for one in ("100a", "100b")
        ]
        for system, volume in zip(self.systems, ("105a", "105b"), strict=True):
            system.create_volume(volume, SIZE_BYTES)
        self.path: SimulatedPath = connect_simulated(*self.systems, seed=1)
        self.pair = self.systems[0].create_remote_pair("105a", "100b", "105b")
        wait_quiet(*self.systems)
        self.next_byte = 0

    def write(self, count: int = 1) -> None:
        """Write something new."""
        for _ in range(count):
            self.next_byte += 1
            data = bytes([self.next_byte % 256]) * 5000
            self.systems[0].volume("105a").pwrite(data, self.next_byte * 5000)

    def beside(self, work: Callable[[], None]) -> threading.Thread:
        """Do something in a thread."""
        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def content(self, side: int) -> bytes:
        """Return what a volume holds."""
        system, volume = self.systems[side], ("105a", "105b")[side]
        return system.state.live[volume].io.pread(SIZE_BYTES, 0)  # type: ignore[index]

    def check_comes_back(self) -> None:
        """After a loss both sides are equal again, and nothing was forgotten meanwhile."""
        check_covered(*self.systems)
        self.path.connect()
        wait_quiet(*self.systems)
        self.write()
        assert self.pair.status().status is PairStatus.DUPLEX
        wait_until(lambda: self.path.is_idle)
        check_covered(*self.systems)
        check_duplex(*self.systems)
        check_one_writer(*self.systems)
        assert self.content(0) == self.content(1)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    yield made
    for system in made.systems:
        system.close()


def test_what_is_written_arrives_later_in_simulated_time(two: Two) -> None:
    before = two.path.clock.now_s
    two.write(3)
    assert two.path.clock.now_s > before
    assert two.content(0) == two.content(1)


def test_a_cut_inside_a_frame_loses_the_frame_and_what_follows(two: Two) -> None:
    two.path.cut_after(7000)
    two.write(3)
    wait_until(lambda: not two.path.is_up)
    two.path.cut()
    assert two.pair.status().status is PairStatus.SPLIT
    assert two.content(0) != two.content(1)
    two.check_comes_back()


@pytest.mark.parametrize("kind", [Kind.FRAME, Kind.ACK])
def test_a_message_that_is_lost_costs_the_path_and_no_data(two: Two, kind: Kind) -> None:
    two.path.drop(kind)
    two.write(3)
    two.path.cut()
    two.check_comes_back()


@pytest.mark.parametrize("kind", [Kind.REQUEST, Kind.ANSWER])
def test_a_command_that_is_lost_or_whose_answer_is_costs_the_path(two: Two, kind: Kind) -> None:
    two.pair.split()
    two.write()
    two.path.drop(kind)
    with contextlib.suppress(PathLostError):  # or the copy finds out
        two.pair.resync()
    wait_quiet(*two.systems)
    assert not two.path.is_up
    two.path.connect()
    wait_quiet(*two.systems)
    two.pair.resync()
    two.check_comes_back()


@pytest.mark.parametrize("told", ["100a", "100b", None])
def test_a_path_that_fell_silent_is_given_up_by_whoever_sends(two: Two, told: str | None) -> None:
    two.path.fall_silent(told=told)
    two.write()
    wait_until(lambda: two.pair.status().status is PairStatus.SPLIT)
    two.check_comes_back()


def test_who_had_asked_before_the_silence_finds_out_too(two: Two) -> None:
    """Its question was on its way: a system that closed would have waited for ever."""
    trial = two.path._trial
    assert trial is not None
    trial.lanes[0, False].stall(stalled=True)

    def ask() -> None:
        with pytest.raises(PathLostError):
            trial.ends[0].request(b"never there")

    asking = two.beside(ask)
    wait_until(lambda: bool(trial.waiting[0]))
    two.path.fall_silent()
    asking.join()


def test_a_new_attempt_supersedes_one_that_a_side_still_believes_in(two: Two) -> None:
    two.path.fall_silent(told="100b")
    assert two.pair.status().status is PairStatus.DUPLEX
    two.check_comes_back()


def test_what_comes_over_an_old_connection_is_refused(two: Two) -> None:
    two.path.stall()
    writer = two.beside(two.write)
    wait_until(lambda: not two.path.is_idle)
    two.path.cut()
    writer.join()
    two.path.connect()
    wait_quiet(*two.systems)
    two.write()
    before = two.content(1)
    assert two.path.revive() > 0
    assert two.path.refused_count > 0
    assert two.content(1) == before
    two.check_comes_back()


def test_a_system_that_crashed_is_found_out_when_it_is_back(two: Two) -> None:
    two.path.fall_silent()
    two.systems[1].abort()
    two.write()
    directory = two.systems[1].directory
    two.systems[1] = StorageSystem.open(directory)
    two.path.replace(two.systems[1].endpoint)
    two.systems[1].add_path(two.path.end_of("100b"))
    two.check_comes_back()


def test_who_is_due_first_goes_first_whoever_came_first() -> None:
    clock = SimulatedClock()
    order: list[float] = []
    begun = threading.Barrier(3)

    def wait(due_s: float) -> None:
        begun.wait()
        clock.wait_until(due_s, lambda: False)
        order.append(clock.now_s)

    threads = [threading.Thread(target=wait, args=(due_s,)) for due_s in (3.0, 1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now_s == 3.0
    assert order[-1] == 3.0
