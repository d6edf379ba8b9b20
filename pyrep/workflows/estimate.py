"""Dry runs: which files and how many bytes a restore would write and send over the path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pyrep._core import Bitmap, Io, LinkCore, OverlayIo, Tree, VolumeCore, VolumeIo, Wake
from pyrep.engine import Cancel
from pyrep.errors import DamagedFileSystemError, FileSystemError
from pyrep.fs import (
    Access,
    ChangeKind,
    ExtFileSystem,
    FileKind,
    FileTree,
    PlannedChange,
    RestorePlan,
    Selection,
    WholeVolume,
    apply_restore,
    holds_exactly,
    open_partition,
    plan_restore,
    recover,
)

__all__ = [
    "Estimate",
    "Estimated",
    "bytes_of",
    "check_selection",
    "estimate_files",
    "in_chunks",
    "open_view",
    "provisional_whole",
]

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

    def to_json(self) -> dict[str, Any]:
        """Return it for the path; names that aren't UTF-8 survive."""
        changes = [
            [one.path.hex(), one.change.value, one.kind.name, one.bytes_differ]
            for one in self.changes
        ]
        return {**asdict(self), "changes": changes}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Estimate:
        """Return what `to_json` was given."""
        changes = tuple(
            PlannedChange(
                path=bytes.fromhex(path),
                change=ChangeKind(change),
                kind=FileKind[kind],
                bytes_differ=differ,
            )
            for path, change, kind, differ in data["changes"]
        )
        return cls(**{**data, "changes": changes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """A restore of files as it went in a view.

    Attributes:
        plan: what changed.
        write_bytes: bytes written, metadata included.
        chunks: those that the writes marked.
    """

    plan: RestorePlan
    write_bytes: int
    chunks: Bitmap


def in_chunks(bits: Bitmap, chunk_bytes: int, *, of_bytes: int, size_bytes: int) -> Bitmap:
    """Return the chunks of `of_bytes` bytes that a bitmap of chunks of `chunk_bytes` touches."""
    out = Bitmap(-(-size_bytes // of_bytes))
    for first, count in bits.runs():
        start, end = first * chunk_bytes, min((first + count) * chunk_bytes, size_bytes)
        out.set(start // of_bytes, (end - 1) // of_bytes - start // of_bytes + 1)
    return out


def bytes_of(bits: Bitmap, chunk_bytes: int, size_bytes: int) -> int:
    """Return the bytes of a bitmap's chunks; the last chunk of a volume may be partial."""
    last = len(bits) - 1
    beyond = (last + 1) * chunk_bytes - size_bytes if bits.test(last) else 0
    return bits.count() * chunk_bytes - beyond


@contextlib.contextmanager
def open_view(
    io: Io, name: str, access: Access = Access.READ_ONLY, *, partition: int | None = None
) -> Iterator[ExtFileSystem]:
    """Open the file system on `io`, which must be a view or a tracked volume: it is recovered.

    Args:
        io: the volume.
        name: of the volume, for messages.
        access: opened READ_ONLY, it is written by recovery alone.
        partition: where the file system is; None: on the volume itself.

    Raises:
        FileSystemError: it can't be recovered or opened, or the partition table is damaged.
        NotFoundError: the volume doesn't have the partition.
    """
    if partition is None:
        recover(io, name)
        with ExtFileSystem.open(io.address, access=access, name=name) as fs:
            yield fs
        return
    within = f"partition {partition} of {name}"
    with open_partition(io, partition) as part:
        recover(part, within)
        with ExtFileSystem.open(part.address, access=access, name=within) as fs:
            yield fs


def estimate_files(
    generation: Io,
    live: Io,
    selection: Selection,
    *,
    names: tuple[str, str],
    chunk_bytes: int,
    delete_extra: bool,
    partition: int | None,
    cancel: Cancel | None,
) -> Estimated:
    """Do the restore in a copy-on-write view of the live volume, tracked as the volume is."""

    def once() -> Estimated:
        with (
            OverlayIo(live) as view,
            open_view(generation, names[0], partition=partition) as source,
            _tracked(view, names[1], chunk_bytes) as (io, link),
        ):
            with open_view(io, names[1], Access.READ_WRITE, partition=partition) as target:
                plan = plan_restore(
                    source, target, selection, delete_extra=delete_extra, cancel=cancel
                )
                result = apply_restore(plan, source, target, cancel=cancel)
            return Estimated(plan=plan, write_bytes=result.bytes_written, chunks=link.cover())

    for _ in range(_TRIES - 1):
        try:
            return once()
        except DamagedFileSystemError:
            continue  # a torn look at a volume that is being written
    return once()


@contextlib.contextmanager
def _tracked(view: Io, name: str, chunk_bytes: int) -> Iterator[tuple[VolumeIo, LinkCore]]:
    """Yield storage whose writes mark, and the row that they mark in: 530's own write path."""
    with (
        Tree(0) as tree,
        Wake() as wake,
        VolumeCore(view, tree, name=name, wake=wake) as core,
        LinkCore(core, chunk_bytes=chunk_bytes, shares_marks=False) as link,
    ):
        link.mark()
        with VolumeIo(core, ack_timeout_s=0) as io:
            yield io, link


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
