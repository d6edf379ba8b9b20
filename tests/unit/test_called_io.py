from __future__ import annotations

import errno
import gc

import pytest

from pyrep._core import Buffer, CalledIo, OverlayIo
from pyrep.errors import DeviceError, NoSpaceError, OutOfRangeError, RefusedError

SIZE = 1 << 16


class _Memory:
    def __init__(self) -> None:
        self.data = bytearray(SIZE)
        self.flushes = 0
        self.failing: Exception | None = None

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        if self.failing:
            raise self.failing
        buffer[:] = self.data[offset : offset + len(buffer)]

    def pwrite(self, data: Buffer, offset: int) -> None:
        self.data[offset : offset + len(data)] = data

    def zero(self, length: int, offset: int) -> None:
        self.data[offset : offset + length] = bytes(length)

    def flush(self) -> None:
        self.flushes += 1


def test_what_c_asks_for_python_does() -> None:
    memory = _Memory()
    with CalledIo(memory, SIZE, "memory") as io:
        assert io.size_bytes == SIZE
        io.pwrite(b"abcdef", 100)
        assert io.pread(8, 99) == b"\0abcdef\0"
        io.zero(2, 101)
        io.trim(1, 105)
        assert io.pread(6, 100) == b"a\0\0de\0"
        io.flush()
        assert memory.flushes == 1
        assert list(io.extents()) == [(0, SIZE)]
        with pytest.raises(OutOfRangeError):
            io.pread(2, SIZE - 1)


def test_another_object_of_the_core_stands_on_it() -> None:
    memory = _Memory()
    with CalledIo(memory, SIZE, "memory") as io, OverlayIo(io) as view:
        view.pwrite(b"x", 7)
        assert view.pread(1, 7) == b"x"
        assert memory.data[7] == 0


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (NoSpaceError("full"), errno.ENOSPC),
        (RefusedError("no"), errno.EIO),
        (KeyError(), errno.EIO),
    ],
)
def test_c_sees_an_errno_and_the_error_itself_is_kept(raised: Exception, code: int) -> None:
    memory = _Memory()
    with CalledIo(memory, SIZE, "memory") as io:
        assert io.error is None
        memory.failing = raised
        with pytest.raises(DeviceError) as caught:
            io.pread(1, 0)
        assert caught.value.errno_code == code
        memory.failing = RefusedError("a later one")
        with pytest.raises(DeviceError):
            io.pread(1, 0)
        assert io.error is raised


def test_one_that_nobody_closed_is_freed_with_its_storage() -> None:
    freed: list[str] = []

    class _Told(_Memory):
        def __del__(self) -> None:
            freed.append("freed")

    io = CalledIo(_Told(), SIZE, "memory")
    io.flush()
    del io
    gc.collect()
    assert freed == ["freed"]
