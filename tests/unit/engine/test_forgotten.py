"""A crash long after a copy costs what is hot, also if nobody has written since."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from pyrep.engine import Options, Pair, StorageSystem
from pyrep.engine.copyjob import CopyJob
from pyrep.model import CopyRate, Direction, PairStatus
from pyrep.testing import wait_until
from rig import LONG_S, Rig

MIB = 1 << 20
CHUNKS = MIB // 8192
HOT = 16
SIZE = 64 * MIB
OPTIONS = Options(region_bytes=MIB, hot_regions=HOT)


def _write_all(system: StorageSystem, byte: bytes) -> None:
    for n in range(64):
        system.volume("105b").pwrite(byte * MIB, n * MIB)


def _split(root: Path) -> tuple[StorageSystem, Pair]:
    """Return a system whose pair has everything pending; most of it has left the log long since."""
    system = StorageSystem.create(root, "100b", options=OPTIONS)
    for name in ("105b", "106b"):
        system.create_volume(name, SIZE)
    pair = system.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    pair.split()
    _write_all(system, b"x")
    assert len(pair.pending()) == 64 * CHUNKS
    return system, pair


def _after_a_crash(root: Path, pair: Pair, patch: pytest.MonkeyPatch) -> int:
    """Return how much the pair has pending when the system is opened again, before any copy."""
    patch.setattr(CopyJob, "start", lambda _: None)
    with StorageSystem.open(root, options=OPTIONS) as again:
        return len(again.pair(pair.pair_id).pending())


@pytest.mark.parametrize("direction", list(Direction))
def test_after_a_copy_nothing_that_has_left_is_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: Direction
) -> None:
    system, pair = _split(tmp_path / "s")
    job = pair.resync(direction=direction)
    assert job is not None
    job.wait(LONG_S)
    wanted = PairStatus.DUPLEX if direction is Direction.FORWARD else PairStatus.SPLIT
    assert pair.status().status is wanted
    system._watch.settling.look()
    system.abort()
    assert _after_a_crash(tmp_path / "s", pair, monkeypatch) <= HOT * CHUNKS


def test_amid_a_copy_what_was_copied_before_its_row_was_saved_is_not_pending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, pair = _split(tmp_path / "s")
    system._watch.close()
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=16 * MIB))
    assert job is not None
    mirror = system.state.mirror(pair.pair_id)
    wait_until(lambda: mirror.link.pending_count() < 44 * CHUNKS)
    job.pause()
    mirror.link.settle()
    before = mirror.link.cover().count()
    assert 0 < before < 44 * CHUNKS
    system._activity._save_row(mirror)
    system._watch.settling.look()
    system.abort()
    assert _after_a_crash(tmp_path / "s", pair, monkeypatch) <= before + HOT * CHUNKS


@pytest.mark.parametrize("side", ["100a", "100b"])
def test_after_a_copy_to_another_system_nothing_that_has_left_is_pending(
    tmp_path: Path, side: str
) -> None:
    with contextlib.closing(Rig(tmp_path)) as rig:
        for one in ("100a", "100b"):
            rig.options[one] = OPTIONS
        rig.build(size=SIZE)
        pair = rig.remote()
        pair.split()
        for n in range(64):
            rig.pvol.pwrite(b"x" * MIB, n * MIB)
        assert len(pair.pending()) == 64 * CHUNKS
        job = pair.resync()
        assert job is not None
        job.wait(LONG_S)
        rig.both(pair, PairStatus.DUPLEX)
        for system in (rig.a, rig.b):
            _settle_and_save(system, pair)
        rig.path.close()
        found = rig.reopen(side, crash=True)
        assert len(found.pair(pair.pair_id).pending()) <= HOT * CHUNKS


def _settle_and_save(system: StorageSystem, pair: Pair) -> None:
    wait_until(lambda: not system.pair(pair.pair_id).status().unsettled)
    system._watch.settling.clock = lambda: 1e9
    system._watch.settling.look()
