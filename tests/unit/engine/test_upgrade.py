"""Systems of version 0.1.0, opened by this one: their pairs go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from pyrep.model import Congestion, FenceLevel, Lineage, PairStatus, Protect
from rig import CHUNK, Rig, equal, row_of

_SINCE = {
    "generation": ("given_up_at",),
    "peer": ("key",),
    "copy_row": (
        *("congestion", "fence_level", "protect", "overmarked", "repaired"),
        *("current_id", "common_id", "written", "id_history", "id_age"),
    ),
}


def _make_old(database: Path) -> None:
    """Leave the tables as 0.1.0 has them."""
    with closing(sqlite3.connect(database)) as connection:
        for table, columns in _SINCE.items():
            for column in columns:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for table in ("digest", "policy"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()


def test_pairs_of_0_1_0_are_kept_and_take_identifiers_when_they_meet(rig: Rig) -> None:
    pair = rig.remote()
    rig.local()
    pair.split()
    rig.pvol.pwrite(b"since", 3 * CHUNK)
    before = {one: rig.systems[one].table() for one in rig.systems}
    for system_id in rig.systems:
        rig.systems[system_id].close()
        _make_old(rig.root / system_id / "pyrep.db")
        rig.open(system_id)
        for was, row in zip(before[system_id], rig.systems[system_id].table(), strict=True):
            assert (row.pair_id, row.volume_id, row.status, row.cause) == (
                *(was.pair_id, was.volume_id, was.status, was.cause),
            )
            assert (row.congestion, row.fence_level) == (Congestion.BLOCK, FenceLevel.NEVER)
            assert (row.protect, row.lineage) == (Protect.REQUIRE, Lineage())
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    assert pair.pending_extents() == [(3 * CHUNK, CHUNK)]
    told = pair.estimate()
    assert (told.direction, told.chunks, told.refusal) == ("forward", 1, None)
    job = pair.resync()
    assert job is not None
    job.wait(60)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert row_of(rig.a, pair).lineage.current == row_of(rig.b, pair).lineage.current != 0
