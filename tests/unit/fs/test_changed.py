from __future__ import annotations

import os

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.fs import Access, ChangedFiles, files_of_extents, merged
from unit.fs.images import FEATURES, KINDS, MIB, Image, ImageMaker


def ranges_that_differ(one: Image, other: Image, chunk: int = 4096) -> list[tuple[int, int]]:
    left, right = one.path.read_bytes(), other.path.read_bytes()
    return [
        (at, chunk)
        for at in range(0, len(left), chunk)
        if left[at : at + chunk] != right[at : at + chunk]
    ]


def names_of(image: Image, ranges: list[tuple[int, int]]) -> ChangedFiles:
    with image.opened(Access.READ_ONLY) as fs:
        return files_of_extents(fs, ranges)


@pytest.mark.parametrize(
    ("kind", "options"), [KINDS[1], KINDS[3], FEATURES[3], FEATURES[5]], ids=str
)
def test_files_are_named_by_the_bytes_they_hold(
    kind: str, options: tuple[str, ...], images: ImageMaker
) -> None:
    image = images.make(kind, options)
    with image.opened() as fs:
        fs.mkdir("/d")
        for name in ("still", "changed", "gone"):
            fs.create(f"/d/{name}")
            fs.write_difference(f"/d/{name}", os.urandom(300_000))
        fs.link("/d/changed", "/second")
    before = images.watch(image.copy("before"))
    with image.opened() as fs:
        fs.write_difference("/d/changed", b"x" * 5000, offset=200_000)
        fs.unlink("/d/gone")
        fs.create("/d/sparse")
        fs.write_difference("/d/sparse", b"end", offset=5 * MIB)
    ranges = ranges_that_differ(before, image)
    found = names_of(image, ranges)
    assert {b"/d/changed", b"/second", b"/d/sparse"} == set(found.files)
    assert b"/d" in found.directories
    assert found.file_bytes + found.metadata_bytes + found.free_bytes == 4096 * len(ranges)
    assert found.paths == tuple(sorted({*found.files, *found.directories}))
    assert not found.is_estimate


def test_what_a_removed_file_held_is_free(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    with image.opened() as fs:
        fs.create("/gone")
        fs.write_difference("/gone", b"x" * 40_960)
        first = fs.handle.first_block(fs.stat("/gone").inode)
        held = files_of_extents(fs, [(first * 4096, 4096)])
        fs.unlink("/gone")
    assert held.files == (b"/gone",)
    found = names_of(image, [(first * 4096, 4096)])
    assert (found.files, found.free_bytes) == ((), 4096)


def test_the_superblock_is_metadata_and_what_lies_behind_the_end_is_free(
    images: ImageMaker,
) -> None:
    image = images.make()
    found = names_of(image, [(1024, 1024), (32 * MIB, 512)])
    assert (found.metadata_bytes, found.free_bytes, found.paths) == (1024, 512, ())


def test_the_journal_is_metadata(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    with image.opened(Access.READ_ONLY) as fs:
        journal = fs.handle.first_block(8)
        assert files_of_extents(fs, [(journal * 4096, 4096)]).metadata_bytes == 4096


def test_a_file_inside_its_inode_is_named_when_its_inode_is_touched(images: ImageMaker) -> None:
    image = images.make(options=("-O", "inline_data"))
    with image.opened() as fs:
        fs.create("/small")
        fs.write_difference("/small", b"inside")
    before = images.watch(image.copy("before"))
    with image.opened() as fs:
        fs.write_difference("/small", b"INSIDE")
    assert names_of(image, ranges_that_differ(before, image)).files == (b"/small",)


def test_the_map_of_a_file_is_the_files(images: ImageMaker) -> None:
    image = images.make("ext2", ("-b", "1024"))
    with image.opened() as fs:
        fs.create("/file")
        fs.write_difference("/file", b"x" * 100_000)
    pointers = int(image.ask("stat /file").split("(IND):")[1].split(",")[0])
    assert names_of(image, [(pointers * 1024, 1024)]).files == (b"/file",)


def test_the_root_is_named_when_names_in_it_change(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    before = images.watch(image.copy("before"))
    with image.opened() as fs:
        fs.create("/new")
    found = names_of(image, ranges_that_differ(before, image))
    assert found.directories == (b"/",)


def test_ranges_are_merged() -> None:
    assert merged([(10, 5), (0, 4), (4, 2), (12, 9), (30, 0)]) == [(0, 6), (10, 11)]


def test_a_range_that_is_none_is_refused(images: ImageMaker) -> None:
    with pytest.raises(InvalidArgumentError, match="not a range"):
        names_of(images.make(), [(-1, 4)])
