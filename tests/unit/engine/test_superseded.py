"""A connection that a later one takes the place of, while somebody still sends over it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep._core import Ack, LinkCore, MemoryIo, Tree, VolumeCore, Wake
from pyrep.errors import PathLostError, WireError
from pyrep.model import GroupId, SystemId
from pyrep.seams import Buffer, Connection
from rig import Rig

_PATIENCE_S = 20.0
_CHUNK = 4096


class _HalfOpen(Connection):
    """Takes nothing, and tells nobody, until it is closed."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.sending = threading.Event()
        self.closed = threading.Event()
        self.was_let_go = False

    def send_frame(self, frame: Buffer) -> None:
        self.sending.set()
        self.was_let_go = self.closed.wait(_PATIENCE_S)
        raise PathLostError(f"{len(frame)} bytes didn't go")

    def send_ack(self, ack: bytes) -> None:
        raise PathLostError(f"nobody takes {len(ack)} bytes")

    def request(self, message: bytes) -> bytes:
        raise PathLostError(f"nobody answers {len(message)} bytes")

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    made.make("100a", "105a")
    made.make("100b", "105b")
    yield made
    made.close()


def test_a_later_connection_does_not_wait_for_who_sends_over_the_one_before(rig: Rig) -> None:
    # Half open, it was waited for until its ping's time-out; the handshake's came first, each time.
    hello = rig.b.endpoint.hello()
    older, later = _HalfOpen(1), _HalfOpen(2)
    rig.a.endpoint.greet(older, hello)
    peer = rig.a.state.peers[SystemId("100b")]
    outlet, _ = peer.opened_outlet(GroupId("g"))
    volume = VolumeCore(MemoryIo(16 * _CHUNK), Tree(1), name="105a", wake=Wake())
    link = LinkCore(volume, chunk_bytes=_CHUNK, shares_marks=False)
    link.ship(outlet.stream, 1, Ack.QUEUED)
    volume.pwrite(b"a", 0, ack_timeout_s=1)
    assert older.sending.wait(_PATIENCE_S)
    rig.a.endpoint.greet(later, hello)
    assert older.was_let_go
    assert peer.in_use() is later
    assert link.pending.count() == 1
    link.mark()


@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attempt_that_comes_late_is_refused_and_the_later_connection_stays(
    rig: Rig, attempt: int
) -> None:
    # Dialled before, and long under way: what it carries is older than what has come since.
    hello = rig.b.endpoint.hello()
    later, late = _HalfOpen(2), _HalfOpen(attempt)
    rig.a.endpoint.greet(later, hello)
    with pytest.raises(WireError, match="by a later attempt already"):
        rig.a.endpoint.greet(late, hello)
    assert rig.a.state.peers[SystemId("100b")].in_use() is later
    assert not later.closed.is_set()
    known = rig.a.state.peer_table.get(SystemId("100b"))
    assert known is not None
    assert known.attempt == 2
