from __future__ import annotations

from collections.abc import Callable

import pytest

from pyrep.errors import PathNotInFileSystemError, UnsupportedFeatureError
from pyrep.fs import (
    Access,
    Aspect,
    ExtFileSystem,
    FileKind,
    Selection,
    WholeVolume,
    compare_trees,
    holds_exactly,
)
from unit.fs.images import Image, ImageMaker


def make_pair(images: ImageMaker) -> tuple[Image, Image]:
    volume = images.make()
    with volume.opened() as fs:
        fs.create("/file")
        fs.write_difference("/file", b"x" * 10_000)
        fs.mkdir("/d")
        fs.create("/d/one")
        fs.link("/d/one", "/d/two")
        fs.symlink("/link", b"file")
        fs.mknod("/disk", kind=FileKind.BLOCK_DEVICE, rdev=(8, 1))
    return volume, images.watch(volume.copy("other"))


def change_link(fs: ExtFileSystem) -> None:
    stat = fs.stat("/link")
    fs.unlink("/link")
    fs.symlink("/link", b"d")
    fs.set_attributes("/link", mtime_ns=stat.mtime_ns)


def change_device(fs: ExtFileSystem) -> None:
    stat = fs.stat("/disk")
    fs.unlink("/disk")
    fs.mknod("/disk", kind=FileKind.BLOCK_DEVICE, rdev=(8, 2))
    fs.set_attributes("/disk", mtime_ns=stat.mtime_ns)


def change_kind(fs: ExtFileSystem) -> None:
    fs.unlink("/link")
    fs.create("/link")


def part_links(fs: ExtFileSystem) -> None:
    stat = fs.stat("/d/two")
    directory = fs.stat("/d")
    fs.unlink("/d/two")
    fs.create("/d/two")
    fs.set_attributes("/d/two", mtime_ns=stat.mtime_ns)
    fs.set_attributes("/d", mtime_ns=directory.mtime_ns)


CHANGES: dict[Aspect, tuple[str, Callable[[ExtFileSystem], object]]] = {
    Aspect.CONTENT: ("/file", lambda fs: fs.write_difference("/file", b"y", offset=9_999)),
    Aspect.MODE: ("/file", lambda fs: fs.set_attributes("/file", mode=0o4755)),
    Aspect.OWNER: ("/d", lambda fs: fs.set_attributes("/d", gid=5)),
    Aspect.MTIME: ("/d", lambda fs: fs.set_attributes("/d", mtime_ns=1)),
    Aspect.FLAGS: ("/file", lambda fs: fs.set_attributes("/file", flags=0x40)),
    Aspect.XATTRS: ("/file", lambda fs: fs.set_xattrs("/file", {b"user.a": b""})),
    Aspect.TARGET: ("/link", change_link),
    Aspect.DEVICE: ("/disk", change_device),
    Aspect.KIND: ("/link", change_kind),
    Aspect.MISSING: ("/link", lambda fs: fs.unlink("/link")),
    Aspect.EXTRA: ("/more", lambda fs: fs.create("/more")),
}


@pytest.mark.parametrize("aspect", CHANGES, ids=lambda aspect: aspect.value)
def test_every_way_to_differ_is_found_and_named(aspect: Aspect, images: ImageMaker) -> None:
    volume, other = make_pair(images)
    path, change = CHANGES[aspect]
    with other.opened() as fs:
        change(fs)
    with volume.opened(Access.READ_ONLY) as a, other.opened(Access.READ_ONLY) as b:
        found = compare_trees(a, b)
        assert [(found.path, found.aspect) for found in found] == [(path.encode(), aspect)]
        assert str(found[0]).startswith(f"{path}: {aspect.value}")


def test_names_that_are_no_longer_one_file_are_found(images: ImageMaker) -> None:
    volume, other = make_pair(images)
    with other.opened() as fs:
        part_links(fs)
    with volume.opened(Access.READ_ONLY) as a, other.opened(Access.READ_ONLY) as b:
        assert [(found.path, found.aspect) for found in compare_trees(a, b)] == [
            (b"/d/one", Aspect.LINKS),
            (b"/d/two", Aspect.LINKS),
        ]


def test_a_length_in_a_hole_is_content(images: ImageMaker) -> None:
    volume, other = make_pair(images)
    with other.opened() as fs:
        fs.truncate("/file", 20_000)
    with volume.opened(Access.READ_ONLY) as a, other.opened(Access.READ_ONLY) as b:
        assert [found.aspect for found in compare_trees(a, b)] == [Aspect.CONTENT]


def test_zeros_and_a_hole_are_the_same_content(images: ImageMaker) -> None:
    volume, other = make_pair(images)
    with volume.opened() as fs:
        fs.truncate("/file", 100_000)
    with other.opened() as fs:
        fs.write_difference("/file", b"x" * 10_000 + b"1" * 90_000)
        fs.write_difference("/file", bytes(90_000), offset=10_000)
    with volume.opened(Access.READ_ONLY) as a, other.opened(Access.READ_ONLY) as b:
        assert a.stat("/file").blocks < b.stat("/file").blocks
        assert compare_trees(a, b) == []


def test_file_systems_of_other_blocks_are_not_compared(images: ImageMaker) -> None:
    volume, _ = make_pair(images)
    other = images.make(options=("-b", "4096"), name="4096")
    with other.opened() as fs:
        fs.create("/file")
    with (
        volume.opened(Access.READ_ONLY) as a,
        other.opened(Access.READ_ONLY) as b,
        pytest.raises(UnsupportedFeatureError, match="block sizes"),
    ):
        compare_trees(a, b)


def decide(source: Image, target: Image, *patterns: str) -> WholeVolume:
    with source.opened(Access.READ_ONLY) as a, target.opened(Access.READ_ONLY) as b:
        return holds_exactly(a, b, Selection(patterns))


def test_all_files_are_a_whole_volume_however_they_are_chosen(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    assert decide(generation, volume, "/").decision
    assert decide(generation, volume, "/**").decision
    assert decide(generation, volume, "/d", "/file", "/link", "/disk").decision


def test_one_file_that_is_not_chosen_makes_it_files(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    found = decide(generation, volume, "/d", "/file", "/link")
    assert not found.decision
    assert found.reason == "1 files of other aren't chosen, such as /disk"


def test_a_file_that_the_generation_lacks_makes_it_files(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.create("/d/newer")
    found = decide(generation, volume, "/")
    assert not found.decision
    assert "such as /d/newer" in found.reason


def test_files_that_the_target_lost_leave_it_a_whole_volume(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.remove_tree("/d")
        fs.write_difference("/file", b"changed")
    assert decide(generation, volume, "/").decision


def test_a_choice_of_nothing_is_refused(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with pytest.raises(PathNotInFileSystemError):
        decide(generation, volume, "/none")
