from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyrep.engine.cancel import Cancel, Progress
from pyrep.errors import CancelledError, NoSpaceError, PathNotInFileSystemError
from pyrep.fs import (
    Access,
    ChangeKind,
    ExtFileSystem,
    FileKind,
    RestorePlan,
    RestoreResult,
    Selection,
    apply_restore,
    compare_trees,
    plan_restore,
)
from unit.fs.images import KIND_NAMES, KINDS, MIB, Image, ImageMaker, blocks_that_differ

every_kind = pytest.mark.parametrize(("kind", "options"), KINDS, ids=KIND_NAMES)
EVERYTHING = Selection(("/",))
SECOND = 10**9


def fill(fs: ExtFileSystem) -> None:
    """Give a file system some of everything."""
    fs.mkdir("/tree", mode=0o2750, uid=1000, gid=100_000)
    fs.mkdir("/tree/deep")
    fs.create("/tree/text", mode=0o4711, uid=70_000, gid=4_000_000_000)
    fs.write_difference("/tree/text", b"generation 1\n" * 5000)
    fs.link("/tree/text", "/tree/deep/same-text")
    fs.create("/tree/sparse")
    fs.write_difference("/tree/sparse", os.urandom(5000), offset=3 * MIB)
    fs.symlink("/tree/fast", b"text")
    fs.symlink("/tree/slow", b"/" + b"s" * 500)
    fs.mknod("/tree/pipe", kind=FileKind.FIFO, mode=0o600)
    fs.mknod("/tree/disk", kind=FileKind.BLOCK_DEVICE, rdev=(300, 70_000))
    fs.create(b"/tree/caf\xe9")
    fs.set_xattrs("/tree", {b"user.kind": b"tree"})
    fs.set_xattrs("/tree/text", {b"user.a": b"1", b"user.long": b"v" * 600})
    fs.set_attributes("/tree/text", mtime_ns=-5 * SECOND, flags=0x40)
    fs.create("/large")
    fs.write_difference("/large", os.urandom(4 * MIB))
    for number in range(300):
        fs.create(f"/tree/deep/{number:03}-{'n' * 40}")
    fs.set_attributes("/tree/deep", mtime_ns=1_000_000_000 * SECOND)


def make_pair(
    images: ImageMaker, kind: str = "ext4", options: tuple[str, ...] = ()
) -> tuple[Image, Image]:
    """Return a volume and its generation, alike."""
    volume = images.make(kind, options)
    with volume.opened() as fs:
        fill(fs)
    return volume, images.watch(volume.copy("generation"))


@contextmanager
def both(generation: Image, volume: Image) -> Generator[tuple[ExtFileSystem, ExtFileSystem]]:
    with (
        generation.opened(Access.READ_ONLY) as source,
        volume.opened() as target,
    ):
        yield source, target


def restore(
    generation: Image, volume: Image, selection: Selection, *, delete_extra: bool = False
) -> tuple[RestorePlan, RestoreResult]:
    with both(generation, volume) as (source, target):
        before = target.info
        plan = plan_restore(source, target, selection, delete_extra=delete_extra)
        result = apply_restore(plan, source, target)
        assert before.free_blocks - target.free_blocks <= plan.blocks_needed
        assert before.free_inodes - target.free_inodes <= plan.inodes_needed
        again = plan_restore(source, target, selection, delete_extra=delete_extra)
        assert again.is_empty, again.changes
    return plan, result


def differences(generation: Image, volume: Image) -> list[str]:
    with generation.opened(Access.READ_ONLY) as a, volume.opened(Access.READ_ONLY) as b:
        return [str(difference) for difference in compare_trees(a, b)]


