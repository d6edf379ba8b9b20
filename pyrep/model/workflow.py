"""Workflows: the journal's noun for a backup or a restore that is under way or has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from pyrep.errors import InvalidArgumentError
from pyrep.model.ids import WorkflowId

__all__ = ["WorkflowKind", "WorkflowRecord", "WorkflowState"]


class WorkflowKind(StrEnum):
    """The three workflows: Fig. 4, Fig. 5, Fig. 6."""

    BACKUP = "backup"
    RESTORE_FILES = "restore_files"
    RESTORE_VOLUME = "restore_volume"


class WorkflowState(StrEnum):
    """Whether a workflow runs, stopped at a step (to be resumed or abandoned), or has ended."""

    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"
    ABANDONED = "abandoned"

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left to resume."""
        return self in {WorkflowState.DONE, WorkflowState.ABANDONED}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRecord:
    """One run of a workflow, as its journal keeps it.

    Attributes:
        workflow_id: its id.
        kind: which of the three.
        state: whether it runs.
        step: the patent's number of the step last begun (400, 510, 650, ...).
        request: what was asked, JSON-able; enough to run it again from any step.
        progress: what the steps so far have decided and done, JSON-able.
        error: why it stopped, or None.
        started_at: when it was begun, with its time zone.
        updated_at: when the record was last changed, with its time zone.

    Raises:
        InvalidArgumentError: a time has no time zone.
    """

    workflow_id: WorkflowId
    kind: WorkflowKind
    state: WorkflowState
    step: int
    request: dict[str, Any]
    started_at: datetime
    updated_at: datetime
    progress: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def __post_init__(self) -> None:
        if self.started_at.tzinfo is None or self.updated_at.tzinfo is None:
            raise InvalidArgumentError(
                f"workflow {self.workflow_id}: a time has no time zone", hint="pass times in UTC"
            )
