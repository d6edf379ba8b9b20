"""The three workflows: backup (Fig. 4), restore of files (Fig. 5), restore of a volume (Fig. 6)."""

from pyrep.engine import StorageSystem
from pyrep.workflows.asked import attach
from pyrep.workflows.backup_request import BackupReport, BackupRequest, BackupSides, HoldAck
from pyrep.workflows.browse import (
    PathVersion,
    browse,
    changed_files,
    diff,
    differing_files,
    history,
    pending_files,
)
from pyrep.workflows.copies import find_generation, refresh_generations
from pyrep.workflows.estimate import Estimate
from pyrep.workflows.restore_request import RestoreReport, RestoreRequest
from pyrep.workflows.service import backup, dry_run_restore, restore
from pyrep.workflows.stopped import abandon, list_workflows, resume

__all__ = [
    "BackupReport",
    "BackupRequest",
    "BackupSides",
    "Estimate",
    "HoldAck",
    "PathVersion",
    "RestoreReport",
    "RestoreRequest",
    "abandon",
    "attach",
    "backup",
    "browse",
    "changed_files",
    "diff",
    "differing_files",
    "dry_run_restore",
    "find_generation",
    "history",
    "list_workflows",
    "pending_files",
    "refresh_generations",
    "restore",
    "resume",
]

# Every system that is opened from now on answers the workflows' commands.
StorageSystem.on_open.append(attach)
