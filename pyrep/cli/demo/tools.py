"""The programs that make and check file systems: e2fsprogs."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pyrep.errors import DeviceError, MissingLibraryError
from pyrep.fs.ext_library import library

__all__ = ["Tools"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where they are."""

    mke2fs: str
    e2fsck: str

    @classmethod
    def find(cls) -> Self:
        """Find them, off an ordinary user's PATH too, and libext2fs.

        Raises:
            MissingLibraryError: something isn't installed; the hint names its package.
        """
        library()
        path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
        found = {name: shutil.which(name, path=path) for name in ("mke2fs", "e2fsck")}
        for name, where in found.items():
            if where is None:
                raise MissingLibraryError(
                    f"cannot run the demonstration: there is no {name}",
                    hint="install e2fsprogs (Debian: apt-get install e2fsprogs)",
                )
        return cls(mke2fs=found["mke2fs"] or "", e2fsck=found["e2fsck"] or "")

    def make_ext4(self, path: Path, size_bytes: int) -> None:
        """Make a sparse file with an ext4 file system of the distribution's plain defaults.

        Raises:
            DeviceError: mke2fs failed; the message has what it said.
        """
        with path.open("xb") as file:
            file.truncate(size_bytes)
        done = _run([self.mke2fs, "-q", "-t", "ext4", str(path)])
        if done.returncode:
            raise DeviceError(f"mke2fs failed on {path}: {_last_lines(done)}")

    def check_ext4(self, path: Path) -> str:
        """Return what e2fsck finds wrong, changing nothing; empty when the file system is clean."""
        done = _run([self.e2fsck, "-fn", str(path)])
        return "" if done.returncode == 0 else f"exit status {done.returncode}: {_last_lines(done)}"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        check=False,
    )


def _last_lines(done: subprocess.CompletedProcess[str]) -> str:
    return " / ".join(line for line in done.stdout.splitlines()[-6:] if line)
