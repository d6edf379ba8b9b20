"""The workflows as embedders ask for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.arguments import several
from pyrep.errors import InvalidArgumentError, NotFoundError, RefusedError
from pyrep.model import (
    PairStatus,
    SystemId,
    VolumeId,
    WorkflowId,
    WorkflowKind,
    WorkflowRecord,
    WorkflowState,
)
from pyrep.workflows.alone import abandon_backup_lease, abandon_production
from pyrep.workflows.backup import Backup, begin_backup
from pyrep.workflows.backup_request import BackupReport, BackupRequest, BackupSides, HoldAck
from pyrep.workflows.codec import generation_from, generation_to
from pyrep.workflows.copies import find_generation
from pyrep.workflows.estimate import Estimate
from pyrep.workflows.restore import Restore, begin_restore
from pyrep.workflows.restore_request import RestoreReport, RestoreRequest
from pyrep.workflows.restore_subject import RestoreSubject
from pyrep.workflows.run import Run
from pyrep.workflows.sending import LED_AWAY_S, send

__all__ = [
    "abandon",
    "backup",
    "backup_body",
    "dry_run_restore",
    "lead_backup",
    "lead_restore",
    "list_workflows",
    "restore",
    "resume",
]

PathLike = str | bytes


# --- backup --------------------------------------------------------------------------------------


def backup(
    system: StorageSystem,
    volumes: Sequence[str],
    *,
    primary: str | None = None,
    label: str = "",
    sides: BackupSides = BackupSides.SECONDARY,
    hold_ack: HoldAck = HoldAck.WAIT,
    reuse_last: bool = False,
    hold_max_ms: float | None = None,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
) -> BackupReport:
    """Take a backup of volumes at one point into SVOLs (Fig. 4); the remote mirror stays in work.

    Args:
        system: any system; the primary leads.
        volumes: ids of volumes at the primary.
        primary: the system that leads, if it isn't `system`.
        label: free text for the catalogue.
        sides: whose local mirrors are split, all at one point.
        hold_ack: whether synchronous writers wait in the hold.
        reuse_last: whether the only complete generation may be given up when no SVOL is free.
        hold_max_ms: longest hold; the system's option by default.
        progress: called at each step, and as it goes on; `final` says when a cancel comes too late.
        cancel: ends it between steps, and the wait for a mirror; the workflow stays to be resumed
            or abandoned. One that another system leads is told there.

    Returns:
        The report, with the complete generations.

    Raises:
        RefusedError, NotFoundError, BusyError: refused at 400; nothing was begun.
        InvalidArgumentError: a volume is named twice, or the hold has no time; nothing was begun.
        WorkflowError: stopped at a step; `resume` or `abandon` it.
        PathLostError: another system leads it, and the path to that was lost for long: it goes on
            there, whose `list_workflows` tells.
    """
    longest_ms = system.state.options.hold_max_ms if hold_max_ms is None else hold_max_ms
    if not longest_ms > 0:
        raise InvalidArgumentError(
            f"a backup can't hold writes for {longest_ms} ms at most", hint="hold_max_ms: above 0"
        )
    request = BackupRequest(
        volumes=tuple(several("volumes", volumes)),
        label=label,
        sides=sides,
        hold_ack=hold_ack,
        reuse_last=reuse_last,
        hold_max_ms=longest_ms,
    )
    if len(set(request.volumes)) < len(request.volumes):
        raise InvalidArgumentError(
            f"cannot back up a volume twice at once: {', '.join(request.volumes)}",
            hint="name each volume once",
        )
    if primary is not None and primary != system.system_id:
        body = send(
            system,
            SystemId(primary),
            "backup.run",
            {"request": request.to_json()},
            progress=progress,
            cancel=cancel,
            away_s=LED_AWAY_S,
        )
        return _backup_report(body)
    with _inside(system):
        made, run = begin_backup(system, request, progress=progress, cancel=cancel)
        return lead_backup(made, run)


@contextlib.contextmanager
def _inside(system: StorageSystem) -> Iterator[None]:
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
    return _go_on_with_backup(made, run, None)


def _go_on_with_backup(made: Backup, run: Run, from_step: int | None) -> BackupReport:
    run.perform(made.steps(run), from_step=from_step)
    return run.attempt(lambda: made.finish(run))


def _backup_report(body: dict[str, Any]) -> BackupReport:
    generations = tuple(generation_from(one) for one in body["generations"])
    return BackupReport(**{**body, "generations": generations})


def backup_body(report: BackupReport) -> dict[str, Any]:
    """Return a report as it travels."""
    return {
        **asdict(report),
        "generations": [generation_to(one) for one in report.generations],
    }


# --- restore -------------------------------------------------------------------------------------


def _request(
    generation: str,
    volume: str,
    paths: Sequence[PathLike],
    *,
    whole: bool,
    delete_extra: bool,
    partition: int | None,
    discard_pending: bool,
) -> RestoreRequest:
    chosen = several("paths", paths)
    if whole and partition is not None:
        raise InvalidArgumentError(
            "a whole volume is restored with all of its partitions",
            hint="name files with partition=..., or leave the partition out",
        )
    if whole == bool(chosen):
        raise InvalidArgumentError(
            "name the files to restore, or the whole volume, and not both",
            hint="paths=[...] or whole=True",
        )
    return RestoreRequest(
        generation=generation,
        volume=volume,
        paths=tuple(os.fsencode(path) for path in chosen),
        delete_extra=delete_extra,
        partition=partition,
        discard_pending=discard_pending,
    )


def _generation_of(system: StorageSystem, name: str) -> str:
    """Return the generation meant: by its id, or by the SVOL that holds it.

    An SVOL that is still DUPLEX is split now, at a point, as a new generation.
    """
    volume_id = VolumeId(name)
    for one in system.state.mirrors_of(volume_id):
        if one.row.is_remote or one.row.is_primary:
            continue
        found = system.generations.on_svol(volume_id)
        if found is None and one.row.status is PairStatus.DUPLEX:
            found = system.pair(one.row.pair_id).split(label="before a restore")
        if found is not None:
            return found.generation_id
    return name


def _home(system: StorageSystem, generation: str) -> SystemId:
    return find_generation(system, generation).home


def dry_run_restore(
    system: StorageSystem,
    generation: str,
    volume: str,
    paths: Sequence[PathLike] = (),
    *,
    whole: bool = False,
    delete_extra: bool = False,
    partition: int | None = None,
    discard_pending: bool = False,
    cancel: Cancel | None = None,
) -> Estimate:
    """Tell what `restore` would do, and do nothing (dry run).

    Args and errors as `restore`.
    """
    request = _request(
        generation,
        volume,
        paths,
        whole=whole,
        delete_extra=delete_extra,
        partition=partition,
        discard_pending=discard_pending,
    )
    home = _home(system, generation)
    if home != system.system_id:
        body = {"request": request.to_json()}
        return Estimate.from_json(send(system, home, "restore.estimate", body, cancel=cancel))
    with _inside(system):
        return RestoreSubject(system, request).estimate(cancel)


def restore(
    system: StorageSystem,
    generation: str,
    volume: str,
    paths: Sequence[PathLike] = (),
    *,
    whole: bool = False,
    delete_extra: bool = False,
    partition: int | None = None,
    discard_pending: bool = False,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
) -> RestoreReport:
    """Restore files (Fig. 5) or a volume (Fig. 6) to the primary's volume.

    The figure is decided by step 610. Only chunks that differ are written and cross the path.

    Args:
        system: the system that holds the generation, or the one whose volume it was taken from.
        generation: the generation's id; or, at the system that holds it, its SVOL's id: one that is
            still DUPLEX is split first, as a new generation.
        volume: which of its volumes, by its id at either system.
        paths: paths and patterns within the file system; str is encoded as file names are.
        whole: the whole volume, by name; then no file system is needed.
        delete_extra: also remove what a chosen directory has and the generation lacks.
        partition: the number of the partition that holds the files; None: the volume has a file
            system and no partitions. Files of a partition are always restored by Fig. 5.
        discard_pending: restore files although chunks of the primary's volume are pending: they go
            back in time, to what the secondary has. The refusal without it names whose they are.
        progress: called at each step, and as it goes on; `final` says when a cancel comes too late.
        cancel: ends it at the next good point; the workflow stays to be resumed or abandoned. From
            560 on it has no effect. One that another system leads is told there.

    Raises:
        RefusedError, NotFoundError, BusyError, FileSystemError, NoSpaceError: refused before
            anything was touched.
        WorkflowError: stopped at a step; `resume` or `abandon` it.
        PathLostError: another system leads it, and the path to that was lost for long: it goes on
            there, as far as it can, and `list_workflows` there tells.
    """
    asked = _request(
        generation,
        volume,
        paths,
        whole=whole,
        delete_extra=delete_extra,
        partition=partition,
        discard_pending=discard_pending,
    )
    request = replace(asked, generation=_generation_of(system, generation))
    home = _home(system, request.generation)
    if home != system.system_id:
        body = send(
            system,
            home,
            "restore.run",
            {"request": request.to_json()},
            progress=progress,
            cancel=cancel,
            away_s=LED_AWAY_S,
        )
        return RestoreReport(**body)
    with _inside(system):
        made = Restore(system, request)
        made.subject.check()
        run = begin_restore(system, made, progress=progress, cancel=cancel)
        return lead_restore(made, run)


def lead_restore(made: Restore, run: Run) -> RestoreReport:
    """Lead a restore that was begun to its end."""
    run.prepare(lambda: made.prepare(run), lambda error: made.refuse(run, error))
    return _go_on_with_restore(made, run, None)


def _go_on_with_restore(made: Restore, run: Run, from_step: int | None) -> RestoreReport:
    if run.facts.get("ending") != WorkflowState.DONE:
        run.perform(made.steps(run), from_step=from_step)
    return run.attempt(lambda: made.finish(run))


# --- journal -------------------------------------------------------------------------------------


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
    with _inside(system), _taken_up(system, workflow_id, progress, cancel) as (record, run):
        if run.facts.get("abandoning") or run.facts.get("ending") == WorkflowState.ABANDONED:
            raise RefusedError(
                f"cannot resume workflow {workflow_id}: abandoning it has begun",
                hint=f"abandon(system, {workflow_id!r})",
            )
        if record.kind is WorkflowKind.BACKUP:
            made = Backup(system, BackupRequest.from_json(record.request))
            if not run.facts.get("split"):
                run.attempt(lambda: made.prepare(run))  # another attempt
                return _go_on_with_backup(made, run, None)
            run.attempt(lambda: run.lease(map(VolumeId, made.request.volumes)))
            return _go_on_with_backup(made, run, record.step)
        back = Restore(system, RestoreRequest.from_json(record.request))
        if record.step in {500, 600}:
            run.attempt(lambda: back.prepare(run))
        run.attempt(lambda: run.lease([back.subject.member.source]))
        return _go_on_with_restore(back, run, back.resume_step(record.step))


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
    with _inside(system):
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
