from __future__ import annotations

import os

import pytest

from pyrep._core import FileIo
from pyrep.errors import DeviceError
from pyrep.fs import Access, ExtFileSystem
from unit.fs.images import MIB, Image, ImageMaker


def make_filled(images: ImageMaker) -> Image:
    image = images.make()
    with image.opened() as fs:
        fs.create("/file")
        fs.write_difference("/file", os.urandom(MIB))
    return image


def test_a_volume_that_cannot_be_read_is_a_device_error_with_the_place(
    images: ImageMaker,
) -> None:
    image = make_filled(images)
    with (
        FileIo(image.path) as io,
        ExtFileSystem.open(io.address, access=Access.READ_ONLY, name="volume") as fs,
    ):
        # What lies behind the new end fails as a bad sector does.
        os.truncate(image.path, MIB)
        image.is_sound = False
        with pytest.raises(DeviceError, match=r"read of \d+ bytes at offset \d+"):
            fs.read("/file")


def test_a_volume_that_cannot_be_read_at_all_is_no_damage(images: ImageMaker) -> None:
    image = make_filled(images)
    image.is_sound = False
    with FileIo(image.path) as io:
        os.truncate(image.path, 0)
        with pytest.raises(DeviceError, match="cannot read volume"):
            ExtFileSystem.open(io.address, access=Access.READ_ONLY, name="volume")


def test_data_that_cannot_be_written_stops_every_further_change(images: ImageMaker) -> None:
    image = make_filled(images)
    before = image.path.read_bytes()
    # Opened without the lock a file is read-only: each write fails, as on a failing disk.
    with FileIo(image.path, locked=False) as io:
        fs = ExtFileSystem.open(io.address, access=Access.READ_WRITE, name="volume")
        with pytest.raises(DeviceError, match=r"write of \d+ bytes at offset \d+ .*: Read-only"):
            fs.write_difference("/file", os.urandom(MIB))
        with pytest.raises(DeviceError, match="failed half-way"):
            fs.create("/more")
        with pytest.raises(DeviceError, match="failed half-way"):
            fs.close()
    assert image.path.read_bytes() == before


def test_a_flush_that_fails_says_so_and_what_waits_still_waits(images: ImageMaker) -> None:
    image = make_filled(images)
    with FileIo(image.path, locked=False) as io:
        fs = ExtFileSystem.open(io.address, access=Access.READ_WRITE, name="volume")
        fs.create("/more")
        waits = fs.info.bytes_dirty
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"write of \d+ bytes at offset \d+"):
                fs.flush()
        assert fs.info.bytes_dirty >= waits
        fs.discard()


def test_leaving_after_an_exception_shows_that_one_not_the_failed_flush(
    images: ImageMaker,
) -> None:
    image = make_filled(images)

    def change_and_fail(io: FileIo) -> None:
        with ExtFileSystem.open(io.address, access=Access.READ_WRITE, name="volume") as fs:
            fs.create("/more")
            raise KeyError("the first")

    with FileIo(image.path, locked=False) as io, pytest.raises(KeyError, match="the first"):
        change_and_fail(io)
