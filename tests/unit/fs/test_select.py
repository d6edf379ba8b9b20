from __future__ import annotations

from collections.abc import Generator

import pytest

from pyrep.errors import InvalidArgumentError, PathNotInFileSystemError, format_error
from pyrep.fs import ExtFileSystem, FileTree, Selection
from unit.fs.images import ImageMaker


@pytest.fixture
def fs(images: ImageMaker) -> Generator[ExtFileSystem]:
    image = images.make()
    with image.opened() as opened:
        for directory in ("/etc", "/etc/app", "/etc/app/deep", "/var", "/var/log"):
            opened.mkdir(directory)
        for file in (
            "/etc/app/one.conf",
            "/etc/app/two.conf",
            "/etc/app/.hidden.conf",
            "/etc/app/deep/three.conf",
            "/var/log/a.log",
            "/var/log/b.log",
            "/file[1]",
            "/file1",
        ):
            opened.create(file)
        opened.create(b"/caf\xe9")
        opened.symlink("/shortcut", b"etc/app")
        yield opened


def chosen(fs: ExtFileSystem, *patterns: str | bytes) -> list[bytes]:
    return [stat.path for stat in Selection(patterns).choose(FileTree(fs)).files]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("/etc/app/one.conf", ["/etc/app/one.conf"]),
        ("etc/app/one.conf", ["/etc/app/one.conf"]),
        ("/etc/app/deep", ["/etc/app/deep", "/etc/app/deep/three.conf"]),
        ("/etc/app/???.conf", ["/etc/app/one.conf", "/etc/app/two.conf"]),
        ("/*/log/[b-c].log", ["/var/log/b.log"]),
        ("/**/three.conf", ["/etc/app/deep/three.conf"]),
        ("/**/one.conf", ["/etc/app/one.conf"]),
        ("/etc/**/*.log", None),
        ("/etc/app/deep/**", ["/etc/app/deep/three.conf"]),
        ("/file[1]", ["/file[1]"]),
        ("/file?1?", ["/file[1]"]),
        ("/shortcut", ["/shortcut"]),
    ],
)
def test_paths_and_patterns_choose(
    pattern: str, expected: list[str] | None, fs: ExtFileSystem
) -> None:
    if expected is None:
        with pytest.raises(PathNotInFileSystemError):
            chosen(fs, pattern)
    else:
        assert chosen(fs, pattern) == [path.encode() for path in expected]


def test_a_star_matches_a_leading_dot(fs: ExtFileSystem) -> None:
    assert b"/etc/app/.hidden.conf" in chosen(fs, "/etc/app/*.conf")


def test_names_that_are_not_utf8_are_chosen_as_bytes_and_as_str(fs: ExtFileSystem) -> None:
    assert chosen(fs, b"/caf\xe9") == [b"/caf\xe9"]
    assert chosen(fs, "/caf\udce9") == [b"/caf\xe9"]
    assert chosen(fs, b"/caf?") == [b"/caf\xe9"]


def test_the_root_chooses_everything(fs: ExtFileSystem) -> None:
    assert chosen(fs, "/") == [b"/", *sorted(stat.path for stat in fs.walk())]


def test_the_directories_on_the_way_are_told_apart(fs: ExtFileSystem) -> None:
    found = Selection(("/etc/app/deep", "/var/log/a.log")).choose(FileTree(fs))
    assert [stat.path for stat in found.parents] == [
        b"/",
        b"/etc",
        b"/etc/app",
        b"/var",
        b"/var/log",
    ]


def test_what_is_chosen_twice_counts_once(fs: ExtFileSystem) -> None:
    assert chosen(fs, "/var", "/var/log", "/var/log/*") == [
        b"/var",
        b"/var/log",
        b"/var/log/a.log",
        b"/var/log/b.log",
    ]


@pytest.mark.parametrize("pattern", ["/etc/../var", "..", "/var/log/.."])
def test_a_path_that_leads_out_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"'\.\.'"):
        Selection((pattern,))


def test_no_path_at_all_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no path"):
        Selection(())


def test_a_path_through_a_symbolic_link_is_refused_and_the_link_named(fs: ExtFileSystem) -> None:
    with pytest.raises(PathNotInFileSystemError, match="/shortcut, a symbolic link to etc/app"):
        chosen(fs, "/shortcut/one.conf")


def test_a_path_that_is_not_there_comes_with_similar_names(fs: ExtFileSystem) -> None:
    with pytest.raises(PathNotInFileSystemError, match=r"/etc/app/oen\.conf") as caught:
        chosen(fs, "/var", "/etc/app/oen.conf")
    assert "one.conf" in format_error(caught.value)


def test_a_path_below_a_file_is_not_there(fs: ExtFileSystem) -> None:
    with pytest.raises(PathNotInFileSystemError, match="matches nothing"):
        chosen(fs, "/file1/below")
