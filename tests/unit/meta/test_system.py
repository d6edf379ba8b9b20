from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.meta.database import Database
from pyrep.meta.system import PeerRecord, PeerTable, SystemRecord, SystemTable
from pyrep.model.ids import SystemId, new_key

RECORD = SystemRecord(
    system_id=SystemId("100a"),
    key=new_key(),
    clean=True,
    created_at=datetime(2024, 5, 1, 12, tzinfo=UTC),
    format=1,
)


def test_a_new_database_holds_no_system(db: Database) -> None:
    with pytest.raises(NotFoundError, match="holds no system"):
        SystemTable(db).get()


def test_the_system_is_stored_once_and_changed_in_place(db: Database) -> None:
    table = SystemTable(db)
    table.set(RECORD)
    assert table.get() == RECORD
    table.set(replace(RECORD, clean=False))
    assert table.get() == replace(RECORD, clean=False)


def test_a_system_without_a_proper_key_or_time_is_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        replace(RECORD, key=b"")
    with pytest.raises(InvalidArgumentError, match="time zone"):
        replace(RECORD, created_at=RECORD.created_at.replace(tzinfo=None))


def test_a_peer_never_met_is_none(db: Database) -> None:
    assert PeerTable(db).get(SystemId("100b")) is None


def test_a_peer_is_as_last_met(db: Database) -> None:
    table = PeerTable(db)
    first = PeerRecord(peer_system_id=SystemId("100b"), boot_id=b"b1", attempt=1)
    second = replace(first, boot_id=b"b2", attempt=2)
    table.put(first)
    table.put(second)
    assert table.get(SystemId("100b")) == second
