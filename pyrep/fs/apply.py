"""Carrying out a planned restore of files."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.fs.compare import STEP_BYTES
from pyrep.fs.entries import FileKind, FileStat, show
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.ext_delta import Delta
from pyrep.fs.ext_native import Making
from pyrep.fs.plan import DirectoryStep, FileStep, RestorePlan

__all__ = ["RestoreResult", "apply_restore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What a restore did.

    Attributes:
        bytes_written: to the target's volume, metadata included.
    """

    paths_changed: int
    bytes_written: int


def apply_restore(
    plan: RestorePlan,
    source: ExtFileSystem,
    target: ExtFileSystem,
    *,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
) -> RestoreResult:
    """Make the chosen files of the target what they are in the source, then flush.

    Mode, owner, times, flags, extended attributes, hard links among the chosen names, symbolic
    links, holes and special files are the source's afterwards. New files get the inode and the
    blocks that the source's have where these are free, so that data which is still there after a
    deletion isn't written again. A directory that wasn't chosen keeps its attributes, but notes the
    time when names in it came or went.

    Args:
        plan: made by `plan_restore` from the same open file systems, not changed since.
        source: where the files come from.
        target: opened for writing.
        progress: told about every file and every 64 MiB of one.
        cancel: ends it early.

    Raises:
        CancelledError: `cancel` was used between two files or within one; the target is consistent
            once it is flushed, and a new plan goes on from there.
        DeviceError, FileSystemError: as they come; then too a new plan goes on.
    """
    before = target.info.bytes_written
    _Restore(plan, source, target, progress, cancel).run()
    return RestoreResult(
        paths_changed=len(plan.changes), bytes_written=target.info.bytes_written - before
    )


class _Restore:
    """One run of a plan."""

    def __init__(
        self,
        plan: RestorePlan,
        source: ExtFileSystem,
        target: ExtFileSystem,
        progress: ProgressCallback | None,
        cancel: Cancel | None,
    ) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self._progress = progress
        self._cancel = cancel
        self._directories: dict[bytes, int] = {}
        self._same_volume = source.uuid == target.uuid
        self._total_bytes = sum(step.source.size for step in plan.files if step.takes_content)
        self._done_bytes = 0

    def run(self) -> None:
        """Carry it out, removals first: they make room."""
        for removal in self._plan.removals:
            self._check()
            self._remove(removal.stat, removal.directory)
        self._reserve()
        for directory in self._plan.directories:
            self._check()
            self._restore_directory(directory)
        for file in self._plan.files:
            self._check()
            self._restore_file(file)
        self._target.flush()
        self._report("files restored")

    def _check(self) -> None:
        if self._cancel is not None:
            self._cancel.check("restoring files")

    def _report(self, what: str) -> None:
        if self._progress is not None:
            self._progress(
                Progress(what=what, done_bytes=self._done_bytes, total_bytes=self._total_bytes)
            )

    def _remove(self, stat: FileStat, directory: int) -> None:
        handle = self._target.handle
        if stat.kind is FileKind.DIRECTORY:
            handle.rmdir(directory, stat.name, deep=True)
        else:
            handle.unlink(directory, stat.name)

    def _reserve(self) -> None:
        """Keep every file's own blocks free of the others: see `apply_restore`."""
        if not self._same_volume:
            return
        new = [step.source for step in self._plan.directories if step.target is None]
        for stat in new + [step.source for step in self._plan.files if step.takes_content]:
            self._target.handle.reserve(self._source.handle, stat.inode)

    def _make(self, stat: FileStat, path: bytes, target: bytes | None = None) -> int:
        parent, _, name = path.rpartition(b"/")
        return self._target.handle.make(
            Making(
                stat=stat,
                directory=self._directories[parent or b"/"],
                name=name,
                target=target,
                preferred_inode=stat.inode if self._same_volume else 0,
                goal_block=self._find_goal(stat),
                name_is_new=True,
            )
        )

    def _find_goal(self, stat: FileStat) -> int:
        if not self._same_volume or stat.kind is not FileKind.DIRECTORY:
            return 0
        return self._source.handle.first_block(stat.inode)

    def _set_xattrs(self, stat: FileStat, inode: int) -> None:
        handle = self._source.handle
        wanted = handle.xattrs(stat.inode) if stat.may_have_xattrs else {}
        self._target.handle.set_xattrs(inode, wanted)

    def _restore_directory(self, step: DirectoryStep) -> None:
        path = step.source.path
        if step.target is None:
            inode = self._make(step.source, path)
            if step.source.may_have_xattrs:
                self._set_xattrs(step.source, inode)
        else:
            inode = step.target.inode
            if step.takes_attributes:
                self._target.handle.set_attributes(inode, step.source)
                self._set_xattrs(step.source, inode)
            elif step.is_touched:
                now = time.time_ns()
                touched = replace(step.target, mtime_ns=now, ctime_ns=now)
                self._target.handle.set_attributes(inode, touched)
        self._directories[path] = inode

    def _restore_file(self, step: FileStep) -> None:
        handle = self._target.handle
        names = list(step.new_names)
        if step.reused is None:
            inode = self._make_file(step.source, names.pop(0))
        else:
            inode = step.reused.inode
        if step.takes_content:
            self._report(f"writing {show(step.source.path)}")
            self._copy_content(step.source, inode)
        for path in names:
            parent, _, name = path.rpartition(b"/")
            handle.link(self._directories[parent or b"/"], name, inode, name_is_new=True)
        if step.reused is not None and step.takes_attributes:
            handle.set_attributes(inode, step.source)
        has_xattrs = step.source.may_have_xattrs or (
            step.reused is not None and step.reused.may_have_xattrs
        )
        if step.takes_attributes and has_xattrs:
            self._set_xattrs(step.source, inode)

    def _make_file(self, stat: FileStat, path: bytes) -> int:
        target = None
        if stat.kind is FileKind.SYMLINK:
            target = self._source.handle.readlink(stat.inode)
        return self._make(stat, path, target)

    def _copy_content(self, stat: FileStat, inode: int) -> None:
        with Delta(self._source.handle, stat.inode, self._target.handle, inode) as delta:
            delta.map()
            write: Callable[[int], tuple[bool, int, int]] = delta.write
            more = True
            while more:
                self._check()
                more, _, compared = write(STEP_BYTES)
                self._done_bytes += compared
                self._report(f"writing {show(stat.path)}")
