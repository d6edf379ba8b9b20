"""What the end of a system does to those who work with it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

import pytest

from pyrep.engine import Options, StorageSystem
from pyrep.errors import (
    CancelledError,
    FencedError,
    InvalidArgumentError,
    PyrepError,
)
from pyrep.model import PairStatus
from rig import LONG_S, Rig, Site, equal, fill

_ENDS = (CancelledError, InvalidArgumentError, FencedError)


class _Crowd:
    """Threads that work on systems until one of them is closed; nothing else may stop them."""

    def __init__(self, closing: StorageSystem) -> None:
        self.closing = closing
        self.failures: list[BaseException] = []
        self.threads: list[threading.Thread] = []

    def add(self, work: Callable[[int], object]) -> None:
        """Let another thread do this, again and again, with a number that counts."""
        thread = threading.Thread(target=self._run, args=(work,))
        self.threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[int], object]) -> None:
        for number in itertools.count():
            try:
                work(number)
            except _ENDS:
                return
            except PyrepError:
                pass
            except BaseException as error:  # noqa: BLE001 - told to the test
                self.failures.append(error)
                return
            if self.closing.state.closing:
                return

    def join(self) -> None:
        """Wait for all of them; raise what one of them raised."""
        for thread in self.threads:
            thread.join()
        assert not self.failures


@pytest.mark.parametrize("crash", [False, True])
@pytest.mark.parametrize("who", ["100a", "100b"])
def test_closing_under_writers_and_commands_ends_them_with_an_error_and_loses_nothing(
    rig: Rig, who: str, crash: bool
) -> None:
    pair, local = rig.remote(), rig.local()
    system = rig.systems[who]
    crowd = _Crowd(system)
    crowd.add(lambda number: fill(rig.pvol, number, count=2))
    crowd.add(lambda number: local.resync() if number % 2 else local.split())
    crowd.add(lambda _: (pair.status(), local.status(), local.pending()))
    fill(rig.pvol, 99)
    if crash:
        system.abort()
    else:
        system.close()
    crowd.join()
    for other in rig.systems.values():
        other.close()
    for system_id in ("100a", "100b"):
        rig.open(system_id)
    rig.reconnect()
    again = rig.a.pair(pair.pair_id)
    again.wait(timeout_s=LONG_S)
    rig.both(again, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)


def test_a_system_closes_while_the_path_is_stalled(rig: Rig) -> None:
    rig.options["100a"] = Options(ack_timeout_s=0.3)
    rig.reopen("100a")
    rig.reconnect()
    pair = rig.remote()
    rig.path.stall()
    writer = threading.Thread(target=_until_refused, args=(rig,))
    writer.start()
    rig.a.close()
    writer.join()
    rig.open("100a")
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


def _until_refused(rig: Rig) -> None:
    volume = rig.pvol
    try:
        while True:
            volume.pwrite(b"slow", 0)
    except PyrepError:
        return


def test_a_flush_waits_for_no_command_that_makes_a_row_durable(rig: Rig) -> None:
    rig.pvol.pwrite(b"written", 0)
    flusher = threading.Thread(target=rig.pvol.flush)
    with rig.a.state.control:  # as such a command holds it
        flusher.start()
        flusher.join(LONG_S)
        assert not flusher.is_alive()


def test_a_flush_of_a_system_that_is_closed_is_refused(rig: Rig) -> None:
    volume = rig.pvol
    rig.a.close()
    with pytest.raises(_ENDS, match="clos"):
        volume.flush()


def test_a_file_system_left_open_keeps_its_memory_when_the_system_closes(site: Site) -> None:
    site.options["100a"] = Options(ack_timeout_s=0.1)
    system = site.make("100a", "105a")
    io = system.volume("105a").io()
    system.close()
    with pytest.raises(PyrepError):
        io.pwrite(b"late", 0)
    io.close()
