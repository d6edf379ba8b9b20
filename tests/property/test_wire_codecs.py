"""What crosses the path round-trips, and every truncation and every flipped bit is refused."""

from __future__ import annotations

import random
from collections.abc import Callable

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
from pyrep.interconnect.messages import (
    BeginForward,
    BeginReverse,
    BindChannel,
    Call,
    CopyFacts,
    CreatePair,
    Digests,
    FindData,
    FoundData,
    Hello,
    KnownPairs,
    OpenStream,
    PairCreated,
    PairFacts,
    PeerFailed,
    Pending,
    PendingBits,
    ReadDigests,
    ReverseReady,
    SplitPair,
    StreamAck,
    Waits,
    decode_answer,
    decode_message,
    decode_plain,
    encode,
)

_U64 = st.integers(0, 2**64 - 1)
_IDS = st.text("abc0189._-", min_size=1, max_size=20)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_MESSAGES = st.one_of(
    st.builds(OpenStream, stream_id=_U64, attempt=_U64, next_number=_U64),
    st.builds(BindChannel, stream_id=_U64, channel=st.integers(1, 65535), pair_id=_IDS),
    st.builds(
        CreatePair,
        pair_id=_IDS,
        pvol=_IDS,
        svol=_IDS,
        size_bytes=_U64,
        chunk_bytes=_U64,
        group_id=_IDS,
        ack=_IDS,
        current=_U64,
    ),
    st.builds(KnownPairs, pair_ids=st.lists(_IDS, max_size=5)),
    st.builds(Pending, pair_id=_IDS, direction=_IDS, resumes=st.booleans()),
    st.builds(BeginForward, pair_id=_IDS, pending_count=_U64, current=_U64, base=_U64, seen=_U64),
    st.builds(
        BeginReverse,
        pair_id=_IDS,
        pending=st.binary(max_size=40),
        common=_U64,
        seen=_U64,
        resumes=st.booleans(),
    ),
    st.builds(
        ReadDigests,
        pair_id=_IDS,
        kind=_IDS,
        group_bytes=_U64,
        runs=st.binary(max_size=48),
        flush=st.booleans(),
    ),
    st.builds(FindData, pair_id=_IDS, first=_U64, count=_U64),
    st.builds(SplitPair, pair_id=_IDS, cause=_IDS),
    st.builds(Call, verb=_IDS, body=st.dictionaries(st.text(max_size=5), _VALUES, max_size=3)),
)
_ANSWERS = st.one_of(
    st.builds(PairCreated, blank=st.booleans()),
    st.builds(
        PairFacts,
        status=_IDS,
        cause=st.none() | _IDS,
        direction=_IDS,
        target_consistent=st.booleans(),
        pending_count=_U64,
        current=_U64,
        common=_U64,
        history=st.lists(_U64, max_size=8),
        repaired=st.booleans(),
    ),
    st.builds(Waits, pair_id=_IDS, done_bytes=_U64, total_bytes=_U64),
    st.builds(PendingBits, bits=st.binary(max_size=40), overmarked=st.booleans()),
    st.builds(
        CopyFacts,
        done=st.booleans(),
        done_bytes=_U64,
        total_bytes=_U64,
        compared_bytes=_U64,
        sent_bytes=_U64,
    ),
    st.builds(FoundData, runs=st.binary(max_size=48), past=_U64),
    st.builds(Digests, values=st.binary(max_size=64)),
    st.builds(
        ReverseReady,
        stream_id=_U64,
        attempt=_U64,
        next_number=_U64,
        channel=st.integers(1, 9),
        current=_U64,
    ),
    st.builds(PeerFailed, kind=_IDS, message=st.text(), hint=st.none() | st.text()),
)


def _harmed(data: bytes, pick: random.Random) -> list[bytes]:
    """Return the data with one bit flipped, cut short, and with a byte too many."""
    flipped = bytearray(data)
    flipped[pick.randrange(len(data))] ^= 1 << pick.randrange(8)
    return [bytes(flipped), data[: pick.randrange(len(data))], data + b"\0"]


def _check_refused(decode: Callable[[bytes], object], data: bytes, pick: random.Random) -> None:
    """See that the data isn't taken once it is damaged."""
    for harmed in _harmed(data, pick):
        with pytest.raises(WireError):
            decode(harmed)


@given(message=_MESSAGES, pick=st.randoms(use_true_random=False))
def test_a_command_round_trips_and_a_damaged_one_is_refused(
    message: Call, pick: random.Random
) -> None:
    data = encode(message)
    assert decode_message(data) == message
    _check_refused(decode_message, data, pick)


@given(answer=_ANSWERS, pick=st.randoms(use_true_random=False))
def test_an_answer_round_trips_and_a_damaged_one_is_refused(
    answer: PendingBits, pick: random.Random
) -> None:
    data = encode(answer)
    assert decode_answer(data) == answer
    _check_refused(decode_answer, data, pick)


@given(
    hello=st.builds(
        Hello,
        system_id=_IDS,
        boot_id=st.binary(max_size=16),
        version_min=st.integers(0, 9),
        version_max=st.integers(0, 9),
    ),
    ack=st.builds(
        StreamAck,
        stream_id=_U64,
        attempt=_U64,
        received=_U64,
        durable=_U64,
        errors=st.dictionaries(st.integers(1, 65535), st.integers(1, 200), max_size=3),
    ),
    pick=st.randoms(use_true_random=False),
)
def test_a_handshake_and_an_acknowledgement_round_trip_and_damaged_ones_are_refused(
    hello: Hello, ack: StreamAck, pick: random.Random
) -> None:
    assert decode_plain(encode(hello), Hello) == hello
    assert decode_plain(encode(ack), StreamAck) == ack
    _check_refused(lambda harmed: decode_plain(harmed, Hello), encode(hello), pick)
    _check_refused(lambda harmed: decode_plain(harmed, StreamAck), encode(ack), pick)


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