@every_kind
def test_a_wrecked_tree_is_the_generations_again(
    kind: str, options: tuple[str, ...], images: ImageMaker, tmp_path: Path
) -> None:
    volume, generation = make_pair(images, kind, options)
    with volume.opened() as fs:
        fs.remove_tree("/tree/deep")
        fs.unlink("/tree/text")
        fs.write_difference("/tree/sparse", b"x" * 20_000)
        fs.truncate("/large", MIB)
        fs.write_difference("/large", os.urandom(100_000), offset=500_000)
        fs.unlink("/tree/slow")
        fs.symlink("/tree/slow", b"elsewhere")
        fs.unlink("/tree/disk")
        fs.mknod("/tree/disk", kind=FileKind.BLOCK_DEVICE, rdev=(8, 0))
        fs.unlink("/tree/pipe")
        fs.mkdir("/tree/pipe")
        fs.create("/tree/pipe/inside")
        fs.set_xattrs("/tree", {b"user.other": b"x" * 300})
        fs.set_attributes("/tree", mode=0o777)
        fs.create("/tree/extra")
    restore(generation, volume, EVERYTHING)
    assert differences(generation, volume) == ["/tree/extra: extra"]
    restore(generation, volume, EVERYTHING, delete_extra=True)
    assert differences(generation, volume) == []
    volume.check()
    with generation.opened(Access.READ_ONLY) as fs:
        large = fs.read("/large")
        sparse = fs.stat("/tree/sparse").blocks
    assert volume.dump("/large", tmp_path) == large
    assert volume.dump("/tree/deep/same-text", tmp_path) == b"generation 1\n" * 5000
    with volume.opened(Access.READ_ONLY) as fs:
        assert fs.stat("/tree/text").inode == fs.stat("/tree/deep/same-text").inode
        assert fs.stat("/tree/sparse").blocks == sparse


