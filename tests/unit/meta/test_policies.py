from __future__ import annotations

from datetime import timedelta

import pytest

from pyrep.errors import FormatError
from pyrep.meta.database import Database
from pyrep.meta.policies import PolicyRecord, PolicyTable
from pyrep.model.ids import VolumeId
from pyrep.model.retention import NextSvol, RetentionPolicy

RULES = RetentionPolicy(
    keep_last=3,
    keep_daily=7,
    keep_within=timedelta(days=2, seconds=0.5),
    keep_labels=("gold", "süß"),
    minimum=2,
    forget_after=timedelta(days=90),
    zone="Europe/Vienna",
)


def test_a_volumes_policies_come_before_the_systems(db: Database) -> None:
    table = PolicyTable(db)
    table.set(None, PolicyRecord(next_svol=NextSvol.ALWAYS, retention=RetentionPolicy(keep_last=1)))
    table.set(VolumeId("105b"), PolicyRecord(retention=RULES))
    table.set(VolumeId("305b"), PolicyRecord(retention=RetentionPolicy()))

    assert table.effective(VolumeId("105b")) == PolicyRecord(
        next_svol=NextSvol.ALWAYS, retention=RULES
    )
    assert table.effective(VolumeId("205b")) == table.get(None)
    assert table.effective(VolumeId("305b")).retention == RetentionPolicy()


def test_where_nothing_is_set_the_next_backup_gets_its_svol_ready_itself(db: Database) -> None:
    assert PolicyTable(db).effective(VolumeId("105b")) == PolicyRecord(next_svol=NextSvol.AT_BACKUP)


def test_a_policy_can_be_changed_and_taken_back(db: Database) -> None:
    table = PolicyTable(db)
    table.set(VolumeId("105b"), PolicyRecord(next_svol=NextSvol.ALWAYS))
    table.set(VolumeId("105b"), PolicyRecord(next_svol=NextSvol.AT_BACKUP))
    assert table.get(VolumeId("105b")).next_svol is NextSvol.AT_BACKUP
    table.remove(VolumeId("105b"))
    assert table.get(VolumeId("105b")) == PolicyRecord()


@pytest.mark.parametrize(
    "text", ["{}", '{"minimum": 0, "keep_within": 0, "forget_after": null, "keep_labels": []}', "x"]
)
def test_a_policy_that_no_pyrep_stored_is_refused(db: Database, text: str) -> None:
    db.write("INSERT INTO policy VALUES ('105b', NULL, ?)", (text,))
    with pytest.raises(FormatError, match="the policies of 105b"):
        PolicyTable(db).get(VolumeId("105b"))
