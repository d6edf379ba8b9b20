"""Systems for the engine's tests, closed at the end; in memory where the machine lets us."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import CHUNK, LONG_S, Rig, Site, fill

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a place of our own is made in it


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Each system syncs dozens of times: on a busy disk that is most of a test's time."""
    if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK):
        with tempfile.TemporaryDirectory(prefix="pyrep-test-", dir=_IN_MEMORY) as name:
            yield Path(name)
    else:
        yield tmp_path_factory.mktemp("engine")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path).build()
    yield found
    found.close()


@pytest.fixture
def closed(site: Site) -> Site:
    """100b with a split pair, whose generation 106b holds, and a duplex one, closed cleanly.

    Chunk 3 is pending in 100b.1.
    """
    system = site.make("100b", "105b", "106b", "107b")
    fill(system.volume("105b"), 1)
    for svol in ("106b", "107b"):
        system.create_local_pair("105b", svol).wait(timeout_s=LONG_S)
    system.pair("100b.1").split()
    system.volume("105b").pwrite(b"x", 3 * CHUNK)
    system.close()
    return site
