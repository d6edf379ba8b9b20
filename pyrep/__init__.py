"""Mirrored block volumes with point-in-time backup and restore, in user space.

The embedding API: `StorageSystem` with volumes and pairs, `connect` for two systems of one process,
and the workflows `backup`, `restore`, `dry_run_restore`, `resume`, `abandon`;
`browse`, `history`, `diff`, `changed_files` and `pending_files` look into generations and volumes.
"""

from pyrep.engine import (
    BadBitmap,
    Cancel,
    ChangedBacking,
    CopyJob,
    Options,
    Pair,
    PairState,
    Progress,
    ProgressCallback,
    StorageSystem,
    Volume,
    connect,
)
from pyrep.errors import PyrepError, format_error
from pyrep.host import CommandHostAgent, NoHostAgent
from pyrep.model import AckPoint, Direction, Generation, PairStatus, SplitCause
from pyrep.version import __version__
from pyrep.workflows import (
    BackupReport,
    BackupSides,
    Estimate,
    HoldAck,
    PathVersion,
    RestoreReport,
    abandon,
    backup,
    browse,
    changed_files,
    diff,
    dry_run_restore,
    history,
    list_workflows,
    pending_files,
    restore,
    resume,
)

__all__ = [
    "AckPoint",
    "BackupReport",
    "BackupSides",
    "BadBitmap",
    "Cancel",
    "ChangedBacking",
    "CommandHostAgent",
    "CopyJob",
    "Direction",
    "Estimate",
    "Generation",
    "HoldAck",
    "NoHostAgent",
    "Options",
    "Pair",
    "PairState",
    "PairStatus",
    "PathVersion",
    "Progress",
    "ProgressCallback",
    "PyrepError",
    "RestoreReport",
    "SplitCause",
    "StorageSystem",
    "Volume",
    "__version__",
    "abandon",
    "backup",
    "browse",
    "changed_files",
    "connect",
    "diff",
    "dry_run_restore",
    "format_error",
    "history",
    "list_workflows",
    "pending_files",
    "restore",
    "resume",
]
