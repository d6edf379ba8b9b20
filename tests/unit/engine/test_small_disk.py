"""Storage that is full, or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrep.engine import StorageSystem
from pyrep.errors import (
    DeviceError,
    NoSpaceError,
    ReadOnlyError,
)
from rig import LONG_S, MIB, equal


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs")
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(where)], check=False
    )
    if mounted.returncode:
        pytest.skip("mount isn't allowed here")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def _fill_disk(where: Path) -> Path:
    """Write until nothing more fits; return the file to delete."""
    filler = where / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(handle, bytes(4096)):
            pass
    except OSError:
        return filler
    finally:
        os.close(handle)
    raise AssertionError("a full disk takes no bytes")


def _remount(where: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(where)], check=True)


def test_a_full_disk_is_told_and_the_system_can_be_used_again(small_disk: Path) -> None:
    with StorageSystem.create(small_disk / "s", "100a") as system:
        volume = system.create_volume("105a", 2 * MIB)
        system.create_volume("106a", 2 * MIB)
        filler = _fill_disk(small_disk)
        with pytest.raises(NoSpaceError) as caught:
            volume.pwrite(b"x" * MIB, 0)
        assert "105a" in str(caught.value)
        assert caught.value.hint
        with pytest.raises(NoSpaceError) as caught:
            system.create_local_pair("105a", "106a")
        assert caught.value.hint
        assert system.pairs() == ()
        assert not list((system.directory / "bitmaps").iterdir())
        filler.unlink()
        volume.pwrite(b"now", 0)
        pair = system.create_local_pair("105a", "106a")
        pair.wait(timeout_s=LONG_S)
        assert equal(volume, system.volume("106a"))


def test_a_disk_that_is_full_at_close_leaves_a_system_that_opens(small_disk: Path) -> None:
    system = StorageSystem.create(small_disk / "s", "100a")
    volume = system.create_volume("105a", MIB)
    system.create_volume("106a", MIB)
    system.create_local_pair("105a", "106a").wait(timeout_s=LONG_S)
    system.pairs()[0].split()
    volume.pwrite(b"x", 0)
    filler = _fill_disk(small_disk)
    try:
        system.close()
    except (NoSpaceError, DeviceError):
        filler.unlink()
        with StorageSystem.open(small_disk / "s") as again:
            assert 0 in again.pairs()[0].pending()


def test_a_read_only_directory_is_told(small_disk: Path) -> None:
    StorageSystem.create(small_disk / "s", "100a").close()
    _remount(small_disk, "ro")
    with pytest.raises(ReadOnlyError) as caught:
        StorageSystem.create(small_disk / "t", "100b")
    assert str(small_disk / "t") in str(caught.value)
    assert caught.value.hint
    with pytest.raises(ReadOnlyError) as caught:
        StorageSystem.open(small_disk / "s")
    assert str(small_disk / "s") in str(caught.value)
    _remount(small_disk, "rw")
    StorageSystem.open(small_disk / "s").close()
