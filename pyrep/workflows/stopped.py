"""Workflows that stopped: resumed, or abandoned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.errors import NotFoundError, RefusedError
from pyrep.model import (
    VolumeId,
    WorkflowId,
    WorkflowKind,
    WorkflowRecord,
    WorkflowState,
)
from pyrep.workflows.alone import abandon_backup_lease, abandon_production
from pyrep.workflows.backup import Backup
from pyrep.workflows.backup_request import BackupReport, BackupRequest
from pyrep.workflows.leading import go_on_with_backup, go_on_with_restore, inside
from pyrep.workflows.restore import Restore
from pyrep.workflows.restore_request import RestoreReport, RestoreRequest
from pyrep.workflows.run import Run

__all__ = ["abandon", "list_workflows", "resume"]


def list_workflows(system: StorageSystem) -> tuple[WorkflowRecord, ...]:
    """Return the workflows in a system's journal, oldest first; of those ended the last 1000."""
    return system.state.journal.all()


@contextlib.contextmanager
def _taken_up(
    system: StorageSystem,
    workflow_id: str,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
) -> Iterator[tuple[WorkflowRecord, Run]]:
    """Take up a stopped workflow that this system leads; give it with its record as stopped.

    Raises:
        NotFoundError, RefusedError: there is none, it isn't stopped, another system leads it.
    """
    record = system.state.journal.get(WorkflowId(workflow_id))
    if record.state is WorkflowState.STOPPED and record.request.get("led_elsewhere"):
        raise RefusedError(
            f"cannot take up workflow {workflow_id} here: another system leads it",
            hint="ask the system that holds the generation",
        )
    with Run.take_up(system, record.workflow_id, progress=progress, cancel=cancel) as run:
        yield system.state.journal.get(record.workflow_id), run


def resume(
    system: StorageSystem,
    workflow_id: str,
    *,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
) -> BackupReport | RestoreReport:
    """Go on with a stopped workflow from the step it stopped at.

    From the first moment on it is running: of several that resume or abandon it at once, one does,
    and the others are refused.

    Raises:
        RefusedError: it isn't stopped, or another system leads it.
        WorkflowError: it stopped again.
    """
    with inside(system), _taken_up(system, workflow_id, progress, cancel) as (record, run):
        if run.facts.get("abandoning") or run.facts.get("ending") == WorkflowState.ABANDONED:
            raise RefusedError(
                f"cannot resume workflow {workflow_id}: abandoning it has begun",
                hint=f"abandon(system, {workflow_id!r})",
            )
        if record.kind is WorkflowKind.BACKUP:
            made = Backup(system, BackupRequest.from_json(record.request))
            if not run.facts.get("split"):
                run.attempt(lambda: made.prepare(run))  # another attempt
                return go_on_with_backup(made, run, None)
            run.attempt(lambda: run.lease(map(VolumeId, made.request.volumes)))
            return go_on_with_backup(made, run, record.step)
        back = Restore(system, RestoreRequest.from_json(record.request))
        if record.step in {500, 600}:
            run.attempt(lambda: back.prepare(run))
        run.attempt(lambda: run.lease([back.subject.member.source]))
        return go_on_with_restore(back, run, back.resume_step(record.step))


def abandon(
    system: StorageSystem,
    workflow_id: str,
    *,
    without_peer: bool = False,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
) -> None:
    """Undo a stopped workflow: volumes and hosts as before it, leases free.

    While it is undone it is running, as in `resume`; what can't be undone now leaves it stopped,
    and may be asked for again.

    Args:
        system: the one that leads it; without its peer, any that holds something for it.
        workflow_id: its id in the journal.
        without_peer: end it here alone, because the other system is gone. A backup's attempt is
            given up here; the other side is told at the next one. Of a restore, the PVOL is served
            again if 550 or 670 hadn't begun; if it had, it stays fenced, half-way, until a reverse
            copy into it has ended, or the pair is dissolved with `Force.INCONSISTENT_LEFT`. The
            SPVOL keeps what was written to it, pending.
        progress: told how far the copy is that undoes a restore.
        cancel: stops that copy; only abandoning again is left then.

    Raises:
        RefusedError: data is being copied back, only `resume` is left; or it isn't stopped; or
            without the peer, although the path to it is up and it has the workflow, not ended.
        PathLostError: the other system couldn't be told.
        CancelledError: `cancel`; it may be asked for again.
    """
    with inside(system):
        if without_peer and _is_led_elsewhere(system, WorkflowId(workflow_id)):
            return
        with _taken_up(system, workflow_id, progress, cancel) as (record, run):
            if record.kind is WorkflowKind.BACKUP:
                made = Backup(system, BackupRequest.from_json(record.request))
                made.abandon(run, without_peer=without_peer)
                return
            back = Restore(system, RestoreRequest.from_json(record.request))
            if without_peer:
                back.abandon_alone(run)
            else:
                back.abandon(run)


def _is_led_elsewhere(system: StorageSystem, workflow_id: WorkflowId) -> bool:
    """End what another system leads here, and return True; or return False."""
    try:
        record = system.state.journal.get(workflow_id)
    except NotFoundError:
        abandon_backup_lease(system, workflow_id)
        return True
    if not record.request.get("led_elsewhere") or record.state.has_ended:
        return False
    abandon_production(system, record)
    return True
