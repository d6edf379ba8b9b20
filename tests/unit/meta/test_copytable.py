from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from pyrep.errors import ExistsError, FormatError, InvalidArgumentError, NotFoundError
from pyrep.meta.copytable import CopyTable
from pyrep.meta.database import Database
from pyrep.model.ids import GroupId, PairId, SystemId, VolumeId, new_key
from pyrep.model.pair import (
    AckPoint,
    CopyType,
    Direction,
    FenceLevel,
    PairStatus,
    Primary,
    Row,
    SplitCause,
)

PVOL = Row(
    pair_id=PairId("100b.1"),
    copy_type=CopyType.LOCAL,
    volume_id=VolumeId("105b"),
    pair_system_id=SystemId("100b"),
    mirror_volume_id=VolumeId("106b"),
    primary=Primary.YES,
    status=PairStatus.COPY,
    row_key=bytes([1] * 16),
)
SVOL = replace(
    PVOL,
    volume_id=VolumeId("106b"),
    mirror_volume_id=VolumeId("105b"),
    primary=Primary.NO,
    row_key=bytes([2] * 16),
)
SPVOL = Row(
    pair_id=PairId("100a.1"),
    copy_type=CopyType.REMOTE,
    volume_id=VolumeId("105b"),
    pair_system_id=SystemId("100a"),
    mirror_volume_id=VolumeId("105a"),
    primary=Primary.NO,
    status=PairStatus.SPLIT,
    cause=SplitCause.PATH_LOST,
    direction=Direction.REVERSE,
    target_consistent=True,
    group_id=GroupId("g"),
    ack=AckPoint.DURABLE,
    chunk_bytes=4096,
    row_key=bytes([3] * 16),
    data_id=(1 << 64) - 1,
    epoch_start=9,
    pending_union=True,
    fence_level=FenceLevel.DATA,
)


@pytest.fixture
def table(db: Database) -> CopyTable:
    table = CopyTable(db)
    for row in (SVOL, SPVOL, PVOL):
        table.insert(row)
    return table


def test_every_column_comes_back(table: CopyTable) -> None:
    assert table.get(SPVOL.pair_id, SPVOL.volume_id) == SPVOL
    assert table.get(PVOL.pair_id, PVOL.volume_id) == PVOL


def test_a_volume_in_two_pairs_has_two_rows(table: CopyTable) -> None:
    assert table.rows_of(VolumeId("105b")) == (SPVOL, PVOL)
    assert table.rows_of(VolumeId("106b")) == (SVOL,)
    assert table.rows_of(VolumeId("109b")) == ()


def test_both_rows_of_a_local_pair_are_here_the_pvols_first(table: CopyTable) -> None:
    assert table.pair_rows(PVOL.pair_id) == (PVOL, SVOL)
    assert table.pair_rows(SPVOL.pair_id) == (SPVOL,)
    assert table.rows() == (SPVOL, PVOL, SVOL)


def test_a_pair_without_a_volume_is_this_systems_side_or_the_pvols(table: CopyTable) -> None:
    assert table.get(PVOL.pair_id) == PVOL
    assert table.get(SPVOL.pair_id) == SPVOL


def test_replacing_changes_one_side_alone(table: CopyTable) -> None:
    changed = replace(SVOL, status=PairStatus.DUPLEX, target_consistent=True)
    table.replace(changed)
    assert table.pair_rows(PVOL.pair_id) == (PVOL, changed)


def test_both_sides_change_together_or_not_at_all(db: Database, table: CopyTable) -> None:
    def change_both() -> None:
        with db.transaction():
            table.replace(replace(PVOL, status=PairStatus.DUPLEX))
            table.replace(replace(SVOL, volume_id=VolumeId("absent")))

    with pytest.raises(NotFoundError):
        change_both()
    assert table.pair_rows(PVOL.pair_id) == (PVOL, SVOL)


def test_a_second_row_of_a_pair_at_a_volume_is_refused(table: CopyTable) -> None:
    with pytest.raises(ExistsError, match=r"105b has a row of pair 100b\.1"):
        table.insert(replace(PVOL, row_key=new_key()))
    assert table.get(PVOL.pair_id) == PVOL


def test_two_rows_never_have_one_bitmap_file(table: CopyTable) -> None:
    with pytest.raises(InvalidArgumentError):
        table.insert(replace(PVOL, pair_id=PairId("100b.2")))
    with pytest.raises(InvalidArgumentError):
        table.replace(replace(PVOL, row_key=SVOL.row_key))
    assert len(table.rows()) == 3


def test_a_removed_row_leaves_the_other_side(table: CopyTable) -> None:
    table.remove(SVOL.pair_id, SVOL.volume_id)
    assert table.pair_rows(PVOL.pair_id) == (PVOL,)


def test_an_unknown_pair_is_an_error_that_names_the_known_ones(table: CopyTable) -> None:
    with pytest.raises(NotFoundError, match=r"no pair 100b\.7") as caught:
        table.get(PairId("100b.7"))
    assert caught.value.hint == "known pairs: 100a.1, 100b.1"
    with pytest.raises(NotFoundError, match=r"no pair 100b\.1 at volume 109b"):
        table.get(PVOL.pair_id, VolumeId("109b"))
    with pytest.raises(NotFoundError):
        table.remove(PVOL.pair_id, VolumeId("109b"))


def test_a_pair_number_once_given_is_never_given_again(db: Database, table: CopyTable) -> None:
    assert [table.next_pair_number() for _ in range(3)] == [1, 2, 3]

    def take_and_fail() -> None:
        with db.transaction():
            assert table.next_pair_number() == 4
            table.get(PairId("absent"))

    with pytest.raises(NotFoundError):
        take_and_fail()
    assert CopyTable(db).next_pair_number() == 4


def test_threads_never_get_one_pair_number_twice(table: CopyTable) -> None:
    numbers: list[int] = []

    def take() -> None:
        numbers.extend(table.next_pair_number() for _ in range(25))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(numbers) == list(range(1, 101))


@pytest.mark.parametrize("damage", ["status = 'ASLEEP'", "cause = NULL", "row_key = x'00'"])
def test_a_row_that_no_pyrep_stored_is_a_format_error(
    db: Database, table: CopyTable, damage: str
) -> None:
    db.write(f"UPDATE copy_row SET {damage} WHERE pair_id = '100a.1'")  # noqa: S608
    with pytest.raises(FormatError, match=r"pair 100a\.1 at volume 105b"):
        table.rows()
