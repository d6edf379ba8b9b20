"""Draining a stream: everything sent is durable there and settled here, or it isn't drained."""

from __future__ import annotations

import queue
import threading

import pytest

from pyrep._core import Ack, LinkCore, MemoryIo, Tree, VolumeCore, Wake, check_frame
from pyrep.engine.outlet import Outlet
from pyrep.errors import PathLostError, PyrepError
from pyrep.model import GroupId, SystemId
from pyrep.seams import Buffer, Connection

_CHUNK = 4096
_PATIENCE_S = 60.0


class _HeldConnection(Connection):
    """Tells the number of the last record of each frame; each is sent when it is let go."""

    attempt = 1

    def __init__(self) -> None:
        self.taken: queue.Queue[int] = queue.Queue()
        self.let_go = threading.Semaphore(0)

    def send_frame(self, frame: Buffer) -> None:
        info = check_frame(frame)
        self.taken.put(info.first_number + info.record_count - 1)
        self.let_go.acquire()

    def send_ack(self, ack: bytes) -> None:
        raise PathLostError(f"nobody takes {len(ack)} bytes")

    def request(self, message: bytes) -> bytes:
        raise PathLostError(f"nobody answers {len(message)} bytes")

    def close(self) -> None:
        """Nothing is behind it."""

    def pass_one(self) -> int:
        """Let one frame be sent; return its last record's number."""
        self.let_go.release()
        return self.taken.get(timeout=_PATIENCE_S)


def test_a_drain_waits_for_the_barrier_that_another_one_kept_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A barrier that is put while an older one is under way closes nothing; the sender puts one more
    # when the older one is durable. A drain that looked before the sender did took it for hosts
    # that write on, and a restore stopped at 670.
    wake, io, tree = Wake(), MemoryIo(16 * _CHUNK), Tree(1)
    volume = VolumeCore(io, tree, name="105b", wake=wake)
    link = LinkCore(volume, chunk_bytes=_CHUNK, shares_marks=False)
    connection = _HeldConnection()
    outlet = Outlet(
        SystemId("100b"), GroupId("g"), queue_bytes=4 << 20, lost=lambda _connection: None
    )
    outlet.open(connection)
    link.ship(outlet.stream, 1, Ack.QUEUED)
    try:
        volume.pwrite(b"a", 0, ack_timeout_s=1)
        assert connection.pass_one() == 1
        outlet.stream.barrier()
        assert connection.pass_one() == 2  # closes the epoch with the first write
        volume.pwrite(b"b", _CHUNK, ack_timeout_s=1)
        assert connection.pass_one() == 3

        failed: list[PyrepError] = []
        wait = outlet.stream.wait

        def wait_and_let_go(number: int, ack: Ack, *, timeout_s: float, wake: Wake | None) -> None:
            if number == 5:
                connection.let_go.release()
            wait(number, ack, timeout_s=timeout_s, wake=wake)

        def drain() -> None:
            try:
                outlet.drain(timeout_s=_PATIENCE_S, wake=wake, links=[link])
            except PyrepError as error:
                failed.append(error)
                connection.let_go.release()

        monkeypatch.setattr(outlet.stream, "wait", wait_and_let_go)
        drains = threading.Thread(target=drain, daemon=True)
        drains.start()
        # Put while 2 is under way: closes nothing. The sender is busy with it until it is let go.
        assert connection.taken.get(timeout=_PATIENCE_S) == 4
        outlet.stream.ack(1, 4, 4)
        assert connection.taken.get(timeout=_PATIENCE_S) == 5
        outlet.stream.ack(1, 5, 5)
        drains.join()
        assert failed == []
        assert not link.info().any_unsettled
    finally:
        connection.let_go.release(100)
        outlet.close()
        link.mark()
        for one in (link, volume, tree, io):
            one.close()
