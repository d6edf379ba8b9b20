from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import pyrep
from cli_served import SIZE, Served, serve
from pyrep import StorageSystem
from pyrep.cli.demo import Tools
from pyrep.errors import MissingLibraryError


@pytest.fixture
def ext_image(tmp_path: Path) -> Path:
    try:
        tools = Tools.find()
    except MissingLibraryError as error:
        pytest.skip(str(error.hint))
    image = tmp_path / "ext.img"
    with image.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run([tools.mke2fs, "-q", "-t", "ext4", image], check=True)
    return image


@pytest.fixture
def ext_image_bytes(ext_image: Path) -> bytes:
    return ext_image.read_bytes()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with ExitStack() as stack:
        a = stack.enter_context(StorageSystem.create(tmp_path / "100a", "100a"))
        b = stack.enter_context(StorageSystem.create(tmp_path / "100b", "100b"))
        pyrep.connect(a, b)
        serve(stack, a)
        serve(stack, b)
        yield Served(a, b)


@pytest.fixture
def mirrored(served: Served) -> Served:
    """Return them with 105a mirrored to 105b, and that to 106b and 107b."""
    served.a.create_volume("105a", SIZE)
    for name in ("105b", "106b", "107b"):
        served.b.create_volume(name, SIZE)
    served.a.create_remote_pair("105a", "100b", "105b", group="g").wait()
    for name in ("106b", "107b"):
        served.b.create_local_pair("105b", name).wait()
    return served
