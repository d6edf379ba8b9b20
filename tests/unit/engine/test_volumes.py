"""Volumes of a system, and the files that they are kept in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrep.engine import StorageSystem
from pyrep.errors import (
    BusyError,
    ExistsError,
    InUseError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    RefusedError,
)
from rig import CHUNK, LONG_S, MIB, SIZE, Site, content, fill, refused


@pytest.fixture
def system(site: Site) -> StorageSystem:
    return site.make("100a", "105a", "106a")


def test_a_new_volume_is_sparse_and_reads_as_zeros(system: StorageSystem) -> None:
    volume = system.create_volume("new", 100 * MIB + 1)
    assert volume.size_bytes == 100 * MIB + 1
    assert volume.pread(10, 100 * MIB - 9) == bytes(10)
    assert Path(volume.path).stat().st_blocks == 0
    assert volume.rows == ()
    assert [one.volume_id for one in system.volumes()] == ["105a", "106a", "new"]


def test_what_is_written_is_read_back_and_zero_and_trim_read_as_zeros(
    system: StorageSystem,
) -> None:
    volume = system.volume("105a")
    volume.pwrite(memoryview(b"0123456789"), 5)
    assert volume.pread(10, 5) == b"0123456789"
    buffer = bytearray(4)
    volume.pread_into(buffer, 6)
    assert buffer == b"1234"
    volume.zero(3, 5)
    volume.trim(3, 12)
    volume.flush()
    assert volume.pread(10, 5) == b"\0\0\x003456\0\0\0"


def test_an_empty_range_is_fine_at_the_very_end(system: StorageSystem) -> None:
    volume = system.volume("105a")
    assert volume.pread(0, SIZE) == b""
    volume.pwrite(b"", SIZE)
    volume.zero(0, SIZE)


@pytest.mark.parametrize(
    ("length", "offset"), [(1, SIZE), (2, SIZE - 1), (1, 2**63), (SIZE + 1, 0)]
)
def test_a_range_past_the_end_is_refused_whole(
    system: StorageSystem, length: int, offset: int
) -> None:
    volume = system.volume("105a")
    fill(volume, 1)
    before = content(volume)
    for attempt in (
        lambda: volume.pread(length, offset),
        lambda: volume.pwrite(bytes(length), offset),
        lambda: volume.zero(length, offset),
        lambda: volume.trim(length, offset),
    ):
        with refused(OutOfRangeError, system, names="105a", hint=False):
            attempt()
    assert content(volume) == before


def test_a_negative_range_is_refused(system: StorageSystem) -> None:
    volume = system.volume("105a")
    for attempt in (
        lambda: volume.pread(-1, 0),
        lambda: volume.pwrite(b"x", -1),
        lambda: volume.zero(-1, 0),
        lambda: volume.trim(1, -1),
    ):
        with refused(InvalidArgumentError, system, names="-1", hint=False):
            attempt()


def test_a_duplicate_volume_id_is_refused(system: StorageSystem) -> None:
    with refused(ExistsError, system, names="105a"):
        system.create_volume("105a", SIZE)


@pytest.mark.parametrize("size", [0, -1, 2**63])
def test_a_volume_has_bytes_and_no_more_than_a_file_may_have(
    system: StorageSystem, size: int
) -> None:
    with refused(InvalidArgumentError, system, names=str(size), hint=False):
        system.create_volume("new", size)


def test_unknown_volumes_are_named_with_those_there_are(system: StorageSystem) -> None:
    with refused(NotFoundError, system, names="999"):
        system.volume("999")
    with refused(NotFoundError, system, names="999"):
        system.delete_volume("999")


def test_a_file_left_by_an_interrupted_creation_is_named(system: StorageSystem) -> None:
    stray = system.directory / "volumes" / "new.img"
    stray.write_bytes(b"x")
    with refused(ExistsError, system, names="new.img"):
        system.create_volume("new", SIZE)
    stray.unlink()
    system.create_volume("new", SIZE)


def test_a_deleted_volume_takes_its_own_file_along_and_leaves_an_attached_one(
    system: StorageSystem, tmp_path: Path
) -> None:
    own = Path(system.volume("106a").path)
    system.delete_volume("106a")
    assert not own.exists()
    mine = tmp_path / "mine.img"
    mine.write_bytes(bytes(SIZE))
    system.attach_volume("mine", mine)
    system.delete_volume("mine")
    assert mine.stat().st_size == SIZE
    system.attach_volume("mine", mine)


def test_a_volume_in_a_pair_is_not_deleted(system: StorageSystem) -> None:
    system.create_local_pair("105a", "106a").wait(timeout_s=LONG_S)
    for volume in ("105a", "106a"):
        with refused(RefusedError, system, names="100a.1"):
            system.delete_volume(volume)


def test_a_volume_that_is_being_read_is_not_deleted_and_goes_on(system: StorageSystem) -> None:
    volume = system.volume("105a")
    with volume.io() as io:
        with refused(BusyError, system, names="105a"):
            system.delete_volume("105a")
        io.pwrite(b"still", 0)
        assert volume.pread(5, 0) == b"still"
    system.delete_volume("105a")


def test_a_volume_as_storage_writes_through_the_tracked_path(system: StorageSystem) -> None:
    pair = system.create_local_pair("105a", "106a")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    with system.volume("105a").io() as io:
        io.pwrite(b"x", 2 * CHUNK)
        io.zero(1, 7 * CHUNK)
        io.flush()
        assert io.size_bytes == SIZE
    assert list(pair.pending()) == [2, 7]


# --- backing files --------------------------------------------------------------------------------


def test_an_attached_file_keeps_its_content_and_is_found_again(site: Site) -> None:
    system = site.make("100a")
    path = site.root / "mine.img"
    path.write_bytes(b"content" + bytes(SIZE))
    assert system.attach_volume("mine", path).pread(7, 0) == b"content"
    system = site.reopen("100a")
    assert system.volume("mine").pread(7, 0) == b"content"
    assert system.volume("mine").path == str(path)


def test_one_file_is_one_volume_also_by_other_names(system: StorageSystem, tmp_path: Path) -> None:
    path = tmp_path / "mine.img"
    path.write_bytes(bytes(SIZE))
    system.attach_volume("mine", path)
    link, soft = tmp_path / "hard.img", tmp_path / "soft.img"
    link.hardlink_to(path)
    soft.symlink_to(path)
    for name in (path, link, soft, str(path), Path(system.volume("105a").path)):
        with refused(ExistsError, system, names=str(name)):
            system.attach_volume("again", name)


def test_one_file_is_one_volume_across_systems(system: StorageSystem, site: Site) -> None:
    path = site.root / "mine.img"
    path.write_bytes(bytes(SIZE))
    system.attach_volume("mine", path)
    other = site.make("100b")
    hard = site.root / "hard.img"
    hard.hardlink_to(path)
    for name in (path, hard):
        with refused(InUseError, system, other, names=name.name):
            other.attach_volume("mine", name)
    system.close()
    other.attach_volume("mine", path)
    with pytest.raises(InUseError, match=r"mine\.img"):
        site.open("100a")


def test_what_is_no_file_with_content_is_not_attached(
    system: StorageSystem, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    for name in ("empty", "directory", "fifo"):
        with refused(InvalidArgumentError, system, names=name, hint=False):
            system.attach_volume("mine", tmp_path / name)
    with refused(NotFoundError, system, names="nowhere", hint=False):
        system.attach_volume("mine", tmp_path / "nowhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with refused(NotFoundError, system, names="dangling", hint=False):
        system.attach_volume("mine", tmp_path / "dangling")
