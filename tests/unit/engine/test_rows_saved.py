"""When a row's pages are written beside its commands: after a copy back, and never in a repair."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrep.engine import Options, StorageSystem
from pyrep.engine.pairrepair import PairRepairs
from pyrep.model import Direction, PairStatus
from rig import LONG_S

MIB = 1 << 20
CHUNKS = MIB // 8192
OPTIONS = Options(region_bytes=MIB, hot_regions=16)


@pytest.fixture
def system(tmp_path: Path) -> StorageSystem:
    made = StorageSystem.create(tmp_path / "s", "100b", options=OPTIONS)
    for name in ("105b", "106b", "107b"):
        made.create_volume(name, 64 * MIB)
    made.volume("105b").pwrite(b"a" * (64 * MIB), 0)
    return made


def test_what_a_copy_back_has_copied_isnt_pending_again_after_a_crash(
    system: StorageSystem, tmp_path: Path
) -> None:
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    for n in range(60):
        system.volume("105b").pwrite(b"x" * MIB, n * MIB)
    assert len(pair.pending()) == 60 * CHUNKS
    job = pair.resync(direction=Direction.REVERSE)
    assert job is not None
    job.wait(LONG_S)
    for n in range(16):
        system.volume("105b").pwrite(b"y", n * MIB)
    system.abort()
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        assert len(again.pair(pair.pair_id).pending()) <= 2 * 16 * CHUNKS


@pytest.mark.parametrize("who", ["activity", "settling"])
def test_nobody_saves_a_row_whose_pair_is_being_repaired(
    system: StorageSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """A save takes the open mark away, before what was found to differ is pending. INV-2."""
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    for n in range(20):  # what rots is in no hot region
        system.volume("105b").pwrite(b"h", (40 + n) * MIB)
    system.volume("105b").flush()
    system._watch.settling.look()
    with (tmp_path / "s/volumes/106b.img").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(b"ROT")
    found = pair.verify()
    assert not found.is_equal
    mirror = system.state.mirror(pair.pair_id)

    def stop(*_told: object) -> None:
        if who == "activity":
            system._activity.tend()
        else:
            system._watch.settling.look()
        assert mirror.file.marked_open
        raise InterruptedError

    monkeypatch.setattr(PairRepairs, "_make_pending", stop)
    with pytest.raises(InterruptedError):
        pair.repair(found)
    system.abort()
    with StorageSystem.open(tmp_path / "s", options=OPTIONS) as again:
        pair = again.pair(pair.pair_id)
        pair.wait(timeout_s=LONG_S)
        assert pair.status().status is PairStatus.DUPLEX
        assert pair.verify().is_equal


def test_marks_of_intervals_that_nobody_asks_for_any_more_leave_no_file(
    system: StorageSystem, tmp_path: Path
) -> None:
    pairs = [system.create_local_pair("105b", name) for name in ("106b", "107b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    counts = []
    for n in range(12):
        pair = pairs[n % 2]
        pair.split()
        system.volume("105b").pwrite(b"x", n * MIB)
        if n > 2:
            counts.append(len(list((tmp_path / "s/bitmaps").iterdir())))
        job = pairs[(n + 1) % 2].resync()
        if job is not None:
            job.wait(LONG_S)
    assert max(counts) == counts[0]
    assert len(system.state.live[system.volume("105b").volume_id].intervals) <= 2
    system.close()
