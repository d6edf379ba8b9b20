"""Real file systems for the tests: made, filled, read and checked by e2fsprogs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pyrep._core import FileIo
from pyrep.fs import Access, ExtFileSystem

MIB = 1 << 20

# What plain mke2fs makes of a small and of a large volume: blocks of 1 KiB and of 4 KiB.
KINDS = [
    ("ext4", ()),
    ("ext4", ("-b", "4096")),
    ("ext3", ()),
    ("ext3", ("-b", "4096")),
    ("ext2", ()),
    ("ext2", ("-b", "4096")),
]
# What mke2fs makes when it is asked to: every feature that changes how files are stored.
FEATURES = [
    ("ext4", ("-O", "inline_data")),
    ("ext4", ("-b", "4096", "-O", "inline_data", "-I", "512")),
    ("ext4", ("-O", "bigalloc")),
    ("ext4", ("-b", "4096", "-O", "bigalloc,^resize_inode", "-C", "65536")),
    ("ext4", ("-O", "ea_inode")),
    ("ext4", ("-O", "ea_inode,inline_data,bigalloc")),
    ("ext4", ("-O", "^metadata_csum,uninit_bg")),
    ("ext4", ("-O", "metadata_csum_seed,large_dir,orphan_file,project,stable_inodes")),
    ("ext4", ("-O", "^64bit,^flex_bg,meta_bg,^resize_inode", "-b", "2048")),
    ("ext4", ("-O", "sparse_super2,mmp,fast_commit", "-I", "128")),
    ("ext4", ("-O", "casefold,encrypt,verity", "-b", "4096")),
    ("ext4", ("-b", "65536")),
    ("ext4", ("-O", "quota,project", "-E", "quotatype=usrquota:grpquota:prjquota")),
    ("ext4", ("-b", "4096", "-O", "quota,bigalloc,inline_data")),
]
KIND_NAMES = [f"{kind}{''.join(options)}" for kind, options in KINDS]


def run(*command: str | Path, stdin: str | None = None) -> str:
    """Run a tool that must succeed; mke2fs and its like stand off an ordinary user's PATH."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        [str(part) for part in command],
        input=stdin,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Image:
    """One file system in a sparse file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_sound = True

    def check(self) -> None:
        """Have e2fsck look at all of it."""
        run("e2fsck", "-fn", self.path)

    def debugfs(self, *commands: str) -> str:
        """Change it as debugfs does; debugfs exits with 0 whatever happened."""
        return run("debugfs", "-w", "-f", "-", self.path, stdin="\n".join(commands) + "\n")

    def ask(self, command: str) -> str:
        """Return what debugfs answers."""
        return run("debugfs", "-R", command, self.path)

    def dump(self, path: str, directory: Path) -> bytes:
        """Return a file's content as debugfs, an independent reader, sees it."""
        out = directory / "dumped"
        out.unlink(missing_ok=True)
        self.ask(f"dump {path} {out}")
        return out.read_bytes()

    def copy(self, name: str) -> Image:
        """Return a copy of it, as a generation is one."""
        other = self.path.with_name(name)
        run("cp", "--sparse=always", self.path, other)
        return Image(other)

    def patch(self, offset: int, data: bytes) -> None:
        """Overwrite bytes of the volume."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    @contextmanager
    def opened(self, access: Access = Access.READ_WRITE) -> Generator[ExtFileSystem]:
        """Open it through the core and libext2fs."""
        with (
            FileIo(self.path) as io,
            ExtFileSystem.open(io.address, access=access, name=self.path.name) as fs,
        ):
            yield fs


class ImageMaker:
    """Makes images and has every sound one checked at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._made: list[Image] = []

    def make(
        self,
        kind: str = "ext4",
        options: Sequence[str] = (),
        *,
        size_bytes: int = 32 * MIB,
        content: Path | None = None,
        name: str = "volume",
    ) -> Image:
        """Make a file system, filled by mke2fs from a directory."""
        path = self._directory / name
        with path.open("wb") as file:
            file.truncate(size_bytes)
        filled = ("-d", str(content)) if content else ()
        run("mke2fs", "-q", "-F", "-t", kind, *options, *filled, path)
        return self.watch(Image(path))

    def watch(self, image: Image) -> Image:
        """Have an image checked at the end."""
        self._made.append(image)
        return image

    def check_all(self) -> None:
        """Check every image that wasn't damaged on purpose."""
        for image in self._made:
            if image.is_sound:
                image.check()


def blocks_that_differ(one: Image, other: Image, block_bytes: int = 4096) -> int:
    """Return how many blocks of two volumes differ, as a pending bitmap would count."""
    count = 0
    with one.path.open("rb") as left, other.path.open("rb") as right:
        while data := left.read(MIB):
            against = right.read(MIB)
            if data != against:
                count += sum(
                    data[at : at + block_bytes] != against[at : at + block_bytes]
                    for at in range(0, len(data), block_bytes)
                )
    return count
