"""What came through a channel that is unbound: it is durable, or is never said to be."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

from pyrep._core import Apply, LinkCore
from pyrep.engine import Options, Pair
from pyrep.engine.outlet import stream_id_of
from pyrep.engine.peer import Peer
from pyrep.errors import DeviceError
from pyrep.interconnect.messages import OpenStream
from pyrep.model import AckPoint, PairStatus, SplitCause, SystemId
from pyrep.testing import VolatileStorage, check_covered, check_no_early_clear, wait_until
from rig import LONG_S, Rig, content, equal, fill, row_of


@pytest.fixture
def storage() -> VolatileStorage:
    return VolatileStorage()


@pytest.fixture
def losing(tmp_path: Path, storage: VolatileStorage) -> Iterator[Rig]:
    """A rig whose 100b loses what wasn't flushed when it is aborted."""
    hasty = Options(ack_timeout_s=1)  # of a barrier that is never answered
    rig = Rig(tmp_path, options={"100a": hasty, "100b": Options(storage=storage)}).build()
    yield rig
    for double in storage.doubles.values():
        if not double.closed:
            double.fail_after(0, 0)
    rig.close()


def _peer(rig: Rig) -> Peer:
    return rig.b.state.peer(SystemId("100a"))


def _link(rig: Rig, pair: Pair) -> LinkCore:
    return rig.b.state.mirror(pair.pair_id).link


def _barrier(rig: Rig, pair: Pair) -> None:
    rig.a.remote_pairs.line.drain(rig.a.state.mirror(pair.pair_id))


def test_a_channel_that_is_unbound_is_durable_before_a_barrier_is_answered_so(losing: Rig) -> None:
    pair = losing.remote(ack=AckPoint.RECEIVED)
    fill(losing.pvol, 2)
    check_no_early_clear(losing.a, losing.b)
    while not pair.status().unsettled:  # its stream's own barrier came, on a busy machine
        fill(losing.pvol, 2)
    _peer(losing).unbind_link(_link(losing, pair))
    _barrier(losing, pair)
    assert not pair.status().unsettled
    check_no_early_clear(losing.a, losing.b)
    _lose_power(losing)
    assert equal(losing.pvol, losing.spvol)


def _lose_power(rig: Rig) -> None:
    rig.path.cut()
    rig.reopen("100b", crash=True)


def test_a_channel_whose_last_flush_fails_is_a_volume_that_failed(
    losing: Rig, storage: VolatileStorage
) -> None:
    pair = losing.remote(ack=AckPoint.RECEIVED)
    fill(losing.pvol, 2)
    device = storage.doubles[losing.spvol.volume_id]
    device.fail_after(0, errno.EIO)
    _peer(losing).unbind_link(_link(losing, pair))
    device.fail_after(0, 0)
    row = row_of(losing.b, pair)
    assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
    assert not row.target_consistent
    outlet = losing.a.state.peer(SystemId("100b")).outlet(row.group_id)  # type: ignore[arg-type]
    before = outlet.stream.info()
    outlet.stream.barrier()
    wait_until(lambda: outlet.stream.info().received > before.received)
    assert outlet.stream.info().durable == before.durable
    check_covered(losing.a, losing.b)


def test_what_came_until_the_path_was_lost_survives_a_power_loss_while_the_pair_is_split(
    losing: Rig,
) -> None:
    """Else 105b would be torn: newer records there, and older ones that came before them gone."""
    pair = losing.remote(ack=AckPoint.RECEIVED)
    fill(losing.pvol, 2)
    expected = content(losing.pvol)
    losing.path.cut()
    row = row_of(losing.b, pair)
    assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.PATH_LOST)
    losing.reopen("100b", crash=True)
    assert row_of(losing.b, pair).target_consistent
    assert content(losing.spvol) == expected


def test_a_path_that_is_lost_as_the_volume_fails_leaves_a_pair_that_says_so(
    losing: Rig, storage: VolatileStorage
) -> None:
    pair = losing.remote(ack=AckPoint.RECEIVED)
    fill(losing.pvol, 2)
    device = storage.doubles[losing.spvol.volume_id]
    device.fail_after(0, errno.EIO)
    losing.path.cut()
    device.fail_after(0, 0)
    row = row_of(losing.b, pair)
    assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
    assert not row.target_consistent


def test_a_copy_isnt_begun_onto_a_volume_that_failed_as_its_channel_was_taken_anew(
    losing: Rig, storage: VolatileStorage
) -> None:
    """It would run to its end, and be refused there."""
    pair = losing.remote(ack=AckPoint.RECEIVED)
    fill(losing.pvol, 2)
    here = losing.a.state.mirror(pair.pair_id)
    device = storage.doubles[losing.spvol.volume_id]
    device.fail_after(0, errno.EIO)
    with pytest.raises(DeviceError, match="100b couldn't make durable what had come from") as told:
        losing.a.remote_pairs.line.bound_outlet(here)
    assert told.value.errno_code == errno.EIO
    losing.a.remote_pairs.failures.refresh()
    for row in (here.row, row_of(losing.b, pair)):
        assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.DEVICE_ERROR)
    check_covered(losing.a, losing.b)
    device.fail_after(0, 0)
    losing.path.cut()  # the stream can't be made durable any more, and broke
    losing.path.connect()
    job = pair.resync()
    assert job is not None
    job.wait(LONG_S)
    losing.both(pair, PairStatus.DUPLEX)
    assert equal(losing.pvol, losing.spvol)


class _Watched:
    """A lock that tells when somebody waits for it that the thread which made this holds."""

    def __init__(self, peer: Peer) -> None:
        self._lock = peer._lock
        self._maker = threading.current_thread()
        self._holder: threading.Thread | None = None
        self.waited = threading.Event()

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            if self._holder is self._maker:
                self.waited.set()
            self._lock.acquire()
        self._holder = threading.current_thread()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._holder = None  # it takes it once at a time, or is still inside when it matters
        self._lock.release()


def test_a_stream_that_is_opened_late_takes_no_channel_from_a_later_connection(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread isn't run for a while, between the look at the connection and what follows."""
    pair = rig.remote(ack=AckPoint.RECEIVED)
    pair.split()
    rig.path.cut()
    rig.path.connect()
    peer = _peer(rig)
    connection = peer.connection()
    lock = _Watched(peer)
    monkeypatch.setattr(peer, "_lock", lock)
    real = Apply.unbind_all

    def supersede() -> None:
        rig.path.cut()
        rig.path.connect()
        pair.resync()
        pair.wait(timeout_s=60)

    superseding = threading.Thread(target=supersede)

    def late(apply: Apply) -> list[tuple[LinkCore, int]]:
        if not superseding.ident:
            superseding.start()
            wait_until(lambda: lock.waited.is_set() or not superseding.is_alive())
        return real(apply)

    monkeypatch.setattr(Apply, "unbind_all", late)
    group = row_of(rig.b, pair).group_id
    assert group is not None
    stream_id = stream_id_of(SystemId("100a"), group)
    peer.open_stream(
        connection,
        OpenStream(stream_id=stream_id, attempt=connection.attempt, next_number=1),
    )
    superseding.join()
    rig.both(pair, PairStatus.DUPLEX)
    later = peer.connection()
    assert later is not connection
    fill(rig.pvol, 3)
    _barrier(rig, pair)
    assert peer.in_use() is later
    assert equal(rig.pvol, rig.spvol)
    rig.both(pair, PairStatus.DUPLEX)
