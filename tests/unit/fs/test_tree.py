from __future__ import annotations

from pyrep.fs import Access, FileTree, read_tree
from unit.fs.images import ImageMaker


def test_a_tree_reads_as_far_as_it_is_asked(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.mkdir("/a")
        fs.mkdir("/a/b")
        fs.create("/a/b/c")
        fs.create("/a-c")
        tree = FileTree(fs)
        found = tree.get(b"/a/b/c")
        assert found is not None
        assert found.path == b"/a/b/c"
        assert tree.get(b"/a/b/none") is None
        assert tree.get(b"/a-c/below") is None
        assert [stat.path for stat in tree.below(tree.root)] == [
            b"/a",
            b"/a-c",
            b"/a/b",
            b"/a/b/c",
            b"/lost+found",
        ]
        assert [stat.path for stat in tree.above(b"/a/b/c")] == [b"/", b"/a", b"/a/b"]
        assert [stat.path for stat in tree.children(tree.root)] == [b"/a", b"/a-c", b"/lost+found"]


def test_a_directory_that_was_listed_alone_is_listed_again_with_all_below(
    images: ImageMaker,
) -> None:
    image = images.make()
    with image.opened() as fs:
        fs.mkdir("/a")
        fs.create("/a/b")
        tree = FileTree(fs)
        assert tree.get(b"/a") is not None
        assert [stat.path for stat in tree.below(tree.root)] == [b"/a", b"/a/b", b"/lost+found"]
        assert len(tree.children(tree.root)) == 2


def test_lost_found_belongs_to_nobody_until_something_is_in_it(images: ImageMaker) -> None:
    image = images.make()
    with image.opened() as fs:
        assert read_tree(fs) == {}
        fs.create("/lost+found/#12")
    with image.opened(Access.READ_ONLY) as fs:
        assert sorted(read_tree(fs)) == [b"/lost+found", b"/lost+found/#12"]
