"""Systems for the engine's tests, closed at the end; in memory where the machine lets us."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import Rig, Site

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
