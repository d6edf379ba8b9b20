"""A small file system made once, and sites that are closed when a test ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from unit.workflows.sites import SIZE, Sites

_ROOM_BYTES = 1 << 30


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return an ext4 of 8 MiB with a tree, hard links, a symlink and names that aren't UTF-8."""
    base = tmp_path_factory.mktemp("image")
    tree = os.fsencode(base / "tree")
    (base / "tree/docs/deep").mkdir(parents=True)
    for number in range(6):
        _write(tree + b"/docs/file%d" % number, bytes([65 + number]) * (3000 + number))
    _write(tree + b"/docs/deep/note", b"note" * 100)
    _write(tree + b"/big", bytes(range(256)) * 2048)
    _write(tree + b"/caf\xe9", b"not UTF-8")
    os.link(tree + b"/docs/file0", tree + b"/docs/linked")
    (base / "tree/link").symlink_to("docs/file1")
    path = base / "fs.img"
    command = ["mke2fs", "-q", "-t", "ext4", "-d", os.fsdecode(tree), str(path), f"{SIZE // 1024}k"]
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    subprocess.run(command, check=True, env=env)
    return path.read_bytes()


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 (the name isn't UTF-8)
        file.write(data)


Build = Callable[..., Sites]


@pytest.fixture
def directory(tmp_path: Path) -> Generator[Path]:
    """Return a directory in memory if there is room: these tests are about order, not durability.

    What they ask to be made durable, thousands of times, a disk would take its time for.
    """
    memory = Path("/dev/shm")  # noqa: S108
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < _ROOM_BYTES:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


@pytest.fixture
def build(directory: Path) -> Generator[Build]:
    """Return a maker of sites; all are closed at the end."""
    made: list[Sites] = []

    def make(**facts: Any) -> Sites:
        base = directory / str(len(made))
        base.mkdir()
        made.append(Sites(base, **facts))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def sites(build: Build, image: bytes) -> Sites:
    """Return sites with the file system on 105a."""
    return build(content=image)
