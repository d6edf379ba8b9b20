from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from pyrep.errors import (
    ExistsError,
    FileSystemError,
    InvalidArgumentError,
    NoSpaceError,
    PathNotInFileSystemError,
    ReadOnlyError,
)
from pyrep.fs import Access, FileKind
from unit.fs.images import KIND_NAMES, KINDS, MIB, Image, ImageMaker, blocks_that_differ, run

every_kind = pytest.mark.parametrize(("kind", "options"), KINDS, ids=KIND_NAMES)


@every_kind
def test_what_is_written_is_read_by_debugfs(
    kind: str, options: tuple[str, ...], images: ImageMaker, tmp_path: Path
) -> None:
    image = images.make(kind, options)
    large = os.urandom(3 * MIB + 5)
    with image.opened() as fs:
        fs.mkdir("/d", mode=0o1755)
        fs.create("/d/file", mode=0o4711, uid=70000, gid=80000)
        fs.write_difference("/d/file", b"content")
        fs.create("/large")
        fs.write_difference("/large", large)
        fs.link("/large", "/d/same")
        fs.symlink("/fast", b"d/file")
        fs.symlink("/slow", b"/" + b"t" * 900)
        fs.mknod("/pipe", kind=FileKind.FIFO)
        fs.mknod("/disk", kind=FileKind.BLOCK_DEVICE, rdev=(300, 70000))
        fs.mknod("/tty", kind=FileKind.CHARACTER_DEVICE, rdev=(5, 1))
    image.check()
    assert image.dump("/d/file", tmp_path) == b"content"
    assert image.dump("/d/same", tmp_path) == large
    copied = tmp_path / "copied"
    copied.mkdir()
    image.ask(f"rdump / {copied}")
    assert (copied / "large").read_bytes() == large
    assert (copied / "fast").readlink() == Path("d/file")
    assert os.fsencode((copied / "slow").readlink()) == b"/" + b"t" * 900
    said = image.ask("stat /d/file")
    assert "Mode:  04711" in said
    assert "User: 70000   Group: 80000" in said
    assert "Device major/minor number: 300:70000" in image.ask("stat /disk")
    assert "Device major/minor number: 05:01" in image.ask("stat /tty")
    assert "Links: 2" in image.ask("stat /large")


@every_kind
def test_opened_for_writing_and_closed_it_writes_nothing(
    kind: str, options: tuple[str, ...], images: ImageMaker
) -> None:
    image = images.make(kind, options)
    before = image.path.read_bytes()
    with image.opened() as fs:
        fs.create("/gone")
        fs.unlink("/gone")
    changed = image.path.read_bytes()
    with image.opened() as fs:
        fs.walk()
        fs.flush()
        assert fs.info.bytes_written == 0
    assert image.path.read_bytes() == changed
    assert len(before) == len(changed)


