"""A trim reads as zeros afterwards on every storage: so it may be passed on as a trim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pyrep._core import (
    FileIo,
    Io,
    MemoryIo,
    OverlayIo,
    Tree,
    VolatileIo,
    VolumeCore,
    VolumeIo,
    Wake,
)

SIZE = 1 << 18


def _file(path: Path) -> Io:
    (path / "file").write_bytes(bytes(SIZE))
    return FileIo(path / "file")


def _memory(_path: Path) -> Io:
    return MemoryIo(SIZE)


def _overlay(path: Path) -> Io:
    base = _file(path)
    base.pwrite(b"\xbb" * SIZE, 0)
    return OverlayIo(base)


def _volatile(path: Path) -> Io:
    return VolatileIo(_file(path))


def _volume(path: Path) -> Io:
    core = VolumeCore(_file(path), Tree(1), name="105", wake=Wake())
    return VolumeIo(core, ack_timeout_s=1)


@pytest.mark.parametrize("make", [_file, _memory, _overlay, _volatile, _volume])
@pytest.mark.parametrize(
    ("offset", "length"), [(0, SIZE), (8192, 65536), (1, 4095), (5000, 90_001)]
)
def test_what_was_trimmed_reads_as_zeros(
    make: Callable[[Path], Io], offset: int, length: int, tmp_path: Path
) -> None:
    with make(tmp_path) as io:
        io.pwrite(b"\xaa" * SIZE, 0)
        io.trim(length, offset)
        want = bytearray(b"\xaa" * SIZE)
        want[offset : offset + length] = bytes(length)
        assert io.pread(SIZE, 0) == want
