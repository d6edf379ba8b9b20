"""Bitmap files that the storage can't read: told like any other that can't be used."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep._core import BitmapFile, BitmapKey, CalledIo, FileIo, Io
from pyrep.engine import Options, StorageSystem, check_system, repair_system
from pyrep.engine.options import BadBitmap
from pyrep.engine.store import BitmapStore
from pyrep.errors import BitmapFileError, DeviceError
from pyrep.model import PairStatus, SplitCause
from rig import LONG_S
from unit.engine.logged import SIZE, make_system

CHUNKS = SIZE // 8192


class _BadSectors:
    """Storage that can't be read from an offset on."""

    def __init__(self, io: Io, start: int) -> None:
        self._io = io
        self._start = start

    def pread_into(self, buffer: memoryview, offset: int) -> None:
        if offset + len(buffer) > self._start:
            raise DeviceError("Input/output error", errno_code=errno.EIO)
        buffer[:] = self._io.pread(len(buffer), offset)

    def pwrite(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        self._io.pwrite(bytes(data), offset)

    def zero(self, length: int, offset: int) -> None:
        self._io.zero(length, offset)

    def flush(self) -> None:
        self._io.flush()


class _BadIo(CalledIo):
    """What is below is closed with it, as it is of a file."""

    def __init__(self, path: Path, start: int) -> None:
        self._below = FileIo(path)
        super().__init__(_BadSectors(self._below, start), self._below.size_bytes, str(path))

    def close(self) -> None:
        super().close()
        self._below.close()


@pytest.fixture(params=["closed", "crashed"])
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory of 100b, whose pair of 105b and 106b is SPLIT; it isn't open."""
    system = make_system(tmp_path)
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    system.volume("105b").pwrite(b"x" * 8192, SIZE // 2)
    system.close() if request.param == "closed" else system.abort()
    return tmp_path / "s"


@pytest.fixture(params=[0, 4096], ids=["all of it", "its pages"])
def broken(
    request: pytest.FixtureRequest, left: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The same; the files there are now can't be read."""
    kept = [path.open("rb") for path in (left / "bitmaps").glob("*.bitmap")]
    bad = {os.fstat(one.fileno()).st_ino for one in kept}  # kept open: nothing new is called so
    assert bad
    real = BitmapStore._open

    def open_(store: BitmapStore, path: Path, key: BitmapKey) -> BitmapFile:
        if not path.exists() or path.stat().st_ino not in bad:
            return real(store, path, key)
        io = _BadIo(path, request.param)
        try:
            return BitmapFile.open_on(io, path, key)
        except BaseException:
            io.close()
            raise

    monkeypatch.setattr(BitmapStore, "_open", open_)
    yield left
    for one in kept:
        one.close()


def test_the_open_is_refused_and_names_pair_volume_and_what_helps(broken: Path) -> None:
    for _ in range(2):  # nothing of the first try stays open
        with pytest.raises(
            BitmapFileError, match=r"as it was read; pair 100b\.1, volume 10"
        ) as told:
            StorageSystem.open(broken)
        assert "pyrep system repair" in (told.value.hint or "")


def test_it_is_opened_with_everything_pending_where_the_options_say_so(broken: Path) -> None:
    options = Options(bad_bitmap=BadBitmap.ALL_PENDING)
    with StorageSystem.open(broken, options=options) as system:
        assert system.pair("100b.1").status().pending_count == CHUNKS


def test_a_check_tells_it_and_a_repair_splits_the_pair_with_everything_pending(
    broken: Path,
) -> None:
    wrong = [str(one) for one in check_system(broken).wrong]
    assert any("pair 100b.1" in one and "read" in one for one in wrong), wrong
    assert repair_system(broken).done
    with StorageSystem.open(broken) as system:
        state = system.pair("100b.1").status()
        assert (state.status, state.cause) == (PairStatus.SPLIT, SplitCause.REQUESTED)
        assert state.pending_count == CHUNKS
