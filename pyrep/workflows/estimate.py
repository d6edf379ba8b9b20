"""Dry runs: which files and how many bytes a restore would write and send over the path."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep._core import Io, OverlayIo
from pyrep.engine import Cancel
from pyrep.errors import DamagedFileSystemError, FileSystemError
from pyrep.fs import (
    Access,
    ExtFileSystem,
    FileTree,
    PlannedChange,
    RestorePlan,
    Selection,
    WholeVolume,
    apply_restore,
    holds_exactly,
    plan_restore,
)

__all__ = ["Estimate", "check_selection", "estimate_files", "open_view", "provisional_whole"]

_TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a restore would do. Nothing was changed to find out.

    Attributes:
        figure: 5 (files) or 6 (the whole volume).
        reason: why this figure (step 610).
        changes: the paths that would change, of Fig. 5.
        write_bytes: bytes that would be written to the SPVOL, metadata included.
        cross_bytes: bytes of chunks that would cross the path.
        revert_bytes: of these, chunks written at the PVOL since the split, which would go back.
        is_provisional: the volume is being written meanwhile; the restore decides again.
        trouble: why the live volume's files couldn't be read, or "".
    """

    figure: int
    reason: str
    changes: tuple[PlannedChange, ...] = ()
    write_bytes: int = 0
    cross_bytes: int = 0
    revert_bytes: int = 0
    is_provisional: bool = True
    trouble: str = ""


def open_view(io: Io, name: str, access: Access = Access.READ_ONLY) -> ExtFileSystem:
    """Open the file system on `io`."""
    return ExtFileSystem.open(io.address, access=access, name=name)


def estimate_files(
    generation: Io,
    live: Io,
    selection: Selection,
    *,
    names: tuple[str, str],
    delete_extra: bool,
    cancel: Cancel | None,
) -> tuple[RestorePlan, int]:
    """Do the restore in a copy-on-write view of the live volume; return plan and bytes written."""

    def in_view() -> tuple[RestorePlan, int]:
        with OverlayIo(live) as view, open_view(generation, names[0]) as source:
            with open_view(view, names[1], Access.READ_WRITE) as target:
                plan = plan_restore(
                    source, target, selection, delete_extra=delete_extra, cancel=cancel
                )
                apply_restore(plan, source, target, cancel=cancel)
            return plan, view.dirty_bytes

    for _ in range(_TRIES - 1):
        try:
            return in_view()
        except DamagedFileSystemError:
            continue  # a torn look at a volume that is being written
    return in_view()


def provisional_whole(
    generation: Io, live: Io, selection: Selection, *, names: tuple[str, str]
) -> tuple[WholeVolume | None, str]:
    """610: whether the chosen files are the whole volume; None and why, if it can't be told."""
    trouble = ""
    for _ in range(_TRIES):
        with OverlayIo(live) as view, open_view(generation, names[0]) as source:
            check_selection(source, selection)
            try:
                with open_view(view, names[1]) as target:
                    return holds_exactly(source, target, selection), ""
            except FileSystemError as error:
                trouble = str(error)
                if not isinstance(error, DamagedFileSystemError):
                    break
    return None, trouble


def check_selection(source: ExtFileSystem, selection: Selection) -> None:
    """Raise PathNotInFileSystemError when the selection names nothing in the generation."""
    selection.choose(FileTree(source))
