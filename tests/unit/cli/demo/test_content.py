from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from pyrep.cli.demo.content import library_files

_TOP = Path(sysconfig.get_path("stdlib"))


def test_the_library_comes_in_order_without_what_is_installed_or_compiled() -> None:
    found = list(library_files(1 << 40))
    assert found[0] == _TOP
    assert _TOP / "os.py" in found
    seen: set[Path] = {_TOP.parent}
    for path in found:
        assert path.parent in seen
        seen.add(path)
        assert not {"__pycache__", "site-packages", "dist-packages"} & set(path.parts[-3:])


def test_no_more_is_taken_than_is_allowed() -> None:
    allowed = 100_000
    files = [path for path in library_files(allowed) if not path.is_dir()]
    assert files
    assert sum(os.lstat(path).st_size for path in files) <= allowed
