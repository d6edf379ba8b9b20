"""The system's lock comes before the database's: who has the database waits for nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pyrep import StorageSystem
from pyrep.model import VolumeId, WorkflowKind
from pyrep.workflows.production import ProductionSide


def test_a_lease_waits_for_the_system_without_holding_up_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody who looks at a pair's row takes the system's lock, then the database's. When a
    # restore took them the other way round, it and any monitoring waited for each other for ever.
    with StorageSystem.create(tmp_path / "100a", "100a") as system:
        system.create_volume("105a", 1 << 20)
        state = system.state
        asked, held = threading.Event(), threading.Event()
        root_of = state.root_of

        def ask(volume_id: VolumeId) -> VolumeId:
            asked.set()
            held.wait()
            return root_of(volume_id)

        monkeypatch.setattr(type(state), "root_of", lambda _state, volume_id: ask(volume_id))
        side = ProductionSide(system)
        begins = threading.Thread(
            target=lambda: side.begin("w1", WorkflowKind.RESTORE_FILES, "105a", leads=False),
            daemon=True,
        )
        begins.start()
        asked.wait()
        reads = threading.Thread(target=system.table, daemon=True)
        reads.start()
        reads.join(10)
        is_waiting = reads.is_alive()
        held.set()
        begins.join()
        reads.join()
        assert not is_waiting
        assert state.journal.holder(VolumeId("105a")) == "w1"
