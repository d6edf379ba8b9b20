from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from pyrep.errors import InvalidArgumentError, PathNotInFileSystemError
from pyrep.fs import Access, FileBrowser, FileKind
from unit.fs.images import MIB, ImageMaker

DATA = os.urandom(3 * MIB + 17)


@pytest.fixture
def browser(images: ImageMaker) -> Iterator[FileBrowser]:
    image = images.make()
    with image.opened() as fs:
        fs.mkdir("/docs")
        fs.mkdir("/docs/deep")
        for name in (b"/docs/one.txt", b"/docs/deep/two.txt", b"/docs/caf\xe9.txt", b"/big"):
            fs.create(name)
        fs.write_difference("/big", DATA)
        fs.symlink("/link", b"big")
        fs.set_attributes("/docs/one.txt", mtime_ns=10**18)
    with image.opened(Access.READ_ONLY) as fs:
        yield FileBrowser(fs)


def test_ls_lists_in_order_and_a_file_is_itself(browser: FileBrowser) -> None:
    names = [stat.path for stat in browser.ls("/docs")]
    assert names == [b"/docs/caf\xe9.txt", b"/docs/deep", b"/docs/one.txt"]
    assert [stat.path for stat in browser.ls("/big")] == [b"/big"]
    with pytest.raises(PathNotInFileSystemError):
        browser.ls("/nothing")


@pytest.mark.parametrize("piece", [1000, MIB, 64 * MIB])
def test_cat_yields_all_in_pieces(browser: FileBrowser, piece: int) -> None:
    pieces = list(browser.cat("/big", piece_bytes=piece))
    assert b"".join(pieces) == DATA
    assert max(len(one) for one in pieces) <= piece


def test_cat_yields_a_part(browser: FileBrowser) -> None:
    assert b"".join(browser.cat("/big", offset=MIB, length=99)) == DATA[MIB : MIB + 99]
    assert not list(browser.cat("/big", offset=4 * MIB))


@pytest.mark.parametrize("path", ["/docs", "/link"])
def test_cat_of_what_has_no_content_is_refused(browser: FileBrowser, path: str) -> None:
    with pytest.raises(InvalidArgumentError, match="is a"):
        list(browser.cat(path))


def test_stat_and_readlink_do_not_follow_links(browser: FileBrowser) -> None:
    assert browser.stat("/link").kind is FileKind.SYMLINK
    assert browser.readlink("/link") == b"big"
    assert browser.xattrs("/big") == {}


def test_find_by_pattern_kind_size_and_time(browser: FileBrowser) -> None:
    def paths(pattern: str = "/**", **filters: object) -> set[bytes]:
        return {stat.path for stat in browser.find(pattern, **filters)}  # type: ignore[arg-type]

    when = datetime.fromtimestamp(10**9, tz=UTC)
    assert paths("**/*.txt") == {b"/docs/one.txt", b"/docs/deep/two.txt", b"/docs/caf\xe9.txt"}
    assert paths("/docs/*.txt") == {b"/docs/one.txt", b"/docs/caf\xe9.txt"}
    assert paths("/nothing*") == set()
    assert paths(kinds={FileKind.SYMLINK}) == {b"/link"}
    assert paths(kinds={FileKind.REGULAR}, min_size=1) == {b"/big"}
    assert b"/big" not in paths(max_size=MIB)
    assert paths(kinds={FileKind.REGULAR}, older_than=when + timedelta(seconds=1)) == {
        b"/docs/one.txt"
    }
    assert b"/docs/one.txt" not in paths(newer_than=when)


def test_a_time_without_a_zone_is_refused(browser: FileBrowser) -> None:
    with pytest.raises(InvalidArgumentError, match="zone"):
        browser.find(newer_than=datetime(2020, 1, 1))  # noqa: DTZ001
