from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pyrep.fs import Access, Aspect, ChangeKind, ExtFileSystem, PathChange, diff_trees
from pyrep.fs.ext_delta import Delta
from unit.fs.images import Image, ImageMaker


def make_two(images: ImageMaker, change: Callable[[ExtFileSystem], None]) -> tuple[Image, Image]:
    later = images.make(options=("-b", "4096"))
    with later.opened() as fs:
        for name in ("/a", "/b", "/c"):
            fs.create(name)
            fs.write_difference(name, os.urandom(20_000))
        fs.symlink("/link", b"a")
    earlier = images.watch(later.copy("earlier"))
    with later.opened() as fs:
        change(fs)
    return earlier, later


def diff(
    earlier: Image, later: Image, changed: list[tuple[int, int]] | None = None
) -> dict[bytes, PathChange]:
    with earlier.opened(Access.READ_ONLY) as a, later.opened(Access.READ_ONLY) as b:
        return {one.path: one for one in diff_trees(a, b, changed=changed)}


def test_each_path_is_told_with_what_changed(images: ImageMaker) -> None:
    def change(fs: ExtFileSystem) -> None:
        fs.unlink("/a")
        fs.create("/new")
        fs.write_difference("/b", b"x" * 4096, offset=8192)
        fs.set_attributes("/c", mode=0o600, uid=7)
        fs.unlink("/link")
        fs.symlink("/link", b"elsewhere")

    found = diff(*make_two(images, change))
    assert {path: one.change for path, one in found.items()} == {
        b"/a": ChangeKind.REMOVE,
        b"/b": ChangeKind.CONTENT,
        b"/c": ChangeKind.ATTRIBUTES,
        b"/link": ChangeKind.CONTENT,
        b"/new": ChangeKind.CREATE,
    }
    assert found[b"/b"].bytes_differ == 4096
    assert set(found[b"/c"].aspects) == {Aspect.MODE, Aspect.OWNER}
    assert found[b"/a"].before is not None
    assert found[b"/a"].after is None


def test_another_kind_under_the_name_is_a_replacement(images: ImageMaker) -> None:
    def change(fs: ExtFileSystem) -> None:
        fs.unlink("/a")
        fs.mkdir("/a")

    assert diff(*make_two(images, change))[b"/a"].change is ChangeKind.REPLACE


def test_a_file_outside_what_changed_is_not_read(
    images: ImageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, later = make_two(images, lambda fs: fs.set_attributes("/c", mode=0o600))
    monkeypatch.setattr(Delta, "compare", None)
    assert set(diff(earlier, later, changed=[(0, 4096)])) == {b"/c"}
    with later.opened(Access.READ_ONLY) as fs:
        first = fs.handle.first_block(fs.stat("/b").inode) * 4096
    with pytest.raises(TypeError):  # it is read: the call isn't there
        diff(earlier, later, changed=[(first + 8000, 1)])


def test_what_moved_is_compared_even_outside_what_changed(images: ImageMaker) -> None:
    def change(fs: ExtFileSystem) -> None:
        fs.create("/d")
        fs.write_difference("/d", os.urandom(20_000))
        fs.unlink("/a")
        fs.link("/d", "/a")

    assert diff(*make_two(images, change), changed=[])[b"/a"].change is ChangeKind.CONTENT
