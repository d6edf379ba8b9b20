"""Workflows that are led here, once they have begun."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyrep.engine import StorageSystem
from pyrep.model import (
    WorkflowState,
)
from pyrep.workflows.backup import Backup
from pyrep.workflows.backup_request import BackupReport
from pyrep.workflows.restore import Restore
from pyrep.workflows.restore_request import RestoreReport
from pyrep.workflows.run import Run

__all__ = [
    "go_on_with_backup",
    "go_on_with_restore",
    "inside",
    "lead_backup",
    "lead_restore",
]


@contextlib.contextmanager
def inside(system: StorageSystem) -> Iterator[None]:
    """Be counted in: `close` frees nothing that a workflow still touches, and waits for it.

    A workflow amid a close soon stops at its step, since paths are cut and volumes fenced. Closing
    the system from a workflow's own callback would wait for itself: do it behind the workflow.

    Raises:
        InvalidArgumentError: the system is closed.
    """
    with system.state.at_work():
        system.state.check_open()
        yield


def lead_backup(made: Backup, run: Run) -> BackupReport:
    """Lead a backup that was begun to its end."""
    run.prepare(lambda: made.prepare(run), lambda error: made.refuse(run, error))
    return go_on_with_backup(made, run, None)


def go_on_with_backup(made: Backup, run: Run, from_step: int | None) -> BackupReport:
    """Lead it on from a step, or from the first one."""
    run.perform(made.steps(run), from_step=from_step)
    return run.attempt(lambda: made.finish(run))


def lead_restore(made: Restore, run: Run) -> RestoreReport:
    """Lead a restore that was begun to its end."""
    run.prepare(lambda: made.prepare(run), lambda error: made.refuse(run, error))
    return go_on_with_restore(made, run, None)


def go_on_with_restore(made: Restore, run: Run, from_step: int | None) -> RestoreReport:
    """Lead it on from a step, or from the first one; only end it where all of them are done."""
    if run.facts.get("ending") != WorkflowState.DONE:
        run.perform(made.steps(run), from_step=from_step)
    return run.attempt(lambda: made.finish(run))
