"""Frames and bitmaps round-trip, and damaged ones are refused."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrep._core import (
    Ack,
    Apply,
    Bitmap,
    LinkCore,
    MemoryIo,
    Stream,
    Tree,
    VolumeCore,
    Wake,
    check_frame,
    new_frame_buffer,
)
from pyrep.errors import WireError
from pyrep.interconnect import check_digest, seal
from pyrep.interconnect.messages import decode_answer, decode_message


def _harmed(data: bytes, pick: random.Random) -> list[bytes]:
    """Return the data with one bit flipped, cut short, and with a byte too many."""
    flipped = bytearray(data)
    flipped[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
    return [bytes(flipped), data[: pick.randrange(len(data))], data + b"\0"]


@given(data=st.binary(max_size=200))
def test_bytes_that_nobody_sent_are_refused_and_never_crash(data: bytes) -> None:
    for decode in (decode_message, decode_answer):
        with pytest.raises(WireError):
            decode(data)
    with pytest.raises(WireError):
        check_frame(data)
    with pytest.raises(WireError):
        check_digest(data)


@given(size=st.integers(1, 300_000), data=st.data())
def test_a_bitmap_round_trips_and_a_shortened_one_is_refused(
    size: int, data: st.DataObject
) -> None:
    bitmap = Bitmap(size)
    runs = st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, 70_000)), max_size=8)
    for first, count in data.draw(runs):
        bitmap.set(first, min(count, size - first))
    sent = bitmap.to_roaring()
    into = Bitmap(size)
    into.update_roaring(sent)
    assert list(into.runs()) == list(bitmap.runs())
    short = sent[: data.draw(st.integers(0, len(sent) - 1))]
    untouched = Bitmap(size)
    with pytest.raises(WireError):
        untouched.update_roaring(short)
    assert not untouched.any()


@given(sent=st.binary(max_size=300))
def test_a_bitmap_of_any_bytes_is_refused_or_within_its_size(sent: bytes) -> None:
    into = Bitmap(1000)
    try:
        into.update_roaring(sent)
    except WireError:
        assert not into.any()


_SIZE = 256 << 10

_WRITES = st.lists(
    st.tuples(st.integers(0, _SIZE - 1), st.integers(1, 20_000), st.sampled_from("wzt")),
    min_size=1,
    max_size=12,
)


class _Sender:
    """A volume whose writes become frames."""

    def __init__(self) -> None:
        self.wake = Wake()
        self.io = MemoryIo(_SIZE)
        self.volume = VolumeCore(self.io, Tree(1), name="105a", wake=self.wake)
        self.link = LinkCore(self.volume, chunk_bytes=4096, shares_marks=False)
        self.stream = Stream(7, capacity_bytes=8 << 20)
        self.first = self.stream.open(1)
        self.link.ship(self.stream, 3, Ack.QUEUED)

    def frames(self, writes: list[tuple[int, int, str]]) -> list[bytes]:
        """Write, and return the sealed frames that this makes."""
        for number, (offset, length, verb) in enumerate(writes):
            length = min(length, _SIZE - offset)  # noqa: PLW2901 - a last piece is shorter
            match verb:
                case "w":
                    data = random.Random(number).randbytes(length)
                    self.volume.pwrite(data, offset, ack_timeout_s=1)
                case "z":
                    self.volume.zero(length, offset, ack_timeout_s=1)
                case _:
                    self.volume.trim(length, offset, ack_timeout_s=1)
        frames = []
        buffer, memory = new_frame_buffer()
        while self.stream.info().taken < self.stream.info().last:
            length = self.stream.take_into(buffer, 0, self.wake)
            frame = bytearray(memory[:length])
            seal(frame)
            frames.append(bytes(frame))
        return frames

    def close(self) -> None:
        """Free everything, in order."""
        self.link.close()
        self.stream.close()
        self.volume.close()


class _Receiver:
    """A volume to which frames are applied."""

    def __init__(self, first: int) -> None:
        self.wake = Wake()
        self.io = MemoryIo(_SIZE)
        self.volume = VolumeCore(self.io, Tree(2), name="105b", wake=self.wake)
        self.link = LinkCore(self.volume, chunk_bytes=4096, shares_marks=False)
        self.apply = Apply(7)
        self.apply.start(1, first)
        self.apply.bind(3, self.link)

    def take(self, frame: bytes) -> None:
        """Check and apply a frame, as a system does."""
        check_digest(frame)
        check_frame(frame)
        self.apply.frame(frame, self.wake)

    def close(self) -> None:
        """Free everything, in order."""
        self.apply.drop_all()
        self.apply.close()
        self.link.close()
        self.volume.close()


@given(writes=_WRITES, pick=st.randoms(use_true_random=False))
def test_frames_carry_writes_in_order_and_damaged_ones_have_no_effect(
    writes: list[tuple[int, int, str]], pick: random.Random
) -> None:
    sender = _Sender()
    frames = sender.frames(writes)
    receiver = _Receiver(sender.first)
    try:
        for frame in frames:
            before = receiver.io.pread(_SIZE, 0)
            applied = receiver.apply.info().applied
            for harmed in _harmed(frame, pick):
                with pytest.raises(WireError):
                    receiver.take(harmed)
            assert receiver.io.pread(_SIZE, 0) == before
            assert receiver.apply.info().applied == applied
            receiver.take(frame)
            with pytest.raises(WireError):
                receiver.take(frame)  # a repeated number
        assert receiver.io.pread(_SIZE, 0) == sender.io.pread(_SIZE, 0)
    finally:
        sender.close()
        receiver.close()


@given(writes=_WRITES, pick=st.randoms(use_true_random=False))
def test_a_frame_whose_digest_was_made_anew_over_damage_never_crashes(
    writes: list[tuple[int, int, str]], pick: random.Random
) -> None:
    sender = _Sender()
    frames = sender.frames(writes)
    receiver = _Receiver(sender.first)
    try:
        for frame in frames:
            for harmed in _harmed(frame, pick):
                again = bytearray(harmed)
                if len(again) >= 64:
                    seal(again)
                try:
                    receiver.take(bytes(again))
                except WireError:
                    continue
                return  # damage in the bytes of a write is what the digest is for
    finally:
        sender.close()
        receiver.close()
