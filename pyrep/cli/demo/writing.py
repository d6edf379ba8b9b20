"""The acts in which hosts write: files of every kind, and later changes."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from pyrep import Progress
from pyrep.cli.demo.author import Author
from pyrep.cli.demo.bigfile import BigFile
from pyrep.cli.demo.content import write_library, write_oddities
from pyrep.cli.demo.database import drop_orders, make_database
from pyrep.cli.demo.expected import RING
from pyrep.cli.demo.inspection import DATABASE
from pyrep.cli.demo.records import Place, expected_ring
from pyrep.cli.demo.sites import FILES, RECORDS
from pyrep.cli.demo.stage import Stage
from pyrep.errors import FileSystemError
from pyrep.fs import Access, ExtFileSystem

__all__ = ["BIG", "KEPT", "TREE", "change", "write_files", "write_first_files", "write_other"]

TREE = b"/srv/tree"
BIG = b"/srv/data/big.bin"
KEPT = b"/home/kept"
_OTHER = b"/srv/data/other.bin"


def write_first_files(stage: Stage) -> None:
    """Make the file system, and what is there before anything is mirrored."""
    sites, scale = stage.sites, stage.scale
    sites.format(stage.tools, stage.scratch / "template.img")
    ring = expected_ring(0, scale.record_slots)
    sites.volume(RECORDS).pwrite(ring, 0)
    with sites.files(Access.READ_WRITE) as fs, Author(fs, stage.expected.files) as author:
        author.directory(RING.rpartition(b"/")[0])
        author.file(RING, [ring])
        for directory in (b"/srv", b"/srv/data", b"/home"):
            author.directory(directory)
        scratch = stage.scratch / "new.db"
        data, stage.expected.database = make_database(scratch, scale.row_count)
        scratch.unlink()
        author.file(DATABASE, [data])
        write_oddities(author, KEPT, seed=1, sparse_bytes=scale.sparse_bytes)
        offset = _offset_of_ring(fs)
    if sites.volume(FILES).pread(len(ring), offset) != ring:
        raise FileSystemError(f"the blocks of {RING.decode()} don't lie together on {FILES}")
    stage.places = (
        Place(volume=sites.volume(RECORDS), offset=0),
        Place(volume=sites.volume(FILES), offset=offset),
    )


def _offset_of_ring(fs: ExtFileSystem) -> int:
    return fs.handle.first_block(fs.stat(RING).inode) * fs.info.block_bytes


def write_files(stage: Stage) -> None:
    """Write a tree and a large file to the mirrored volume."""
    scale = stage.scale
    with stage.sites.files(Access.READ_WRITE) as fs, Author(fs, stage.expected.files) as author:
        author.directory(TREE)
        stage.step(Progress(what="the standard library"))
        write_library(author, TREE + b"/python", scale.library_bytes)
        write_oddities(author, TREE + b"/odd \xff", seed=2, sparse_bytes=scale.sparse_bytes)
        big = BigFile(seed=3, size=scale.big_bytes)
        author.file(BIG, _told(stage, big.spans(), "incompressible data", big.size))


def _told(stage: Stage, pieces: Iterable[bytes], what: str, total: int) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        stage.step(Progress(what=what, done_bytes=done, total_bytes=total))
        yield piece
        done += len(piece)


def change(stage: Stage) -> None:
    """Change a part of the large file, drop a table, delete a tree."""
    scale, expected = stage.scale, stage.expected
    offset = scale.big_bytes // 2 + 12_345  # on no boundary
    patch = random.Random(4).randbytes(scale.changed_bytes)  # noqa: S311 (content, no secret)
    big = BigFile(seed=3, size=scale.big_bytes, patches={offset: patch})
    with stage.sites.files(Access.READ_WRITE) as fs, Author(fs, expected.files) as author:
        spans = {index: big.span(index) for index in big.touched(offset, len(patch))}
        author.patch(BIG, offset, patch, spans)
        scratch = stage.scratch / "changed.db"
        scratch.write_bytes(fs.read(DATABASE))
        data, expected.database = drop_orders(scratch, expected.database)
        scratch.unlink()
        author.rewrite(DATABASE, data)
        author.remove_tree(TREE)


def write_other(stage: Stage) -> None:
    """Write something else, and delete another tree."""
    other = BigFile(seed=5, size=stage.scale.other_bytes)
    with stage.sites.files(Access.READ_WRITE) as fs, Author(fs, stage.expected.files) as author:
        author.file(_OTHER, _told(stage, other.spans(), "other data", other.size))
        author.remove_tree(KEPT)
