"""The workflows as embedders ask for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.arguments import several
from pyrep.errors import InvalidArgumentError
from pyrep.model import (
    PairStatus,
    SystemId,
    VolumeId,
)
from pyrep.workflows.backup import begin_backup
from pyrep.workflows.backup_request import BackupReport, BackupRequest, BackupSides, HoldAck
from pyrep.workflows.codec import generation_from, generation_to
from pyrep.workflows.copies import find_generation
from pyrep.workflows.estimate import Estimate
from pyrep.workflows.leading import inside, lead_backup, lead_restore
from pyrep.workflows.restore import Restore, begin_restore
from pyrep.workflows.restore_request import RestoreReport, RestoreRequest
from pyrep.workflows.restore_subject import RestoreSubject
from pyrep.workflows.sending import LED_AWAY_S, send

__all__ = ["backup", "backup_body", "dry_run_restore", "restore"]

PathLike = str | bytes


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
    with inside(system):
        made, run = begin_backup(system, request, progress=progress, cancel=cancel)
        return lead_backup(made, run)


def _backup_report(body: dict[str, Any]) -> BackupReport:
    generations = tuple(generation_from(one) for one in body["generations"])
    return BackupReport(**{**body, "generations": generations})


def backup_body(report: BackupReport) -> dict[str, Any]:
    """Return a report as it travels."""
    return {
        **asdict(report),
        "generations": [generation_to(one) for one in report.generations],
    }


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
    with inside(system):
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
    with inside(system):
        made = Restore(system, request)
        made.subject.check()
        run = begin_restore(system, made, progress=progress, cancel=cancel)
        return lead_restore(made, run)
