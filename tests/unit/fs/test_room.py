from __future__ import annotations

import dataclasses

import pytest

from pyrep.errors import NoSpaceError
from pyrep.fs import Access
from pyrep.fs.room import Room
from unit.fs.images import ImageMaker


def test_what_fits_to_the_last_block_and_inode_fits(images: ImageMaker) -> None:
    with images.make().opened(Access.READ_ONLY) as fs:
        info = dataclasses.replace(fs.info, free_blocks=2, free_inodes=1)
        root = fs.stat("/")
        room = Room(info)
        room.make(root, None)
        room.add_name(b"/", b"name")
        assert (room.blocks_needed, room.inodes_needed) == (2, 1)
        room.check("volume")
        room.add_xattrs()
        with pytest.raises(NoSpaceError, match="3072 bytes are needed, 2048 are free"):
            room.check("volume")
        room.make(root, None)
        with pytest.raises(NoSpaceError, match="2 new files are needed, 1 fit"):
            room.check("volume")


def test_a_file_that_goes_makes_room_with_its_last_name(images: ImageMaker) -> None:
    with images.make().opened() as fs:
        fs.create("/file")
        fs.write_difference("/file", b"x" * 3000)
        fs.link("/file", "/again")
        stat = fs.stat("/file")
        room = Room(dataclasses.replace(fs.info, free_blocks=0, free_inodes=0))
        room.remove(stat)
        room.add_xattrs()
        with pytest.raises(NoSpaceError):
            room.check("volume")
        room.remove(dataclasses.replace(stat, path=b"/again"))
        room.check("volume")
