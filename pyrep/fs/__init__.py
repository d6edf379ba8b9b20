"""Files inside volumes: reading, selecting, comparing and restoring them."""

from pyrep.fs.apply import RestoreResult, apply_restore
from pyrep.fs.browse import FileBrowser
from pyrep.fs.changed import ChangedFiles, files_of_extents, merged
from pyrep.fs.compare import (
    Aspect,
    Difference,
    WholeVolume,
    compare_trees,
    holds_exactly,
)
from pyrep.fs.difference import plan_restore
from pyrep.fs.entries import Access, FileKind, FileStat, Storage
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.partition import find_partition, list_partitions, open_partition
from pyrep.fs.partition_table import Partition, clip_extents
from pyrep.fs.plan import ChangeKind, PlannedChange, RestorePlan
from pyrep.fs.recovery import recover
from pyrep.fs.select import Chosen, Selection
from pyrep.fs.tree import FileTree, read_tree
from pyrep.fs.treediff import PathChange, content_changed, diff_trees

__all__ = [
    "Access",
    "Aspect",
    "ChangeKind",
    "ChangedFiles",
    "Chosen",
    "Difference",
    "ExtFileSystem",
    "FileBrowser",
    "FileKind",
    "FileStat",
    "FileTree",
    "Partition",
    "PathChange",
    "PlannedChange",
    "RestorePlan",
    "RestoreResult",
    "Selection",
    "Storage",
    "WholeVolume",
    "apply_restore",
    "clip_extents",
    "compare_trees",
    "content_changed",
    "diff_trees",
    "files_of_extents",
    "find_partition",
    "holds_exactly",
    "list_partitions",
    "merged",
    "open_partition",
    "plan_restore",
    "read_tree",
    "recover",
]
