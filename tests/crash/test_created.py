"""A system's creation, recorded; the power goes before each of its effects."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from crash.blocks import OPTIONS
from crash.recovery import make_directory
from pyrep import StorageSystem
from pyrep.errors import NotFoundError
from pyrep.testing.recording import Recording, can_record, record

EVERY = os.environ.get("PYREP_CRASH_STATES") == "0"
"""Whether each share of what isn't flushed is lost before each effect."""

pytestmark = pytest.mark.skipif(not can_record(), reason="needs strace, which may trace")

_MAKE = """
import sys
from pathlib import Path
from pyrep import StorageSystem

base = Path(sys.argv[1])
system = StorageSystem.create(base / "100a", "100a")
with (base / "marks").open("w") as marks:
    marks.write("created")
system.create_volume("105a", 1 << 20)
system.close()
"""


def _found(recording: Recording, base: Path, cut: int, seed: int) -> Path:
    """Put in place what the power loss leaves."""
    shutil.rmtree(base, ignore_errors=True)
    for name in ("volumes", "bitmaps"):
        (base / "100a" / name).mkdir(parents=True)
    for path, data in recording.after_power_loss(cut, seed, lambda _: seed % 4).items():
        data.save(base / path)
    return base / "100a"


def test_a_system_is_there_or_can_be_created_wherever_the_power_goes(tmp_path: Path) -> None:
    with make_directory() as base:
        command = [sys.executable, "-c", _MAKE, base]
        recording = record(command, Path(base), tmp_path / "strace")
        made_anew = 0
        for cut in recording.cuts(0):
            for seed in range(4) if EVERY else [cut % 4]:
                path = _found(recording, Path(base), cut, seed)
                try:
                    system = StorageSystem.open(path, options=OPTIONS)
                except NotFoundError:
                    assert "created" not in recording.marks(cut)
                    system = StorageSystem.create(path, "100a")
                    made_anew += 1
                assert system.system_id == "100a"
                assert not (path / "pyrep.db.new").exists()
                system.close()
        assert made_anew
