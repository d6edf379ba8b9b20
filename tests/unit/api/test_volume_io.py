from __future__ import annotations

import random
from typing import Any, cast

import pytest

from pyrep.api import Client, open_volume
from pyrep.errors import DeviceError, FencedError
from pyrep.model import MIB

SIZE = 5 * MIB + 1000


class _Served:
    """Stands in for the client: one volume, and what was asked of it."""

    def __init__(self) -> None:
        self.data = bytearray(random.Random(1).randbytes(SIZE))
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.flushes = 0
        self.failing = False

    def volume(self, volume_id: str) -> dict[str, Any]:
        return {"volume_id": volume_id, "size_bytes": SIZE}

    def read(self, _: str, length: int, offset: int) -> bytes:
        self.reads.append((offset, length))
        return bytes(self.data[offset : offset + length])

    def write(self, _: str, data: memoryview, offset: int) -> None:
        if self.failing:
            raise FencedError("hosts are kept off 105a")
        self.writes.append((offset, len(data)))
        self.data[offset : offset + len(data)] = data

    def flush(self, _: str) -> None:
        self.flushes += 1


@pytest.fixture
def served() -> _Served:
    return _Served()


def client_of(served: _Served) -> Client:
    return cast("Client", served)


def test_neighbouring_reads_ask_the_daemon_once(served: _Served) -> None:
    with open_volume(client_of(served), "105a") as io:
        for at in range(0, 64 * 1024, 4096):
            assert io.pread(4096, at) == served.data[at : at + 4096]
    assert served.reads == [(0, MIB)]


def test_writes_go_together_at_a_flush_and_only_blocks_that_were_written(served: _Served) -> None:
    with open_volume(client_of(served), "105a") as io:
        io.pwrite(b"a" * 4096, 8192)
        io.pwrite(b"b" * 4096, 12288)
        io.pwrite(b"c" * 10, SIZE - 10)
        assert served.writes == []
        io.flush()
        last = 5 * MIB + 1000 // 4096 * 4096
        assert served.writes == [(8192, 8192), (last, SIZE - last)]
        assert served.flushes == 1
    assert served.flushes == 2
    assert len(served.writes) == 2


def test_what_is_wholly_overwritten_is_not_read_first(served: _Served) -> None:
    with open_volume(client_of(served), "105a") as io:
        io.pwrite(bytes(2 * MIB), MIB)
        io.zero(1000, 5 * MIB)
    assert served.reads == []
    assert served.data[MIB : 3 * MIB] == bytes(2 * MIB)
    assert served.data[5 * MIB :] == bytes(1000)


@pytest.mark.parametrize("seed", range(4))
def test_any_writes_in_a_small_cache_give_what_they_give_in_memory(
    served: _Served, seed: int
) -> None:
    draw = random.Random(seed)
    expected = bytearray(served.data)
    with open_volume(client_of(served), "105a", cache_bytes=2 * MIB) as io:
        for _ in range(60):
            length = draw.choice([1, 512, 4096, 70_000, MIB, 2 * MIB])
            at = draw.randrange(SIZE - length)
            if draw.random() < 0.4:
                assert io.pread(length, at) == expected[at : at + length]
            elif draw.random() < 0.2:
                io.zero(length, at)
                expected[at : at + length] = bytes(length)
            else:
                data = draw.randbytes(length)
                io.pwrite(data, at)
                expected[at : at + length] = data
    assert served.data == expected


def test_what_the_daemon_refuses_is_raised_as_itself(served: _Served) -> None:
    served.failing = True

    def use() -> None:
        with open_volume(client_of(served), "105a") as io:
            io.pwrite(b"x", 0)
            io.flush()

    with pytest.raises(FencedError, match="kept off") as caught:
        use()
    assert isinstance(caught.value.__cause__, DeviceError)


def test_after_an_error_nothing_more_is_sent(served: _Served) -> None:
    def use() -> None:
        with open_volume(client_of(served), "105a") as io:
            io.pwrite(b"x", 0)
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert served.writes == []
