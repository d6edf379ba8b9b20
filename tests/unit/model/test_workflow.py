from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.model.ids import WorkflowId
from pyrep.model.workflow import WorkflowKind, WorkflowRecord, WorkflowState

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "change",
    [{"started_at": NOON.replace(tzinfo=None)}, {"updated_at": NOON.replace(tzinfo=None)}],
)
def test_a_time_without_a_time_zone_is_refused(change: dict[str, Any]) -> None:
    record = WorkflowRecord(
        workflow_id=WorkflowId("w1"),
        kind=WorkflowKind.BACKUP,
        state=WorkflowState.RUNNING,
        step=400,
        request={},
        started_at=NOON,
        updated_at=NOON,
    )
    with pytest.raises(InvalidArgumentError, match="time zone"):
        replace(record, **change)


def test_a_stopped_workflow_has_not_ended() -> None:
    assert [state for state in WorkflowState if state.has_ended] == [
        WorkflowState.DONE,
        WorkflowState.ABANDONED,
    ]
