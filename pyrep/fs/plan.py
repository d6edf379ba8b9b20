"""What a restore of files will do, as data: made by `plan_restore`, done by `apply_restore`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pyrep.fs.entries import FileKind, FileStat

__all__ = [
    "ChangeKind",
    "DirectoryStep",
    "FileStep",
    "PlannedChange",
    "Removal",
    "RestorePlan",
]


class ChangeKind(enum.Enum):
    """What happens to a path."""

    CREATE = "create"
    CONTENT = "content"
    ATTRIBUTES = "attributes"
    REPLACE = "replace"
    LINK = "link"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One path that the restore changes.

    Attributes:
        kind: what is there afterwards; of a removal, what was there.
        bytes_differ: of the blocks of file data that have to be written, at most.
    """

    path: bytes
    change: ChangeKind
    kind: FileKind
    bytes_differ: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """A name of the target that goes before anything is made.

    Attributes:
        directory: inode that it is in.
        is_replaced: something else gets the path.
    """

    stat: FileStat
    directory: int
    is_replaced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryStep:
    """A directory of the source that the target has or gets.

    Attributes:
        target: the target's own, or None: it is made, with the source's attributes.
        takes_attributes: it is selected and its attributes differ.
        is_touched: it isn't selected, but names in it come or go.
    """

    source: FileStat
    target: FileStat | None
    takes_attributes: bool
    is_touched: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStep:
    """One file of the source, with those of its names that are selected.

    Attributes:
        source: the file under the first of its names.
        new_names: names that the target lacks, or has for something else (a removal).
        reused: the target's file whose inode stays, or None: it is made anew.
        takes_content: data, holes or size differ.
        takes_attributes: mode, owner, time, flags or extended attributes differ.
    """

    source: FileStat
    new_names: tuple[bytes, ...]
    reused: FileStat | None
    takes_content: bool
    takes_attributes: bool
    bytes_differ: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """A restore that may be carried out as long as neither file system is changed otherwise.

    Attributes:
        changes: every path that changes, ordered.
        files_selected: files and directories that the selection means.
        bytes_selected: of the regular files among them, each counted once.
        bytes_differ: of blocks of file data that have to be written, at most: new blocks that hold
            the data already, as those of a deleted file may, aren't written.
        blocks_needed, inodes_needed: to be allocated, at most.
    """

    changes: tuple[PlannedChange, ...]
    removals: tuple[Removal, ...]
    directories: tuple[DirectoryStep, ...]
    files: tuple[FileStep, ...]
    files_selected: int
    bytes_selected: int
    bytes_differ: int
    blocks_needed: int
    inodes_needed: int

    @property
    def is_empty(self) -> bool:
        """Whether the target holds what was chosen already."""
        return not self.changes
