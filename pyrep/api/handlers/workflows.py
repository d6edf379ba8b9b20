"""Requests about backups and restores."""

from __future__ import annotations

from typing import Any

from pyrep.api.jobtable import RunningJob
from pyrep.api.requests import Abandon, BackupAsked, Nothing, RestoreAsked
from pyrep.api.routes import Answers, Site, route
from pyrep.api.shapes import estimate_json, name_from, report_json, workflow_json
from pyrep.engine import Cancel, ProgressCallback
from pyrep.engine.arguments import one_of
from pyrep.workflows import (
    BackupSides,
    HoldAck,
    abandon,
    backup,
    dry_run_restore,
    list_workflows,
    restore,
    resume,
)

__all__ = [
    "abandon_workflow",
    "begin_backup",
    "begin_restore",
    "get_workflows",
    "resume_workflow",
]

Json = dict[str, Any]


@route("POST", "/backups", BackupAsked, answers=Answers.JOB)
def begin_backup(site: Site, asked: BackupAsked) -> RunningJob:
    """Take a backup of volumes at one point (Fig. 4)."""
    sides, hold_ack = one_of(BackupSides, asked.sides), one_of(HoldAck, asked.hold_ack)

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        report = backup(
            site.system,
            asked.volumes,
            primary=asked.primary,
            label=asked.label,
            sides=sides,
            hold_ack=hold_ack,
            reuse_last=asked.reuse_last,
            hold_max_ms=asked.hold_max_ms,
            progress=progress,
            cancel=cancel,
        )
        return report_json(report)

    return site.jobs.start(f"back up {', '.join(asked.volumes)}", work)


@route("POST", "/restores", RestoreAsked, answers=Answers.JOB)
def begin_restore(site: Site, asked: RestoreAsked) -> RunningJob:
    """Restore files (Fig. 5) or a volume (Fig. 6), or (`dry_run`) tell what that would do."""
    paths = [*map(str.encode, asked.paths), *(name_from("", one) for one in asked.paths_b64)]

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        if asked.dry_run:
            estimate = dry_run_restore(
                site.system,
                asked.generation,
                asked.volume,
                paths,
                whole=asked.whole,
                delete_extra=asked.delete_extra,
                partition=asked.partition,
                discard_pending=asked.discard_pending,
                cancel=cancel,
            )
            return estimate_json(estimate)
        report = restore(
            site.system,
            asked.generation,
            asked.volume,
            paths,
            whole=asked.whole,
            delete_extra=asked.delete_extra,
            partition=asked.partition,
            discard_pending=asked.discard_pending,
            progress=progress,
            cancel=cancel,
        )
        return report_json(report)

    doing = "estimate a restore of" if asked.dry_run else "restore"
    return site.jobs.start(f"{doing} {asked.volume} from {asked.generation}", work)


@route("GET", "/workflows")
def get_workflows(site: Site, _: Nothing) -> list[Json]:
    """Return the workflows of the journal, oldest first."""
    return [workflow_json(one) for one in list_workflows(site.system)]


@route("POST", "/workflows/{workflow}/resume", answers=Answers.JOB)
def resume_workflow(site: Site, workflow: str, _: Nothing) -> RunningJob:
    """Go on with a stopped workflow from the step it stopped at."""

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        return report_json(resume(site.system, workflow, progress=progress, cancel=cancel))

    return site.jobs.start(f"resume workflow {workflow}", work)


@route("POST", "/workflows/{workflow}/abandon", Abandon, answers=Answers.JOB)
def abandon_workflow(site: Site, workflow: str, asked: Abandon) -> RunningJob:
    """Undo a stopped workflow: volumes and hosts as before it; a job, as a copy may be part of it.

    A cancel ends that copy; then only abandoning again is left.
    """

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        abandon(
            site.system,
            workflow,
            without_peer=asked.without_peer,
            progress=progress,
            cancel=cancel,
        )
        return {"workflow_id": workflow}

    return site.jobs.start(f"abandon workflow {workflow}", work)
