from __future__ import annotations

import random
import socket
import threading
from itertools import pairwise

import pytest

from pyrep._core import FRAME_BYTES
from pyrep.errors import PathLostError, WireError
from pyrep.interconnect.channel import Plain
from pyrep.interconnect.envelope import Kind, seal_envelope
from pyrep.interconnect.readahead import ReadAhead
from pyrep.model import SystemId
from pyrep.testing import wait_until
from tape import Tape

LARGE = 100_000
AT_ONCE = 70_000


def sealed(frames: list[bytes]) -> bytes:
    return b"".join(seal_envelope(Kind.FRAME, 0, len(one)) + one for one in frames)


def made(sizes: list[int]) -> list[bytes]:
    chance = random.Random(3)
    return [chance.randbytes(size) for size in sizes]


class Counted(Tape):
    """A tape that knows how much of it was read."""

    @property
    def read_bytes(self) -> int:
        return self.length - len(self.left)

    def __init__(self, data: bytes) -> None:
        super().__init__(data, at_once=AT_ONCE)
        self.length = len(data)


def reading(tape: Tape) -> ReadAhead:
    return ReadAhead(tape, "ahead of a test", lambda: None)


def test_frames_come_in_their_order_large_and_small_and_then_what_ended_them() -> None:
    chance = random.Random(1)
    frames = made([chance.choice([64, 5000, LARGE, FRAME_BYTES]) for _ in range(80)])
    with reading(Tape(sealed(frames), at_once=AT_ONCE)) as ahead:
        given = iter(ahead)
        assert [bytes(next(given)) for _ in frames] == frames
        with pytest.raises(PathLostError):
            next(given)


def test_what_is_no_frame_is_told_behind_the_frames_before_it() -> None:
    frames = made([LARGE] * 3)
    tape = Tape(sealed(frames) + seal_envelope(Kind.ACK, 0, 3) + b"abc", at_once=AT_ONCE)
    with reading(tape) as ahead:
        given = iter(ahead)
        assert [bytes(next(given)) for _ in frames] == frames
        with pytest.raises(WireError, match="ACK"):
            next(given)


def test_who_uses_a_frame_keeps_it_while_others_are_read_and_these_are_few() -> None:
    frames = made([LARGE] * 20)
    tape = Counted(sealed(frames))
    whole = len(sealed(frames[:1]))
    with reading(tape) as ahead:
        for index, frame in enumerate(ahead):
            # As far ahead as it may be: two are ready, and one is on its way to be.
            most = min(index + 4, len(frames)) * whole
            wait_until(lambda: tape.read_bytes >= most)  # noqa: B023 (called at once)
            assert tape.read_bytes <= most + AT_ONCE
            assert frame == frames[index]
            if index == len(frames) - 1:
                break


def test_the_next_one_is_said_to_be_here_only_if_it_is() -> None:
    frames = made([LARGE, LARGE, 64, 64, LARGE, 64])
    said = []
    with reading(Tape(sealed(frames), at_once=AT_ONCE)) as ahead:
        for index, _ in enumerate(ahead):
            said.append(ahead.has_next)
            if index == 0:
                wait_until(lambda: ahead.has_next)
            if index == len(frames) - 1:
                break
        wait_until(lambda: not ahead._ready.empty())  # what ended it
        assert not ahead.has_next
    assert not said[-1]


def test_small_frames_are_received_by_who_asks_and_large_ones_until_they_pause() -> None:
    near, far = socket.socketpair()
    sender, receiver = Plain().client(near, SystemId("100b")), Plain().server(far)
    heard: list[str] = []
    small, large = made([64, LARGE])
    with ReadAhead(
        receiver, "ahead of a test", lambda: heard.append(threading.current_thread().name)
    ) as ahead:
        given = iter(ahead)
        here = threading.current_thread().name
        for one in (small, large):
            sender.send_all(sealed([one]))
            assert next(given) == one
        assert heard == [here, here]
        sender.send_all(sealed([large]))
        assert next(given) == large
        assert heard[-1] == "ahead of a test"
        wait_until(lambda: not ahead._ready.empty())  # given back
        assert not ahead.has_next
        sender.send_all(sealed([small]))
        assert next(given) == small
        assert heard[-1] == here
    sender.free()
    receiver.free()


def test_its_thread_ends_with_it_wherever_it_waits() -> None:
    frames = made([LARGE] * 9)
    with reading(Tape(sealed(frames), at_once=AT_ONCE)) as ahead:  # memory is short
        next(iter(ahead))
        wait_until(lambda: ahead._put_count == 2 and ahead._free.empty())
    assert not ahead._thread.is_alive()
    near, far = socket.socketpair()
    sender, receiver = Plain().client(near, SystemId("100b")), Plain().server(far)
    sender.send_all(sealed(frames[:2])[: LARGE * 3 // 2])
    with ReadAhead(receiver, "ahead of a test", lambda: None) as ahead:  # the rest never comes
        next(iter(ahead))
        wait_until(lambda: ahead._reader.has_begun)
    assert not ahead._thread.is_alive()
    sender.free()
    receiver.free()


def test_memory_of_frames_is_not_shared() -> None:
    frames = made([LARGE] * 4)
    with reading(Tape(sealed(frames), at_once=AT_ONCE)) as ahead:
        addresses = []
        for frame in ahead:
            addresses.append(id(frame.obj))
            if len(addresses) == len(frames):
                break
    assert all(one != other for one, other in pairwise(addresses))