def test_nothing_is_written_when_nothing_differs(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with both(generation, volume) as (source, target):
        plan = plan_restore(source, target, EVERYTHING, delete_extra=True)
        assert plan.is_empty
        assert plan.files_selected > 300
        assert plan.bytes_selected > 4 * MIB
        assert apply_restore(plan, source, target).bytes_written == 0
    assert blocks_that_differ(generation, volume) == 0


def test_a_change_in_a_large_file_is_all_that_is_written(images: ImageMaker) -> None:
    volume, generation = make_pair(images, options=("-b", "4096"))
    with volume.opened() as fs:
        fs.write_difference("/large", os.urandom(8192), offset=2 * MIB)
    plan, result = restore(generation, volume, Selection(("/large",)))
    assert plan.bytes_differ == 8192
    # The file's time of change wasn't touched by the test: the data is all that differs.
    assert result.bytes_written == 8192
    assert blocks_that_differ(generation, volume) == 0


def test_a_deleted_tree_comes_back_to_the_blocks_that_still_hold_it(images: ImageMaker) -> None:
    volume, generation = make_pair(images, options=("-b", "4096"))
    with volume.opened() as fs:
        fs.remove_tree("/tree")
        fs.unlink("/large")
    plan, result = restore(generation, volume, EVERYTHING)
    assert differences(generation, volume) == []
    assert plan.bytes_differ > 4 * MIB
    assert result.bytes_written < 200_000  # metadata alone
    with generation.opened(Access.READ_ONLY) as a, volume.opened(Access.READ_ONLY) as b:
        inodes = [{stat.path: stat.inode for stat in fs.walk()} for fs in (a, b)]
    assert inodes[0] == inodes[1]


def test_a_file_system_that_is_no_copy_gets_the_files_too(images: ImageMaker) -> None:
    _, generation = make_pair(images)
    other = images.make("ext4", size_bytes=48 * MIB, name="other")
    with other.opened() as fs:
        fs.create("/mine")
        fs.write_difference("/mine", b"stays")
    restore(generation, other, Selection(("/tree", "/large")))
    assert differences(generation, other) == ["/mine: extra"]
    with other.opened(Access.READ_ONLY) as fs:
        assert fs.read("/mine") == b"stays"


def test_what_was_not_chosen_stays_as_it_is(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.write_difference("/large", b"newer")
        fs.unlink("/tree/sparse")
        fs.set_attributes("/tree", mode=0o700)
        before = {stat.path: stat for stat in fs.walk()}
    plan, _ = restore(generation, volume, Selection(("/tree/sparse",)))
    assert [(change.path, change.change) for change in plan.changes] == [
        (b"/tree/sparse", ChangeKind.CREATE)
    ]
    with volume.opened(Access.READ_ONLY) as fs:
        after = {stat.path: stat for stat in fs.walk()}
        assert fs.read("/large", 0, 5) == b"newer"
    del after[b"/tree/sparse"]
    tree = after.pop(b"/tree")
    old_tree = before.pop(b"/tree")
    assert after == before
    # A directory on the way keeps its attributes, but a name came: it notes the time.
    assert tree.mtime_ns > old_tree.mtime_ns
    tree = dataclasses.replace(tree, mtime_ns=0, ctime_ns=0)
    assert tree == dataclasses.replace(old_tree, mtime_ns=0, ctime_ns=0)


def test_directories_on_the_way_that_lack_are_made_like_the_sources(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.remove_tree("/tree")
    restore(generation, volume, Selection(("/tree/deep/00*",)))
    with generation.opened(Access.READ_ONLY) as a, volume.opened(Access.READ_ONLY) as b:
        for path in ("/tree", "/tree/deep"):
            wanted, made = a.stat(path), b.stat(path)
            assert (made.mode, made.uid, made.gid) == (wanted.mode, wanted.uid, wanted.gid)
            assert made.mtime_ns == wanted.mtime_ns
        assert b.xattrs("/tree") == {b"user.kind": b"tree"}
        assert len(b.walk("/tree")) == 11


def test_a_name_outside_the_selection_keeps_its_file(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.write_difference("/tree/text", b"NEWER")
    restore(generation, volume, Selection(("/tree/text",)))
    with volume.opened(Access.READ_ONLY) as fs:
        assert fs.read("/tree/text", 0, 12) == b"generation 1"
        assert fs.read("/tree/deep/same-text", 0, 5) == b"NEWER"
        assert fs.stat("/tree/text").inode != fs.stat("/tree/deep/same-text").inode
        assert fs.stat("/tree/deep/same-text").nlink == 1


def test_a_link_to_a_file_that_does_not_differ_stays(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.link("/tree/text", "/another")
    plan, result = restore(generation, volume, Selection(("/tree/text",)))
    assert plan.is_empty
    assert result.bytes_written == 0


def test_two_files_that_became_one_part_again(images: ImageMaker) -> None:
    volume = images.make()
    with volume.opened() as fs:
        for name in ("/a", "/b"):
            fs.create(name)
            fs.write_difference(name, b"alike")
            fs.set_attributes(name, mtime_ns=SECOND)
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        fs.unlink("/b")
        fs.link("/a", "/b")
    restore(generation, volume, EVERYTHING)
    assert differences(generation, volume) == []


def test_one_file_that_became_two_is_one_again(images: ImageMaker) -> None:
    volume = images.make()
    with volume.opened() as fs:
        fs.create("/a")
        fs.link("/a", "/b")
        fs.link("/a", "/c")
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        fs.unlink("/b")
        fs.create("/b")
        fs.unlink("/a")
    plan, _ = restore(generation, volume, EVERYTHING)
    assert differences(generation, volume) == []
    links = [change.path for change in plan.changes if change.change is ChangeKind.LINK]
    assert links == [b"/a", b"/b"]


@pytest.mark.parametrize("replacement", list(FileKind), ids=lambda kind: kind.name.lower())
@pytest.mark.parametrize("wanted", list(FileKind), ids=lambda kind: kind.name.lower())
def test_a_file_of_another_kind_gives_way(
    wanted: FileKind, replacement: FileKind, images: ImageMaker
) -> None:
    def make(fs: ExtFileSystem, kind: FileKind, *, content: bytes) -> None:
        match kind:
            case FileKind.REGULAR:
                fs.create("/path")
                fs.write_difference("/path", content)
            case FileKind.DIRECTORY:
                fs.mkdir("/path")
                fs.create(b"/path/" + content)
            case FileKind.SYMLINK:
                fs.symlink("/path", content)
            case _:
                rdev = (8, len(content)) if kind.is_device else (0, 0)
                fs.mknod("/path", kind=kind, rdev=rdev)
        fs.set_attributes("/path", mtime_ns=len(content) * SECOND)

    volume = images.make(size_bytes=4 * MIB)
    generation = images.make(size_bytes=4 * MIB, name="generation")
    with generation.opened() as fs:
        make(fs, wanted, content=b"source")
    with volume.opened() as fs:
        make(fs, replacement, content=b"the target's")
    restore(generation, volume, Selection(("/path",)), delete_extra=True)
    assert differences(generation, volume) == []


def test_a_link_in_the_way_to_a_chosen_file_gives_way_and_is_not_followed(
    images: ImageMaker,
) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.remove_tree("/tree")
        fs.mkdir("/elsewhere")
        fs.symlink("/tree", b"elsewhere")
    restore(generation, volume, Selection(("/tree/text",)))
    with volume.opened(Access.READ_ONLY) as fs:
        assert fs.stat("/tree").kind is FileKind.DIRECTORY
        assert fs.list("/elsewhere") == ()


def test_no_room_is_found_before_the_first_write(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.unlink("/large")
        fs.create("/filler")
        fs.write_difference("/filler", os.urandom((fs.free_blocks - 1000) * fs.info.block_bytes))
    before = volume.path.read_bytes()
    with both(generation, volume) as (source, target):
        with pytest.raises(NoSpaceError, match="no room in the file system of volume") as caught:
            plan_restore(source, target, Selection(("/large",)))
        assert caught.value.hint is not None
    assert volume.path.read_bytes() == before


def test_no_inode_is_found_before_the_first_write(images: ImageMaker) -> None:
    volume = images.make(options=("-N", "32"))
    with volume.opened() as fs:
        for number in range(10):
            fs.create(f"/{number}")
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        for number in range(10):
            fs.unlink(f"/{number}")
        for number in range(fs.free_inodes - 5):
            fs.create(f"/new-{number}")
    with (
        both(generation, volume) as (source, target),
        pytest.raises(NoSpaceError, match="10 new files are needed, 5 fit"),
    ):
        plan_restore(source, target, Selection(("/[0-9]",)))


def test_what_is_replaced_makes_room_for_what_replaces_it(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.unlink("/large")
        fs.mkdir("/large")
        fs.create("/large/filler")
        size = (fs.free_blocks - 100) * fs.info.block_bytes
        fs.write_difference("/large/filler", os.urandom(size))
    restore(generation, volume, Selection(("/large",)))
    assert differences(generation, volume) == []


@every_kind
def test_what_was_deleted_fits_into_an_almost_full_volume_again(
    kind: str, options: tuple[str, ...], images: ImageMaker
) -> None:
    volume = images.make(kind, options)
    with volume.opened() as fs:
        fill(fs)
        fs.create("/filler")
        # Besides the data, pointers to it: one block for each 256 of the smallest blocks.
        blocks = fs.free_blocks * 255 // 256 - 48
        fs.write_difference("/filler", os.urandom(blocks * fs.info.block_bytes))
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        fs.unlink("/large")
        fs.unlink("/tree/sparse")
    restore(generation, volume, EVERYTHING)
    assert differences(generation, volume) == []


def test_progress_is_told_and_reaches_its_total(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.unlink("/large")
    told: list[Progress] = []
    with both(generation, volume) as (source, target):
        plan = plan_restore(source, target, EVERYTHING)
        apply_restore(plan, source, target, progress=told.append)
    assert told[-1].done_bytes == told[-1].total_bytes == 4 * MIB
    assert "writing /large" in [report.what for report in told]


def test_a_cancelled_restore_leaves_a_sound_target_and_can_be_done_again(
    images: ImageMaker,
) -> None:
    volume, generation = make_pair(images)
    with volume.opened() as fs:
        fs.remove_tree("/tree")
        fs.unlink("/large")
    cancel = Cancel()
    told: list[Progress] = []

    def count_and_cancel(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 3:
            cancel.cancel()

    with both(generation, volume) as (source, target):
        plan = plan_restore(source, target, EVERYTHING)
        with pytest.raises(CancelledError):
            apply_restore(plan, source, target, progress=count_and_cancel, cancel=cancel)
    volume.check()
    assert differences(generation, volume) != []
    restore(generation, volume, EVERYTHING)
    assert differences(generation, volume) == []


def test_a_cancelled_plan_writes_nothing(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    cancel = Cancel()
    cancel.cancel()
    with both(generation, volume) as (source, target), pytest.raises(CancelledError):
        plan_restore(source, target, EVERYTHING, cancel=cancel)


def test_a_selection_that_matches_nothing_is_refused(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with both(generation, volume) as (source, target), pytest.raises(PathNotInFileSystemError):
        plan_restore(source, target, Selection(("/large", "/none")))


def test_the_systems_own_directory_is_never_extra(images: ImageMaker) -> None:
    volume, generation = make_pair(images)
    with generation.opened() as fs:
        fs.rmdir("/lost+found")
    restore(generation, volume, EVERYTHING, delete_extra=True)
    with volume.opened(Access.READ_ONLY) as fs:
        assert fs.exists("/lost+found")
