"""Random changes beside a model of them; the seed in a test's name repeats it."""

from __future__ import annotations

import contextlib
import random

import pytest

from pyrep.errors import ExistsError, NoSpaceError
from pyrep.fs import (
    Access,
    Aspect,
    ExtFileSystem,
    FileKind,
    FileStat,
    FileTree,
    Selection,
    apply_restore,
    compare_trees,
    plan_restore,
)
from unit.fs.images import FEATURES, KINDS, MIB, Image, ImageMaker

CASES = [(seed, KINDS[seed % len(KINDS)]) for seed in range(12)]
CASES += [(seed, kind) for seed, kind in enumerate(FEATURES)]
cases = pytest.mark.parametrize(
    ("seed", "made_as"),
    CASES,
    ids=[f"{seed}-{' '.join((kind, *opts))}" for seed, (kind, opts) in CASES],
)
Kind = tuple[str, tuple[str, ...]]


class Author:
    """Makes random changes to a file system."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _some_path(self, directories: list[bytes]) -> bytes:
        directory = self._random.choice(directories).rstrip(b"/")
        return (
            directory
            + b"/"
            + self._random.choice(b"abcdefgh").to_bytes() * self._random.choice([1, 1, 60])
        )

    def _data(self) -> bytes:
        length = self._random.choice([1, 700, 5000, 70_000])
        return self._random.choice([self._random.randbytes(length), bytes(length)])

    def change(self, fs: ExtFileSystem, count: int) -> None:
        """Make changes; what exists or doesn't fit is skipped."""
        for _ in range(count):
            with contextlib.suppress(ExistsError, NoSpaceError):
                self._change_once(fs)

    def _change_once(self, fs: ExtFileSystem) -> None:
        found = [stat for stat in fs.walk() if stat.path != b"/lost+found"]
        directories = [s.path for s in found if s.kind is FileKind.DIRECTORY]
        files = [s.path for s in found if s.kind is FileKind.REGULAR]
        path = self._some_path([b"/", *directories])
        match self._random.randrange(10):
            case 0:
                fs.create(path, mode=0o4711, uid=self._random.randrange(2**32))
            case 1:
                fs.mkdir(path)
            case 2:
                fs.symlink(path, b"t" * self._random.choice([5, 200]))
            case 3:
                fs.mknod(path, kind=FileKind.FIFO)
            case _ if not files:
                fs.create(path)
            case 4 | 5:
                where = self._random.choice([0, 4096 * 3, 60_001, 400_000])
                fs.write_difference(self._random.choice(files), self._data(), offset=where)
            case 6:
                fs.truncate(self._random.choice(files), self._random.randrange(100_000))
            case 7:
                fs.link(self._random.choice(files), path)
            case 8:
                sizes = self._random.sample([0, 10, 300], 2)
                times = 60 if fs.info.has_value_inodes else 1
                attributes = {b"user.%d" % size: b"v" * size * times for size in sizes}
                fs.set_xattrs(self._random.choice(files), attributes)
            case _:
                self._remove(fs, self._random.choice(found))

    def _remove(self, fs: ExtFileSystem, stat: FileStat) -> None:
        if stat.kind is FileKind.DIRECTORY:
            fs.remove_tree(stat.path)
        else:
            fs.unlink(stat.path)


@cases
def test_content_is_what_the_model_says(seed: int, made_as: Kind, images: ImageMaker) -> None:
    rng = random.Random(seed)
    kind, options = made_as
    image = images.make(kind, options, size_bytes=16 * MIB)
    model: dict[bytes, bytearray] = {}
    for _ in range(3):
        with image.opened() as fs:
            for _ in range(60):
                path = b"/" + rng.choice(b"abcdef").to_bytes()
                held = model.get(path)
                if held is None:
                    fs.create(path)
                    model[path] = bytearray()
                elif rng.random() < 0.1:
                    fs.unlink(path)
                    del model[path]
                elif rng.random() < 0.2:
                    size = rng.randrange(300_000)
                    fs.truncate(path, size)
                    del held[size:]
                    held.extend(bytes(size - len(held)))
                else:
                    at = rng.choice([0, 1023, 50_000, 280_000, 700_000])
                    data = rng.choice([rng.randbytes(rng.randrange(1, 9000)), bytes(9000)])
                    fs.write_difference(path, data, offset=at)
                    held.extend(bytes(max(0, at + len(data) - len(held))))
                    held[at : at + len(data)] = data
            for path, held in model.items():
                assert fs.read(path) == held
        image.check()


def restore_all(generation: Image, volume: Image) -> None:
    with generation.opened(Access.READ_ONLY) as source, volume.opened() as target:
        before = target.info
        plan = plan_restore(source, target, Selection(("/",)), delete_extra=True)
        apply_restore(plan, source, target)
        assert before.free_blocks - target.free_blocks <= plan.blocks_needed
        assert before.free_inodes - target.free_inodes <= plan.inodes_needed
        assert compare_trees(source, target) == []
        assert plan_restore(source, target, Selection(("/",)), delete_extra=True).is_empty


@cases
def test_any_later_state_is_restored_to_the_generation(
    seed: int, made_as: Kind, images: ImageMaker
) -> None:
    author = Author(seed)
    kind, options = made_as
    volume = images.make(kind, options, size_bytes=16 * MIB)
    with volume.opened() as fs:
        author.change(fs, 120)
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        author.change(fs, 80)
    restore_all(generation, volume)


@pytest.mark.parametrize(("seed", "made_as"), CASES[:12])
def test_a_part_is_restored_and_the_rest_is_as_it_was(
    seed: int, made_as: Kind, images: ImageMaker
) -> None:
    author = Author(seed)
    kind, options = made_as
    volume = images.make(kind, options, size_bytes=16 * MIB)
    with volume.opened() as fs:
        author.change(fs, 120)
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        author.change(fs, 80)
    before = images.watch(volume.copy("before"))
    part = Selection((b"/[a-d]*",))
    with generation.opened(Access.READ_ONLY) as source, volume.opened() as target:
        chosen = {stat.path for stat in part.choose(FileTree(source)).files}
        plan = plan_restore(source, target, part)
        apply_restore(plan, source, target)
        left = [found for found in compare_trees(source, target) if found.path in chosen]
    # A name outside the part may keep the newer file: the two are no longer one then.
    assert [found for found in left if found.aspect is not Aspect.LINKS] == []
    changed = {change.path for change in plan.changes}
    with before.opened(Access.READ_ONLY) as a, volume.opened(Access.READ_ONLY) as b:
        others = [
            found
            for found in compare_trees(a, b)
            if found.path not in changed and found.aspect is not Aspect.LINKS
        ]
    gone_with_their_directory = [
        found for found in others if any(found.path.startswith(path + b"/") for path in changed)
    ]
    assert [found for found in others if found not in gone_with_their_directory] == []
