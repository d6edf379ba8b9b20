"""New remote pairs: what needn't cross because the volume at the other end is without data."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from pyrep.engine import outlet, remote_copies
from pyrep.engine.livevolume import LiveVolume
from pyrep.engine.peer import Peer
from pyrep.engine.remote_copies import RemoteCopies
from pyrep.errors import DeviceError, PathLostError
from pyrep.interconnect.frames import seal
from pyrep.interconnect.messages import FinishPair, Message
from pyrep.model import PairStatus, SystemId
from pyrep.testing import wait_until
from rig import LONG_S, MIB, Rig, Site, content, equal, fill, refused, row_of

TIB = 1 << 40


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the frames that are sent."""
    sent: list[int] = []

    def count(frame: memoryview) -> None:
        sent.append(len(frame))
        seal(frame)

    monkeypatch.setattr(outlet, "seal", count)
    return sent


def test_a_new_pair_of_volumes_without_data_is_duplex_at_once_and_sends_nothing(
    site: Site, frames: list[int]
) -> None:
    site.make("100a", "105a", size=4 * TIB)
    site.make("100b", "105b", size=4 * TIB)
    site.connect("100a", "100b")
    pair = site.systems["100a"].create_remote_pair("105a", "100b", "105b")
    state = pair.status()
    assert (state.status, state.pending_count, pair.job) == (PairStatus.DUPLEX, 0, None)
    assert state.target_consistent
    assert row_of(site.systems["100b"], pair).status is PairStatus.DUPLEX
    assert sum(frames) < 1000
    site.volume("100a", "105a").pwrite(b"first", TIB)
    assert site.volume("100b", "105b").pread(5, TIB) == b"first"


def test_of_a_volume_with_data_its_data_alone_crosses_to_one_without(
    site: Site, frames: list[int]
) -> None:
    site.make("100a", "105a", size=4 * TIB)
    site.make("100b", "105b", size=4 * TIB)
    site.connect("100a", "100b")
    pvol = site.volume("100a", "105a")
    for offset in (0, TIB - 100, 4 * TIB - MIB):
        pvol.pwrite(b"d" * 5000, offset)
    pair = site.systems["100a"].create_remote_pair("105a", "100b", "105b")
    assert pair.wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    assert sum(frames) < 100_000
    spvol = site.volume("100b", "105b")
    for offset in (0, TIB - 100, 4 * TIB - MIB):
        assert spvol.pread(5000, offset) == b"d" * 5000
    extents = spvol._state.volume(spvol.volume_id).io.extents()
    assert sum(length for _, length in extents) < 100_000


def test_a_secondary_volume_with_data_gets_the_holes_too(rig: Rig) -> None:
    fill(rig.spvol, 1)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    pair.wait(timeout_s=LONG_S)
    assert content(rig.spvol) == bytes(rig.spvol.size_bytes)


def test_a_secondary_volume_that_cannot_tell_gets_the_holes_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(rig.spvol, 1)
    look = LiveVolume.is_blank

    def cannot_tell(self: LiveVolume) -> bool:
        if self.record.volume_id == "105b":
            raise DeviceError("cannot tell", errno_code=5)
        return look(self)

    monkeypatch.setattr(LiveVolume, "is_blank", cannot_tell)
    rig.a.create_remote_pair("105a", "100b", "105b").wait(timeout_s=LONG_S)
    assert content(rig.spvol) == bytes(rig.spvol.size_bytes)


def test_what_was_trimmed_is_durable_before_the_secondary_calls_itself_blank(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    look, flush = LiveVolume.is_blank, type(rig.b.state.live[rig.spvol.volume_id].core).flush

    def looks(self: LiveVolume) -> bool:
        if self.record.volume_id == "105b":
            steps.append("look")
        return look(self)

    def flushes(self: object, *, ack_timeout_s: float) -> None:
        steps.append("flush")
        flush(self, ack_timeout_s=ack_timeout_s)  # type: ignore[arg-type]

    monkeypatch.setattr(LiveVolume, "is_blank", looks)
    monkeypatch.setattr(type(rig.b.state.live[rig.spvol.volume_id].core), "flush", flushes)
    rig.a.create_remote_pair("105a", "100b", "105b").wait(timeout_s=LONG_S)
    assert steps[:3] == ["look", "flush", "look"]


@pytest.mark.parametrize("when", ["before the copy", "at its end"])
def test_a_write_while_a_new_pair_is_made_is_mirrored(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    begin, ask = RemoteCopies.start_new, Peer.ask

    def write_first(self: RemoteCopies, *args: object, **options: object) -> None:
        rig.pvol.pwrite(b"early", 5000)
        begin(self, *args, **options)  # type: ignore[arg-type]

    def write_last(self: Peer, message: Message) -> object:
        if isinstance(message, FinishPair):
            rig.pvol.pwrite(b"late", 70_000)
            rig.pvol.zero(4, 70_000)
        return ask(self, message)

    if when == "before the copy":
        monkeypatch.setattr(RemoteCopies, "start_new", write_first)
    else:
        monkeypatch.setattr(Peer, "ask", write_last)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


def _cut(rig: Rig) -> None:
    rig.path.cut()
    rig.path.connect()


def _crash_the_primary(rig: Rig) -> None:
    rig.a.abort()


@pytest.mark.parametrize("end", [_cut, _crash_the_primary])
def test_a_pair_whose_first_copy_was_interrupted_is_copied_whole(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, end: Callable[[Rig], None]
) -> None:
    """After the interruption the secondary isn't taken for blank: zeros over old data arrive."""
    fill(rig.pvol, 1)
    ask = Peer.ask
    ended: list[str] = []

    def end_before_the_last_word(self: Peer, message: Message) -> object:
        if isinstance(message, FinishPair) and not ended:
            ended.append("now")
            raise PathLostError("cut")
        return ask(self, message)

    monkeypatch.setattr(Peer, "ask", end_before_the_last_word)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    wait_until(lambda: bool(ended) and pair.job is None)
    rig.pvol.zero(rig.pvol.size_bytes, 0)
    end(rig)
    if end is _crash_the_primary:
        rig.open("100a")
        rig.path = rig.connect("100a", "100b")
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert content(rig.pvol) == bytes(rig.pvol.size_bytes)
    assert equal(rig.pvol, rig.spvol)


def test_a_pair_whose_stream_finds_no_memory_is_not_made_at_either_side(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_args: object, **_kwargs: object) -> None:
        raise DeviceError("making a stream: Cannot allocate memory", errno_code=errno.ENOMEM)

    fill(rig.pvol, 1)
    with monkeypatch.context() as patch:
        patch.setattr(outlet, "Stream", no_memory)
        with refused(DeviceError, rig.a, rig.b, names="making a stream", hint=False):
            rig.a.create_remote_pair("105a", "100b", "105b")
    rig.remote()
    assert equal(rig.pvol, rig.spvol)


def test_a_pair_whose_copy_cannot_begin_is_not_made_and_the_path_stays_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_args: object) -> None:
        raise DeviceError("cannot make volume 105a durable", errno_code=errno.EIO)

    fill(rig.pvol, 1)
    attempt = rig.a.state.peers[SystemId("100b")].connection().attempt
    with monkeypatch.context() as patch:
        patch.setattr(remote_copies, "make_source_durable", failing)
        with refused(DeviceError, rig.a, rig.b, names="105a", hint=False):
            rig.a.create_remote_pair("105a", "100b", "105b")
    rig.remote()
    assert rig.a.state.peers[SystemId("100b")].connection().attempt == attempt
    assert equal(rig.pvol, rig.spvol)
