"""A file system mounted through a loop device, and a host that makes durable what it writes."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from unit.fs.images import Image
from unit.fs.journals import MAGIC

BLOCK_OF_MAGIC = struct.pack(">I", MAGIC)


@contextmanager
def mounted(image: Image, at: Path, options: str) -> Iterator[Path]:
    """Mount it, or skip the test: it needs root and a loop device."""
    at.mkdir(exist_ok=True)
    command = ["mount", "-o", f"loop,{options}", str(image.path), str(at)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting by loop isn't possible here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        if subprocess.run(["umount", str(at)], capture_output=True, check=False).returncode != 0:
            # A test that failed has left a file open: it goes when that is closed.
            subprocess.run(["umount", "-l", str(at)], check=True)


class Writer:
    """Writes files below a directory, and knows what has to be there after a crash."""

    def __init__(self, root: Path, block_bytes: int) -> None:
        self._root = root
        self._block_bytes = block_bytes
        self._round = 0
        self.durable: dict[str, bytes] = {}
        self.gone: set[str] = set()

    def work(self) -> None:
        """Make directories and remove them, so that their blocks become those of files; write,
        overwrite, rename, remove, change attributes. Everything is durable at the end."""
        self._round += 1
        for index in range(12):
            self._directory(index)
            name = f"file{index % 5}"
            block = BLOCK_OF_MAGIC + bytes([self._round, index]) * (self._block_bytes // 2 - 2)
            self._write(name, block * (1 + index % 9))
            if index % 5 == 4:
                self._rename(name, f"renamed{index % 3}")
            self._write(f"big{index % 2}", block * 30)
            os.setxattr(self._root / f"big{index % 2}", "user.note", b"n" * (100 + index))
        self._remove("big0")
        os.sync()

    def _directory(self, index: int) -> None:
        directory = self._root / f"directory{index % 4}"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for number in range(30):
            (directory / f"{number}{'x' * 60}").touch()

    def _write(self, name: str, data: bytes) -> None:
        handle = os.open(self._root / name, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o644)
        os.write(handle, data)
        os.fsync(handle)
        os.close(handle)
        self.durable[name] = data
        self.gone.discard(name)

    def _rename(self, old: str, new: str) -> None:
        (self._root / old).rename(self._root / new)
        self.durable[new] = self.durable.pop(old)
        self.gone.add(old)

    def _remove(self, name: str) -> None:
        (self._root / name).unlink()
        del self.durable[name]
        self.gone.add(name)
