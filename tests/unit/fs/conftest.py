"""Images of file systems, checked by e2fsck when the test ends."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from unit.fs.images import ImageMaker


@pytest.fixture
def images(tmp_path: Path) -> Generator[ImageMaker]:
    maker = ImageMaker(tmp_path)
    yield maker
    maker.check_all()