def test_only_blocks_that_differ_are_written(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    data = bytearray(os.urandom(2 * MIB))
    with image.opened() as fs:
        fs.create("/file")
        fs.write_difference("/file", data)
    earlier = images.watch(image.copy("earlier"))
    with image.opened() as fs:
        assert fs.write_difference("/file", data) == 0
        assert fs.info.bytes_written == 0
        data[MIB : MIB + 10] = b"0123456789"
        data[MIB + 4096 * 7] ^= 1
        assert fs.write_difference("/file", data) == 2 * 4096
        assert fs.info.bytes_written == 2 * 4096
        assert fs.read("/file") == bytes(data)
    assert blocks_that_differ(image, earlier) == 2


def test_a_change_of_attributes_writes_one_block_and_the_same_again_none(
    images: ImageMaker,
) -> None:
    image = images.make(options=("-b", "4096"))
    with image.opened() as fs:
        fs.create("/file")
    earlier = images.watch(image.copy("earlier"))
    with image.opened() as fs:
        fs.set_attributes("/file", mode=0o600, uid=5, mtime_ns=1_000_000_001)
        fs.flush()
        assert fs.info.bytes_written == 4096
        fs.set_attributes("/file", mode=0o600, uid=5, mtime_ns=1_000_000_001)
        fs.flush()
        assert fs.info.bytes_written == 4096
        assert fs.stat("/file").mtime_ns == 1_000_000_001
    assert blocks_that_differ(image, earlier) == 1


def test_many_small_changes_reach_the_volume_once_per_block(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    earlier = images.watch(image.copy("earlier"))
    with image.opened() as fs:
        for number in range(500):
            fs.create(f"/file-{number}")
        assert fs.info.bytes_written == 0
        fs.flush()
        written = fs.info.bytes_written
    assert written == 4096 * blocks_that_differ(image, earlier)


def test_a_file_system_opened_read_only_refuses_changes(images: ImageMaker) -> None:
    image = images.make()
    before = image.path.read_bytes()
    with image.opened(Access.READ_ONLY) as fs, pytest.raises(ReadOnlyError):
        fs.create("/file")
    assert image.path.read_bytes() == before


def test_holes_stay_holes_and_a_cut_file_reads_zeros_when_it_grows(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.create("/file")
        fs.write_difference("/file", b"end", offset=10 * MIB)
        fs.write_difference("/file", bytes(MIB))
        assert fs.stat("/file").blocks < 10
        fs.write_difference("/file", b"x" * 5000)
        fs.truncate("/file", 100)
        fs.truncate("/file", 6000)
        assert fs.read("/file") == b"x" * 100 + bytes(5900)
        fs.truncate("/file", 100)
        fs.write_difference("/file", b"y", offset=3000)
        assert fs.read("/file") == b"x" * 100 + bytes(2900) + b"y"


@pytest.mark.parametrize(("kind", "options"), [("ext2", ("-b", "1024")), ("ext4", ())])
def test_a_file_far_behind_its_start_keeps_what_lies_around_a_hole(
    kind: str, options: tuple[str, ...], images: ImageMaker
) -> None:
    image = images.make(kind, options, size_bytes=64 * MIB)
    places = [0, 11 * 1024, 12 * 1024, 267 * 1024, 268 * 1024, 600 * 1024, 70 * MIB, 900 * MIB]
    with image.opened() as fs:
        fs.create("/file")
        for place in places:
            fs.write_difference("/file", b"%d" % place, offset=place)
        for place in places:
            assert fs.read("/file", place, 9).startswith(b"%d" % place)
        fs.truncate("/file", 300 * 1024)
    image.check()
    with image.opened() as fs:
        assert fs.read("/file", 268 * 1024, 6) == b"274432"
        fs.unlink("/file")


def test_a_large_directory_gets_an_index_that_holds_all_its_names(images: ImageMaker) -> None:
    image = images.make(options=("-b", "1024", "-N", "8000"))
    names = {b"/d/%05d-%s" % (number, b"n" * (number % 200)) for number in range(5_000)}
    with image.opened() as fs:
        fs.mkdir("/d")
        for name in sorted(names):
            fs.create(name)
    assert "Flags: 0x81000" in image.ask("stat /d")
    image.check()
    with image.opened() as fs:
        assert {stat.path for stat in fs.list("/d")} == names
        for name in sorted(names)[::2]:
            fs.unlink(name)
    image.check()
    with image.opened() as fs:
        assert {stat.path for stat in fs.list("/d")} == set(sorted(names)[1::2])
        fs.remove_tree("/d")


def test_names_go_into_a_directory_that_another_tool_left_without_an_index(
    images: ImageMaker, tmp_path: Path
) -> None:
    content = tmp_path / "content"
    content.mkdir()
    for number in range(200):
        (content / f"{number}-{'n' * 100}").touch()
    image = images.make(content=content)
    with image.opened() as fs:
        for number in range(300):
            fs.create(f"/new-{number}-{'n' * 50}")
        assert len(fs.list("/")) == 501


def test_a_directory_counts_more_subdirectories_than_an_inode_can(images: ImageMaker) -> None:
    image = images.make()
    image.is_sound = False  # the count is set, without the directories it counts
    image.debugfs("mkdir /d", "sif /d links_count 64999")
    with image.opened() as fs:
        fs.mkdir("/d/one")
        assert fs.stat("/d").nlink == 65_000
        fs.mkdir("/d/two")
        assert fs.stat("/d").nlink == 1
        fs.rmdir("/d/one")
        assert fs.stat("/d").nlink == 1


def test_a_file_with_as_many_names_as_can_be_gets_no_more(images: ImageMaker) -> None:
    image = images.make()
    image.is_sound = False
    with image.opened() as fs:
        fs.create("/file")
    image.debugfs("sif /file links_count 65000")
    with image.opened() as fs:
        with pytest.raises(FileSystemError, match="more links"):
            fs.link("/file", "/again")
        assert not fs.exists("/again")


@every_kind
def test_attributes_are_kept_in_the_inode_and_in_a_block(
    kind: str, options: tuple[str, ...], images: ImageMaker
) -> None:
    image = images.make(kind, options)
    small = {b"user.a": b"1", b"security.capability": b"\1\0\0\2" + bytes(16)}
    large = {**small, b"user.long": b"v" * 700, b"trusted.t": b"", b"user.\xff": b"\0\xff"}
    with image.opened() as fs:
        fs.create("/file")
        for wanted in (small, large, {**large, b"user.a": b"2" * 30}, small, {}, large):
            fs.set_xattrs("/file", wanted)
            assert fs.xattrs("/file") == wanted
        fs.flush()
        before = fs.info.bytes_written
        fs.set_xattrs("/file", large)
        fs.flush()
        assert fs.info.bytes_written == before
    said = image.ask("ea_list /file")
    assert "security.capability (20)" in said
    assert "user.long (700)" in said
    with image.opened() as fs:
        fs.unlink("/file")


def test_attributes_that_do_not_fit_are_refused(images: ImageMaker) -> None:
    image = images.make(options=("-b", "1024"))
    with image.opened() as fs:
        fs.create("/file")
        with pytest.raises(NoSpaceError):
            fs.set_xattrs("/file", {b"user.large": b"v" * 2000})
        fs.create("/after")


def test_an_acl_goes_in_and_out_in_the_form_it_has_on_disk(images: ImageMaker) -> None:
    image = images.make()
    # Version 1; owner rw, user 1000 r, group r, mask r, other none.
    acl = bytes.fromhex("01000000 01000600 02000400e8030000 04000400 10000400 20000000")
    with image.opened() as fs:
        fs.create("/file")
        fs.set_xattrs("/file", {b"system.posix_acl_access": acl})
        assert fs.xattrs("/file") == {b"system.posix_acl_access": acl}


def test_times_before_1970_and_after_2038_are_kept_to_the_nanosecond(images: ImageMaker) -> None:
    image = images.make()
    past, future = -(2**31) * 10**9 + 999_999_999, (2**33) * 10**9 + 1
    with image.opened() as fs:
        fs.create("/file")
        fs.set_attributes("/file", atime_ns=past, mtime_ns=future, ctime_ns=-1, crtime_ns=future)
    with image.opened(Access.READ_ONLY) as fs:
        stat = fs.stat("/file")
        assert (stat.atime_ns, stat.mtime_ns) == (past, future)
        assert (stat.ctime_ns, stat.crtime_ns) == (-1, future)


def test_a_time_that_small_inodes_cannot_hold_is_refused_not_cut(images: ImageMaker) -> None:
    image = images.make("ext3", ("-I", "128"))
    with image.opened() as fs:
        fs.create("/file")
        before = fs.stat("/file")
        with pytest.raises(InvalidArgumentError, match="time"):
            fs.set_attributes("/file", mtime_ns=2**33 * 10**9)
        assert fs.stat("/file") == before


def test_a_name_that_exists_is_not_made_twice(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.create("/file")
        inodes = fs.free_inodes
        with pytest.raises(ExistsError):
            fs.mkdir("/file")
        with pytest.raises(ExistsError):
            fs.link("/file", "/file")
        assert fs.free_inodes == inodes


def test_what_is_not_empty_or_not_a_file_is_not_removed(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.mkdir("/d")
        fs.create("/d/file")
        with pytest.raises(InvalidArgumentError):
            fs.rmdir("/d")
        with pytest.raises(InvalidArgumentError):
            fs.unlink("/d")
        with pytest.raises(PathNotInFileSystemError):
            fs.rmdir("/d/file")
        with pytest.raises(PathNotInFileSystemError):
            fs.unlink("/d/none")
        fs.unlink("/d/file")
        fs.rmdir("/d")


@pytest.mark.parametrize("name", [b"n" * 256, b"."])
def test_a_name_that_cannot_be_is_refused(name: bytes, images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs, pytest.raises(InvalidArgumentError):
        fs.create(b"/" + name)


@every_kind
def test_a_full_file_system_refuses_and_stays_whole(
    kind: str, options: tuple[str, ...], images: ImageMaker
) -> None:
    image = images.make(kind, options, size_bytes=8 * MIB)
    with image.opened() as fs:
        number = 0
        with contextlib.suppress(NoSpaceError):
            for number in range(10_000):
                fs.create(f"/{number}")
        assert number < 9_999
        fs.unlink("/0")
        fs.create("/file")
        with pytest.raises(NoSpaceError):
            fs.write_difference("/file", os.urandom(9 * MIB))
        fs.unlink("/file")


def test_a_file_on_the_last_block_is_removed_like_any_other(images: ImageMaker) -> None:
    image = images.make(options=("-b", "1024", "-O", "^has_journal"), size_bytes=4 * MIB)
    with image.opened() as fs:
        fs.create("/fill")
        at = 0
        while fs.free_blocks > 0:
            count = max(1, fs.free_blocks // 2)
            try:
                fs.write_difference("/fill", os.urandom(1024 * count), offset=at)
            except NoSpaceError:
                break
            at += 1024 * count
        assert fs.free_blocks < 5
    assert int(image.ask("testb 4095").count("marked in use")) == 1
    image.check()
    with image.opened() as fs:
        fs.truncate("/fill", 3000)
        fs.unlink("/fill")


def make_and_stop(image: Image) -> None:
    with image.opened() as fs:
        fs.create("/file")
        raise KeyboardInterrupt


def test_an_exception_leaves_what_was_done_before_it(images: ImageMaker) -> None:
    image = images.make()
    with pytest.raises(KeyboardInterrupt):
        make_and_stop(image)
    with image.opened(Access.READ_ONLY) as fs:
        assert fs.exists("/file")


def test_discarded_changes_are_not_written(images: ImageMaker) -> None:
    image = images.make()
    before = image.path.read_bytes()
    with image.opened() as fs:
        fs.create("/file")
        fs.discard()
    assert image.path.read_bytes() == before


def test_the_time_of_writing_is_noted_when_something_was(images: ImageMaker) -> None:
    image = images.make()
    image.debugfs("set_super_value wtime 20010101000000")
    with image.opened() as fs:
        fs.create("/file")
    assert "2001" not in run("dumpe2fs", "-h", image.path).split("Last write time:")[1][:40]
