"""Files inside volumes: reading, selecting, comparing and restoring them."""

from pyrep.fs.apply import RestoreResult, apply_restore
from pyrep.fs.compare import (
    Aspect,
    Difference,
    WholeVolume,
    compare_trees,
    holds_exactly,
)
from pyrep.fs.difference import plan_restore
from pyrep.fs.entries import Access, FileKind, FileStat
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.plan import ChangeKind, PlannedChange, RestorePlan
from pyrep.fs.select import Chosen, Selection
from pyrep.fs.tree import FileTree, read_tree

__all__ = [
    "Access",
    "Aspect",
    "ChangeKind",
    "Chosen",
    "Difference",
    "ExtFileSystem",
    "FileKind",
    "FileStat",
    "FileTree",
    "PlannedChange",
    "RestorePlan",
    "RestoreResult",
    "Selection",
    "WholeVolume",
    "apply_restore",
    "compare_trees",
    "holds_exactly",
    "plan_restore",
    "read_tree",
]
