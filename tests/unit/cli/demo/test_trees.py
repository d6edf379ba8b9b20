"""The ledger's author and the comparison with it, on a real file system: each harm is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyrep._core import FileIo, Io, OverlayIo
from pyrep.cli.demo.author import Author
from pyrep.cli.demo.bigfile import BigFile
from pyrep.cli.demo.content import write_oddities
from pyrep.cli.demo.ledger import Ledger
from pyrep.cli.demo.tools import Tools
from pyrep.cli.demo.trees import compare_with_ledger
from pyrep.errors import MissingLibraryError
from pyrep.fs import Access, ExtFileSystem
from pyrep.model import MIB

_SIZE = 512 * MIB  # from here on mke2fs takes blocks of 4 KiB; nearly all of it stays a hole
_SPARSE = 8 * MIB
_TOP = b"/odd"


@contextmanager
def opened(io: Io, access: Access = Access.READ_WRITE) -> Iterator[ExtFileSystem]:
    with ExtFileSystem.open(io.address, access=access, name="image") as fs:
        yield fs


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ledger]:
    """Return a file system of every kind of file, and what its author noted."""
    try:
        tools = Tools.find()
    except MissingLibraryError as error:
        pytest.skip(str(error.hint))
    path = tmp_path_factory.mktemp("image") / "image"
    tools.make_ext4(path, _SIZE)
    ledger = Ledger()
    with FileIo(path) as io, opened(io) as fs, Author(fs, ledger) as author:
        write_oddities(author, _TOP, seed=1, sparse_bytes=_SPARSE)
        author.file(b"/big", BigFile(seed=1, size=3 * MIB).spans())
    assert not tools.check_ext4(path)
    return path, ledger


@pytest.fixture
def io(image: tuple[Path, Ledger]) -> Iterator[Io]:
    """Return a view of the image, which never changes."""
    with FileIo(image[0], locked=False) as file, OverlayIo(file) as view:
        yield view


@pytest.fixture
def ledger(image: tuple[Path, Ledger]) -> Ledger:
    return image[1].copy()


def differences(io: Io, ledger: Ledger) -> list[str]:
    with opened(io, Access.READ_ONLY) as fs:
        return compare_with_ledger(fs, ledger)


def test_what_was_written_is_what_was_noted(io: Io, ledger: Ledger) -> None:
    assert differences(io, ledger) == []
    kinds = {record.kind.name for record in ledger.records.values()}
    assert len(kinds) == 7
    assert any(record.xattrs for record in ledger.records.values())


def test_changes_are_noted_as_they_are_made(io: Io, ledger: Ledger) -> None:
    patch = b"changed" * 1000
    big = BigFile(seed=1, size=3 * MIB, patches={MIB - 10: patch})
    with opened(io) as fs, Author(fs, ledger) as author:
        spans = {index: big.span(index) for index in big.touched(MIB - 10, len(patch))}
        author.patch(b"/big", MIB - 10, patch, spans)
        author.rewrite(_TOP + b"/links/deep/second name", b"shorter")
        author.remove_tree(_TOP + b"/names")
        author.directory(b"/new")
        author.file(b"/new/file", [b"new"])
    assert differences(io, ledger) == []


Harm = Callable[[ExtFileSystem], object]


def _touch(fs: ExtFileSystem, path: bytes) -> None:
    fs.set_attributes(path, mtime_ns=fs.stat(path).mtime_ns + 1)


def _replace_link(fs: ExtFileSystem, path: bytes) -> None:
    fs.unlink(path)
    fs.symlink(path, b"elsewhere")


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda fs: fs.unlink(_TOP + b"/special/empty"), "/odd/special/empty is missing"),
        (lambda fs: fs.create(b"/new"), "/new is there, but was never written"),
        (lambda fs: fs.create(b"/lost+found/new"), "/lost+found/new is there, but was never"),
        (lambda fs: fs.set_attributes(b"/big", mode=0o600), "/big: mode is 600, not 644"),
        (lambda fs: fs.set_attributes(b"/big", gid=9), "/big: owner is (0, 9), not (0, 0)"),
        (lambda fs: _touch(fs, b"/big"), "/big: time of change is"),
        (lambda fs: _touch(fs, b"/"), "/: time of change is"),
        (
            lambda fs: fs.write_difference(b"/big", b"\x00", offset=MIB + 7),
            "content differs in MiB 1",
        ),
        (lambda fs: fs.truncate(b"/big", 3 * MIB - 1), f"has {3 * MIB - 1} bytes, not {3 * MIB}"),
        (lambda fs: fs.set_xattrs(b"/big", {b"user.x": b""}), "/big: xattrs is {b'user.x': b''}"),
        (
            lambda fs: fs.write_difference(_TOP + b"/sparse/only holes", b"\x01" * MIB, offset=0),
            "its holes are gone",
        ),
        (
            lambda fs: _replace_link(fs, _TOP + b"/links/short"),
            "/odd/links/short: leads elsewhere",
        ),
        (
            lambda fs: (fs.unlink(_TOP + b"/special/fifo"), fs.create(_TOP + b"/special/fifo")),
            "/odd/special/fifo: is a regular, not a fifo",
        ),
        (
            lambda fs: fs.link(b"/big", b"/big too"),
            "/big has 2 names, not 1, or not the same",
        ),
        (
            lambda fs: fs.unlink(_TOP + b"/links/deep/second name"),
            "/odd/links/first name has 2 names, not 3, or not the same",
        ),
    ],
)
def test_every_harm_is_a_difference(io: Io, ledger: Ledger, harm: Harm, says: str) -> None:
    with opened(io) as fs:
        harm(fs)
    found = differences(io, ledger)
    assert any(says in line for line in found), found


def test_a_directory_that_a_restore_touched_may_have_any_time_in_between(
    io: Io, ledger: Ledger
) -> None:
    with opened(io) as fs:
        fs.set_attributes(b"/", mtime_ns=1000)
        fs.unlink(b"/big")
        fs.set_attributes(b"/", mtime_ns=1000)
    before = ledger.copy()
    ledger.remove_tree(b"/big")
    before.restore(ledger, [b"/big"], since_ns=999, until_ns=1001)
    assert differences(io, before) == []
    before.restore(ledger, [b"/big"], since_ns=0, until_ns=1)
    with opened(io) as fs, Author(fs, before) as author:
        author.file(b"/big", [b"again"])  # the next change gives the directory a known time
    assert before[b"/"].mtime_until_ns is None
    assert differences(io, before) == []
