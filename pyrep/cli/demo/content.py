"""What the demonstration writes: real files, and every kind of file that is easily lost."""

from __future__ import annotations

import os
import random
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from pyrep.cli.demo.author import Attributes, Author
from pyrep.fs import FileKind
from pyrep.model import MIB, SPAN_BYTES

__all__ = ["library_files", "write_library", "write_oddities"]

_LEFT_OUT = {"__pycache__", "site-packages", "dist-packages"}
_LONG_NAME = b"n" * 255
_NAMES = (
    b"caf\xe9",  # Latin-1
    b"\xff\xfe\x80 never UTF-8",
    b"tab\there, newline\nthere",
    b"\xed\xa0\x80 a surrogate",
    "ordinary UTF-8: \N{SNOWMAN}".encode(),
    bytes(range(1, 47)) + bytes(range(48, 128)),  # every 7-bit byte that a name may have
    bytes(range(128, 256)),
    _LONG_NAME,
)
_YEAR_1950_NS = -631_152_000 * 10**9 + 1
_YEAR_2200_NS = 7_258_118_400 * 10**9 + 999_999_999


# --- the standard library ------------------------------------------------------------------------


def library_files(bytes_max: int) -> Iterator[Path]:
    """Yield the running Python's standard library: directories before their content.

    What would be more than `bytes_max` together is left out, as is what can't be read.
    """
    left = bytes_max
    top = Path(sysconfig.get_path("stdlib"))
    for directory, names, files in os.walk(top):
        names[:] = sorted(name for name in names if name not in _LEFT_OUT)
        yield Path(directory)
        for path in (Path(directory, name) for name in sorted(files)):
            size = path.lstat().st_size
            if size <= left and (path.is_symlink() or os.access(path, os.R_OK)):
                left -= size
                yield path


def write_library(author: Author, top: bytes, bytes_max: int) -> None:
    """Copy the standard library to `top`, with modes, owners and times."""
    origin = Path(sysconfig.get_path("stdlib"))
    for path in library_files(bytes_max):
        found = path.lstat()
        relative = os.fsencode(path.relative_to(origin))
        target = top if relative == b"." else top + b"/" + relative
        attributes = Attributes(
            mode=stat.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            mtime_ns=found.st_mtime_ns,
        )
        if stat.S_ISDIR(found.st_mode):
            author.directory(target, attributes)
        elif stat.S_ISLNK(found.st_mode):
            author.symlink(target, os.fsencode(path.readlink()))
        elif stat.S_ISREG(found.st_mode):
            data = path.read_bytes()
            pieces = (data[at : at + 8 * MIB] for at in range(0, len(data), 8 * MIB))
            author.file(target, pieces, attributes)


# --- what is easily lost -------------------------------------------------------------------------


def write_oddities(author: Author, top: bytes, *, seed: int, sparse_bytes: int) -> None:
    """Write links, sparse files, attributes, strange names and special files below `top`."""
    chance = random.Random(seed)  # noqa: S311 (content, no secret)
    author.directory(top)
    _write_names(author, top + b"/names", chance)
    _write_links(author, top + b"/links", chance)
    _write_sparse(author, top + b"/sparse", chance, sparse_bytes)
    _write_attributes(author, top + b"/attributes", chance)
    _write_special(author, top + b"/special")


def _write_names(author: Author, top: bytes, chance: random.Random) -> None:
    author.directory(top)
    for name in _NAMES:
        author.file(top + b"/" + name, [chance.randbytes(5000)])
    author.directory(top + b"/\xe9mpty directory")
    author.directory(top + b"/crowded")
    for number in range(300):  # a directory of several blocks
        author.file(top + b"/crowded/%04d \xa0" % number + b"x" * 30, [chance.randbytes(64)])


def _write_links(author: Author, top: bytes, chance: random.Random) -> None:
    author.directory(top)
    author.directory(top + b"/deep")
    author.file(top + b"/first name", [chance.randbytes(100_000)], Attributes(uid=1000, gid=1000))
    author.link(top + b"/first name", top + b"/deep/second name")
    author.link(top + b"/first name", top + b"/third \xffname")
    author.symlink(top + b"/short", b"first name")
    author.symlink(top + b"/long", b"../" * 40 + b"a target that needs a block of its own \xfe")
    author.symlink(top + b"/leading nowhere", b"/no such/\xe9")
    author.symlink(top + b"/itself", b"itself")


def _write_sparse(author: Author, top: bytes, chance: random.Random, size: int) -> None:
    author.directory(top)
    author.sparse(top + b"/only holes", size, {})
    author.sparse(
        top + b"/islands",
        size + 1,
        {
            SPAN_BYTES + 5000: chance.randbytes(10_000),
            size // 2 - 100: chance.randbytes(200),
            size: b"\x01",  # the last byte, alone in its block
        },
    )


def _write_attributes(author: Author, top: bytes, chance: random.Random) -> None:
    many = {b"user.n%02d" % number: chance.randbytes(20) for number in range(20)}
    cases = {
        b"modes": Attributes(mode=0o4751),
        b"no mode": Attributes(mode=0),
        b"high owner": Attributes(uid=2**32 - 2, gid=70_000),
        b"year 1950": Attributes(mtime_ns=_YEAR_1950_NS),
        b"year 2200": Attributes(mtime_ns=_YEAR_2200_NS),
        b"small xattrs": Attributes(xattrs={b"user.note": b"kept", b"user.empty": b""}),
        b"large xattr": Attributes(xattrs={b"user.blob": chance.randbytes(3000)}),
        b"many xattrs": Attributes(xattrs=many),
        b"trusted xattr": Attributes(xattrs={b"trusted.\xe9": b"\x00\xff"}),
    }
    author.directory(top, Attributes(mode=0o3775, gid=50, xattrs={b"user.of a directory": b"yes"}))
    for name, attributes in cases.items():
        author.file(top + b"/" + name, [chance.randbytes(1000)], attributes)


def _write_special(author: Author, top: bytes) -> None:
    author.directory(top)
    author.file(top + b"/empty")
    author.node(top + b"/fifo", FileKind.FIFO)
    author.node(top + b"/socket", FileKind.SOCKET)
    author.node(top + b"/character device", FileKind.CHARACTER_DEVICE, (1, 3))
    author.node(top + b"/block device", FileKind.BLOCK_DEVICE, (259, 70_000))
