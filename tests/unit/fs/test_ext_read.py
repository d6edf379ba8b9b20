from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyrep.errors import InvalidArgumentError, PathNotInFileSystemError
from pyrep.fs import Access, FileKind
from unit.fs.images import KIND_NAMES, KINDS, MIB, ImageMaker

NOT_UTF8 = b"name-\xff\xfe"
every_kind = pytest.mark.parametrize(("kind", "options"), KINDS, ids=KIND_NAMES)


def make_content(top: Path) -> Path:
    content = top / "content"
    (content / "deep" / "er" / "est").mkdir(parents=True)
    (content / "text").write_bytes(b"hello\n" * 1000)
    (content / "empty").write_bytes(b"")
    (content / "large").write_bytes(os.urandom(3 * MIB + 77))
    (content / "deep" / "er" / "est" / "leaf").write_bytes(b"leaf")
    (content / "fast").symlink_to("text")
    (content / "slow").symlink_to("t" * 300)
    os.link(content / "text", content / "second-name")
    with (content / "sparse").open("wb") as file:
        file.seek(5 * MIB)
        file.write(b"behind the hole")
    Path(os.fsdecode(os.fsencode(content) + b"/" + NOT_UTF8)).write_bytes(b"odd")
    (content / "many").mkdir()
    for number in range(300):
        (content / "many" / f"{number:03}-{'x' * 60}").write_bytes(str(number).encode())
    return content


@every_kind
def test_what_mke2fs_filled_is_read_as_it_was(
    kind: str, options: tuple[str, ...], images: ImageMaker, tmp_path: Path
) -> None:
    content = make_content(tmp_path)
    image = images.make(kind, options, content=content)
    with image.opened(Access.READ_ONLY) as fs:
        found = {stat.path: stat for stat in fs.walk()}
        for directory, names, files in os.walk(os.fsencode(content)):
            for name in names + files:
                host = directory + b"/" + name
                path = host[len(os.fsencode(content)) :]
                stat = found.pop(path)
                expected = os.lstat(host)
                assert stat.mode | stat.kind.value == expected.st_mode
                assert (stat.uid, stat.gid) == (expected.st_uid, expected.st_gid)
                assert stat.mtime_ns // 10**9 == int(expected.st_mtime)
                if stat.kind is FileKind.REGULAR:
                    assert fs.read(path) == Path(os.fsdecode(host)).read_bytes()
                elif stat.kind is FileKind.SYMLINK:
                    assert fs.readlink(path) == os.fsencode(Path(os.fsdecode(host)).readlink())
        assert set(found) == {b"/lost+found"}
        assert fs.stat("/text").inode == fs.stat("/second-name").inode
        assert fs.stat("/text").nlink == 2
        assert len(fs.list("/many")) == 300


def test_a_range_of_a_file_is_read_and_ends_with_it(images: ImageMaker, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.mkdir()
    data = os.urandom(2 * MIB)
    (content / "file").write_bytes(data)
    image = images.make(content=content)
    with image.opened(Access.READ_ONLY) as fs:
        assert fs.read("/file", 4095, 4098) == data[4095 : 4095 + 4098]
        assert fs.read("/file", len(data) - 3, 100) == data[-3:]
        assert fs.read("/file", len(data) + 5, 100) == b""


def test_what_another_tool_put_into_inodes_is_told(images: ImageMaker) -> None:
    image = images.make()
    image.debugfs(
        "mkdir /d",
        "mknod console c 200 3",
        "mknod disk b 8 1",
        "mknod pipe p",
        "sif /d mode 0041777",
        "sif /d uid 70000",
        "sif /d gid 4000000000",
        "sif /d mtime 19500102030405",
        "sif /d ctime 21000102030405",
        "sif /d flags 0x80080",
        "ea_set /d user.colour blue",
    )
    with image.opened(Access.READ_ONLY) as fs:
        stat = fs.stat("/d")
        assert (stat.mode, stat.uid, stat.gid) == (0o1777, 70000, 4000000000)
        assert stat.mtime_ns < 0
        assert stat.ctime_ns // 10**9 > 2**31
        assert stat.flags == 0x80
        assert fs.xattrs("/d") == {b"user.colour": b"blue"}
        assert fs.stat("/console").kind is FileKind.CHARACTER_DEVICE
        assert fs.stat("/console").rdev == (200, 3)
        assert fs.stat("/disk").rdev == (8, 1)
        assert fs.stat("/pipe").kind is FileKind.FIFO


def test_small_files_inside_inodes_and_large_attributes_are_read(
    images: ImageMaker, tmp_path: Path
) -> None:
    content = tmp_path / "content"
    content.mkdir()
    (content / "tiny").write_bytes(b"inside the inode")
    (content / "link").symlink_to("s" * 100)
    (content / "large").write_bytes(bytes(range(256)) * 400)
    image = images.make(options=("-O", "inline_data,ea_inode,bigalloc"), content=content)
    with image.opened(Access.READ_ONLY) as fs:
        assert fs.read("/tiny") == b"inside the inode"
        assert fs.read("/tiny", 7, 3) == b"the"
        assert fs.read("/large") == bytes(range(256)) * 400
        assert fs.readlink("/link") == b"s" * 100
        assert fs.xattrs("/tiny") == {}


def test_a_path_that_is_not_there_is_named(images: ImageMaker) -> None:
    image = images.make()
    with image.opened(Access.READ_ONLY) as fs:
        with pytest.raises(PathNotInFileSystemError, match="/lost"):
            fs.stat("/lost")
        assert not fs.exists("/lost")
        assert fs.exists("/lost+found")
        assert not fs.exists("/lost/below")


def test_a_path_through_a_file_or_a_link_is_not_followed(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.mkdir("/d")
        fs.create("/d/file")
        fs.symlink("/link", b"d")
        for path in ("/link/file", "/d/file/x"):
            with pytest.raises(PathNotInFileSystemError):
                fs.stat(path)
            assert not fs.exists(path)


@pytest.mark.parametrize("path", ["/a/../b", "..", "", "/a\0b"])
def test_what_is_no_path_is_refused(path: str, images: ImageMaker) -> None:
    image = images.make()
    with image.opened(Access.READ_ONLY) as fs, pytest.raises(InvalidArgumentError):
        fs.stat(path)


def test_a_closed_file_system_says_so(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.close()
        fs.close()
        with pytest.raises(InvalidArgumentError, match="closed"):
            fs.stat("/")
