from __future__ import annotations

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.meta.database import Database
from pyrep.meta.epochs import EpochRecord, EpochTable
from pyrep.model.ids import VolumeId, new_key


def epoch(volume: str, sequence: int) -> EpochRecord:
    return EpochRecord(
        volume_id=VolumeId(volume),
        sequence=sequence,
        row_key=new_key(),
        chunk_bytes=8192,
        data_id=(1 << 63) + sequence,
    )


def test_a_volumes_epochs_are_replaced_as_a_whole_and_others_stay(db: Database) -> None:
    table = EpochTable(db)
    other = epoch("105b", 1)
    table.replace_all(VolumeId("105b"), [other])
    table.replace_all(VolumeId("105a"), [epoch("105a", 1), epoch("105a", 2)])
    now = [epoch("105a", 3), epoch("105a", 2)]
    table.replace_all(VolumeId("105a"), now)
    assert table.all() == (now[1], now[0], other)


def test_a_volume_can_be_left_without_epochs(db: Database) -> None:
    table = EpochTable(db)
    table.replace_all(VolumeId("105a"), [epoch("105a", 1)])
    table.replace_all(VolumeId("105a"), [])
    assert table.all() == ()


def test_another_volumes_epoch_is_refused_and_nothing_changes(db: Database) -> None:
    table = EpochTable(db)
    before = epoch("105a", 1)
    table.replace_all(VolumeId("105a"), [before])
    with pytest.raises(InvalidArgumentError, match="105b"):
        table.replace_all(VolumeId("105a"), [epoch("105a", 2), epoch("105b", 3)])
    assert table.all() == (before,)
