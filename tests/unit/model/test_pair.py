from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.model.ids import GroupId, PairId, SystemId, VolumeId
from pyrep.model.pair import (
    AckPoint,
    Congestion,
    CopyType,
    Direction,
    FenceLevel,
    PairStatus,
    Primary,
    Row,
    SplitCause,
)

LOCAL = Row(
    pair_id=PairId("100b.1"),
    copy_type=CopyType.LOCAL,
    volume_id=VolumeId("105b"),
    pair_system_id=SystemId("100b"),
    mirror_volume_id=VolumeId("106b"),
    primary=Primary.YES,
    status=PairStatus.DUPLEX,
    row_key=bytes(16),
)
REMOTE = replace(LOCAL, copy_type=CopyType.REMOTE, group_id=GroupId("g"), ack=AckPoint.DURABLE)


def test_a_row_is_frozen_and_changed_by_replacing_it() -> None:
    with pytest.raises(FrozenInstanceError):
        LOCAL.status = PairStatus.COPY  # type: ignore[misc]
    split = replace(LOCAL, status=PairStatus.SPLIT, cause=SplitCause.REQUESTED)
    assert (split.pair_id, split.cause) == (LOCAL.pair_id, SplitCause.REQUESTED)
    assert not hasattr(LOCAL, "__dict__")


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (LOCAL, {"status": PairStatus.SIMPLEX}),
        (LOCAL, {"status": PairStatus.SPLIT}),
        (LOCAL, {"cause": SplitCause.REQUESTED}),
        (LOCAL, {"group_id": GroupId("g")}),
        (LOCAL, {"ack": AckPoint.RECEIVED}),
        (REMOTE, {"group_id": None}),
        (REMOTE, {"ack": None}),
        (LOCAL, {"data_id": -1}),
        (LOCAL, {"data_id": 1 << 64}),
        (LOCAL, {"row_key": b"short"}),
        (REMOTE, {"fence_level": FenceLevel.DATA, "ack": AckPoint.QUEUED}),
        (REMOTE, {"fence_level": FenceLevel.DATA, "congestion": Congestion.PULL_AHEAD}),
        (LOCAL, {"fence_level": FenceLevel.DATA}),
        (LOCAL, {"congestion": Congestion.PULL_AHEAD}),
    ],
)
def test_columns_that_contradict_each_other_are_no_row(row: Row, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        replace(row, **change)


@pytest.mark.parametrize(
    ("primary", "direction", "is_source"),
    [
        (Primary.YES, Direction.FORWARD, True),
        (Primary.YES, Direction.REVERSE, False),
        (Primary.NO, Direction.FORWARD, False),
        (Primary.NO, Direction.REVERSE, True),
    ],
)
def test_the_direction_says_which_side_the_data_comes_from(
    primary: Primary, direction: Direction, is_source: bool
) -> None:
    assert replace(LOCAL, primary=primary, direction=direction).is_source is is_source


def test_the_columns_of_figure_3_are_spelled_as_there() -> None:
    assert [status.value for status in PairStatus] == ["SIMPLEX", "COPY", "DUPLEX", "SPLIT"]
    assert [kind.value for kind in CopyType] == ["Remote Copy", "Local Copy"]
    assert [side.value for side in Primary] == ["YES", "NO"]


def test_only_what_was_neither_wished_nor_broken_resumes_by_itself() -> None:
    assert [cause for cause in SplitCause if cause.resumes_by_itself] == [
        SplitCause.PATH_LOST,
        SplitCause.CONGESTED,
        SplitCause.UNCLEAN,
        SplitCause.REPAIR,
    ]
    assert [cause for cause in SplitCause if not cause.is_error] == [
        SplitCause.REQUESTED,
        SplitCause.PROTECT,
    ]
