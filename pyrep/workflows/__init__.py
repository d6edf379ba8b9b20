"""The three workflows: backup (Fig. 4), restore of files (Fig. 5), restore of a volume (Fig. 6)."""

from pyrep.engine import StorageSystem
from pyrep.workflows.backup_request import BackupReport, BackupRequest, BackupSides, HoldAck
from pyrep.workflows.estimate import Estimate
from pyrep.workflows.restore_request import RestoreReport, RestoreRequest
from pyrep.workflows.service import (
    abandon,
    attach,
    backup,
    dry_run_restore,
    list_workflows,
    restore,
    resume,
)

__all__ = [
    "BackupReport",
    "BackupRequest",
    "BackupSides",
    "Estimate",
    "HoldAck",
    "RestoreReport",
    "RestoreRequest",
    "abandon",
    "attach",
    "backup",
    "dry_run_restore",
    "list_workflows",
    "restore",
    "resume",
]

# Every system that is opened from now on answers the workflows' commands.
StorageSystem.on_open.append(attach)
