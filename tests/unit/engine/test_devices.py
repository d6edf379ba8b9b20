"""Volumes on block devices: loop devices, which need root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pyrep import ChangedBacking, Options, PairStatus, StorageSystem, connect
from pyrep._core import DeviceIo, FileIo
from pyrep.engine.backing import difference, identity_of, same_backing
from pyrep.engine.sysfs import serial_of, written_sectors
from pyrep.errors import (
    BackingChangedError,
    DeviceError,
    ExistsError,
    InUseError,
    InvalidArgumentError,
)

MIB = 1 << 20
SIZE = 4 * MIB

Attach = Callable[[str], Path]


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def attach(tmp_path: Path) -> Iterator[Attach]:
    """Make a loop device over a new file of `SIZE`."""
    with contextlib.ExitStack() as undo:

        def make(name: str) -> Path:
            file = tmp_path / name
            file.write_bytes(bytes(SIZE))
            try:
                device = Path(_run("losetup", "--find", "--show", file))
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"this machine has no loop devices for this user: {error}")
            undo.callback(_run, "losetup", "--detach", device)
            return device

        yield make


def test_a_device_holds_what_was_written_at_any_offset(attach: Attach) -> None:
    data = os.urandom(70_001)
    with DeviceIo(attach("disk")) as io:
        assert io.size_bytes == SIZE
        io.pwrite(data, 4097)
        io.flush()
        assert io.pread(len(data), 4097) == data
        assert list(io.extents()) == [(0, SIZE)]


@pytest.mark.parametrize(("offset", "length"), [(0, SIZE), (1, 2 * MIB), (100, 300), (511, 514)])
def test_what_was_zeroed_or_trimmed_reads_as_zeros_and_nothing_else_does(
    attach: Attach, offset: int, length: int
) -> None:
    with DeviceIo(attach("disk")) as io:
        for wipe in (io.zero, io.trim):
            io.pwrite(b"\xaa" * SIZE, 0)
            wipe(length, offset)
            want = bytearray(b"\xaa" * SIZE)
            want[offset : offset + length] = bytes(length)
            assert io.pread(SIZE, 0) == want


def test_a_trim_gives_the_devices_space_back(attach: Attach, tmp_path: Path) -> None:
    device = attach("disk")
    with DeviceIo(device) as io:
        io.pwrite(b"\xaa" * SIZE, 0)
        io.flush()
        before = (tmp_path / "disk").stat().st_blocks
        io.trim(2 * MIB, MIB)
        io.flush()
        assert (tmp_path / "disk").stat().st_blocks <= before - 2 * MIB // 512


def test_a_device_in_use_is_refused_by_whatever_path(attach: Attach, tmp_path: Path) -> None:
    device = attach("disk")
    other = tmp_path / "other-node"
    os.mknod(other, device.stat().st_mode, device.stat().st_rdev)
    with (
        DeviceIo(device),
        pytest.raises(InUseError, match="in use") as caught,
    ):
        DeviceIo(other)
    assert "mounted" in str(caught.value.hint)


def test_a_mounted_device_is_refused(attach: Attach, tmp_path: Path) -> None:
    device = attach("disk")
    _run("mke2fs", "-q", device)
    place = tmp_path / "mounted"
    place.mkdir()
    try:
        _run("mount", device, place)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine has no mounts for this user: {error}")
    try:
        with (
            StorageSystem.create(tmp_path / "system", "100a") as system,
            pytest.raises(InUseError, match="in use"),
        ):
            system.attach_volume("105", device)
    finally:
        _run("umount", place)


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(4096))
    with pytest.raises(InvalidArgumentError, match="not a block device"):
        DeviceIo(file)
    with pytest.raises(InvalidArgumentError, match="not a regular file"):
        FileIo(Path("/dev/null"))


def test_one_device_is_one_volume(attach: Attach, tmp_path: Path) -> None:
    device = attach("disk")
    other = tmp_path / "other-node"
    os.mknod(other, device.stat().st_mode, device.stat().st_rdev)
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        system.attach_volume("105", device)
        for path in (device, other):
            with pytest.raises(ExistsError, match="volume 105"):
                system.attach_volume("106", path)


def test_a_pair_of_a_device_and_a_file_stays_equal(attach: Attach, tmp_path: Path) -> None:
    """A trim passes to the mirror as a trim, and both read as zeros."""
    device = attach("disk")
    with DeviceIo(device) as io:
        io.pwrite(os.urandom(SIZE), 0)
        io.flush()
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        pvol = system.attach_volume("105", device)
        svol = system.create_volume("106", SIZE)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        assert svol.pread(SIZE, 0) == pvol.pread(SIZE, 0)
        pvol.trim(100_000, 70_001)
        pvol.pwrite(b"after", 80_000)
        pair.split()
        assert svol.pread(SIZE, 0) == pvol.pread(SIZE, 0)
        assert pvol.pread(9_999, 70_001) == bytes(9_999)


def test_a_trim_that_comes_over_the_path_reads_as_zeros_on_a_device(
    attach: Attach, tmp_path: Path
) -> None:
    with (
        StorageSystem.create(tmp_path / "a", "100a") as a,
        StorageSystem.create(tmp_path / "b", "100b") as b,
    ):
        connect(a, b)
        pvol = a.create_volume("105a", SIZE)
        svol = b.attach_volume("105b", attach("disk"))
        pvol.pwrite(os.urandom(SIZE), 0)
        pair = a.create_remote_pair("105a", "100b", "105b")
        pair.wait()
        pvol.trim(MIB + 1, 4095)
        pvol.zero(700, 3 * MIB + 1)
        pvol.flush()
        pair.split()
        assert svol.pread(SIZE, 0) == pvol.pread(SIZE, 0)
        assert svol.pread(MIB + 1, 4095) == bytes(MIB + 1)


def test_a_device_is_recognised_and_what_was_written_behind_the_back_is_seen(
    attach: Attach, tmp_path: Path
) -> None:
    device = attach("disk")
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        system.attach_volume("105", device)
        system.create_volume("106", SIZE)
        pair = system.create_local_pair("105", "106")
        pair.wait()
        pair.split()
    with StorageSystem.open(tmp_path / "system") as system:
        assert system.volume("105").size_bytes == SIZE
    with DeviceIo(device) as io:
        io.pwrite(b"behind the back", 0)
        io.flush()
    with pytest.raises(BackingChangedError, match="changed since"):
        StorageSystem.open(tmp_path / "system")
    forced = Options(changed_backing=ChangedBacking.ALL_PENDING)
    with StorageSystem.open(tmp_path / "system", options=forced) as system:
        (row,) = system.volume("105").rows
        status = system.pair(row.pair_id).status()
        assert (status.status, status.pending_bytes) == (PairStatus.SPLIT, SIZE)


def test_another_device_at_the_same_path_is_refused(attach: Attach, tmp_path: Path) -> None:
    name = tmp_path / "by-name"
    name.symlink_to(attach("one"))
    with StorageSystem.create(tmp_path / "system", "100a") as system:
        system.attach_volume("105", name)
    name.unlink()
    name.symlink_to(attach("two"))
    with pytest.raises(BackingChangedError, match="another device"):
        StorageSystem.open(tmp_path / "system")


def test_a_device_that_is_gone_names_its_path(tmp_path: Path) -> None:
    with pytest.raises((DeviceError, InvalidArgumentError)):
        DeviceIo(tmp_path)


def _sysfs(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_a_disk_is_named_by_the_surest_of_its_names(tmp_path: Path) -> None:
    devices = _sysfs(
        tmp_path,
        {
            "8:0/device/wwid": "naa.5000",
            "8:0/sda1/partition": "1",
            "8:0/sda1/start": "2048",
            "253:0/dm/uuid": "LVM-abc",
            "253:0/serial": "later",
            "7:0/loop/backing_file": "/x.img",
            "7:0/loop/offset": "512",
            "9:9/size": "1",
        },
    )
    (devices / "8:1").symlink_to(devices / "8:0/sda1")
    names = {one: serial_of(one, devices=devices) for one in ("8:0", "8:1", "253:0", "7:0", "9:9")}
    assert names == {
        "8:0": "naa.5000",
        "8:1": "naa.5000@2048",
        "253:0": "LVM-abc",
        "7:0": "/x.img+512",
        "9:9": "",
    }


def test_sectors_written_and_discarded_are_counted_where_the_kernel_tells(tmp_path: Path) -> None:
    old = " ".join(str(one) for one in range(11))
    new = " ".join(str(one) for one in range(17))
    devices = _sysfs(tmp_path, {"8:0/stat": old, "8:16/stat": new})
    counts = [written_sectors(one, devices=devices) for one in ("8:0", "8:16", "1:1")]
    assert counts == [6, 6 + 13, 0]


def test_counters_of_another_run_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(4096))
    with FileIo(file) as io:
        base = identity_of(io)
    then = replace(base, inode=0, mtime_ns=0, ctime_ns=0, serial="disk", boot="one/1", written=5)
    more = replace(then, written=6)
    assert (
        difference(then, more, closed_cleanly=True) == "it was changed since the last clean close"
    )
    assert difference(then, more, closed_cleanly=False) == ""
    assert difference(then, replace(more, boot="two/1"), closed_cleanly=True) == ""
    assert difference(then, replace(then, device=99), closed_cleanly=True) == ""
    assert difference(then, replace(then, serial="x"), closed_cleanly=False) != ""
    assert difference(base, replace(base, inode=1), closed_cleanly=False) != ""
    assert not same_backing(file, tmp_path / "missing")
