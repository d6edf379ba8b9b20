from __future__ import annotations

from itertools import permutations

import pytest

from pyrep.model.group import GroupStatus, group_status
from pyrep.model.ids import GroupId, PairId, SystemId, VolumeId
from pyrep.model.pair import AckPoint, CopyType, PairStatus, Primary, Row, SplitCause


def member(status: PairStatus, cause: SplitCause | None = None) -> Row:
    return Row(
        pair_id=PairId("100a.1"),
        copy_type=CopyType.REMOTE,
        volume_id=VolumeId("105a"),
        pair_system_id=SystemId("100b"),
        mirror_volume_id=VolumeId("105b"),
        primary=Primary.YES,
        status=status,
        cause=cause,
        group_id=GroupId("g"),
        ack=AckPoint.RECEIVED,
        row_key=bytes(16),
    )


FROM_WORST = [
    member(PairStatus.COPY),
    member(PairStatus.SPLIT, SplitCause.PATH_LOST),
    member(PairStatus.SPLIT, SplitCause.REQUESTED),
    member(PairStatus.DUPLEX),
]


@pytest.mark.parametrize("worst", range(len(FROM_WORST)))
def test_a_group_is_as_its_worst_member(worst: int) -> None:
    expected = FROM_WORST[worst]
    for rows in permutations(FROM_WORST[worst:]):
        assert group_status(rows) == GroupStatus(status=expected.status, cause=expected.cause)


def test_a_group_without_members_is_simplex() -> None:
    assert group_status([]) == GroupStatus(status=PairStatus.SIMPLEX)
