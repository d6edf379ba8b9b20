"""A file system for a recorded workload: two files, whose blocks hosts write in place."""

from __future__ import annotations

import tempfile
from pathlib import Path

from crash.blocks import BLOCKS, CHUNK, SIZE, stamp
from unit.fs.images import run

FILES = ("/docs/first", "/docs/second")
PER_FILE = BLOCKS // len(FILES)


def make_file_system() -> tuple[dict[int, bytes], tuple[int, ...]]:
    """Make one; block i holds write i + 1.

    Returns:
        Its chunks that aren't zero, by offset; and where the files' blocks are.
    """
    with tempfile.TemporaryDirectory(prefix="pyrep-crash-") as name:
        base = Path(name)
        tree = base / "tree"
        for index, path in enumerate(FILES):
            where = tree / path[1:]
            where.parent.mkdir(parents=True, exist_ok=True)
            first = index * PER_FILE + 1
            where.write_bytes(b"".join(stamp(first + each) for each in range(PER_FILE)))
        image = base / "image"
        run("mke2fs", "-q", "-t", "ext2", "-b", str(CHUNK), "-d", tree, image, str(SIZE // CHUNK))
        data = image.read_bytes()
        assert len(data) == SIZE
        layout = tuple(
            int(block) * CHUNK
            for path in FILES
            for block in run("debugfs", "-R", f"blocks {path}", image).split()
        )
    chunks = {at: data[at : at + CHUNK] for at in range(0, SIZE, CHUNK)}
    assert [chunks[at] for at in layout] == [stamp(block + 1) for block in range(BLOCKS)]
    return {at: one for at, one in chunks.items() if any(one)}, layout


def check_file_system(path: Path) -> None:
    """Have e2fsck look at a volume."""
    run("e2fsck", "-fn", path)
