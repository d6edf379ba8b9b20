"""Looking into generations: browse one, the history of a path, what differs between two."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pyrep._core import OverlayIo
from pyrep.engine import Cancel, PairVerifyResult, StorageSystem
from pyrep.errors import InvalidArgumentError, RefusedError
from pyrep.fs import (
    ChangedFiles,
    ExtFileSystem,
    FileBrowser,
    FileStat,
    Partition,
    PathChange,
    clip_extents,
    content_changed,
    diff_trees,
    files_of_extents,
    find_partition,
)
from pyrep.fs.entries import PathLike, normalize
from pyrep.model import Generation, GenerationId, GenerationMember, VolumeId
from pyrep.workflows.estimate import open_view

__all__ = [
    "PathVersion",
    "browse",
    "changed_files",
    "diff",
    "differing_files",
    "history",
    "pending_files",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathVersion:
    """One path as one generation has it.

    Attributes:
        stat: None: the generation doesn't have the path.
        content_changed: whether it holds something else than in the generation before; None where
            there is nothing to compare with: the first one, or one of the two doesn't have it.
    """

    generation_id: GenerationId
    taken_at: datetime
    stat: FileStat | None
    content_changed: bool | None

    @property
    def is_present(self) -> bool:
        """Whether the generation has the path."""
        return self.stat is not None


def _member(
    system: StorageSystem, generation_id: str, volume: str | None
) -> tuple[Generation, GenerationMember]:
    generation = system.generations.get(GenerationId(generation_id))
    if generation.home != system.system_id:
        raise RefusedError(
            f"generation {generation_id} is held by system {generation.home}",
            hint="look into it at that system",
        )
    if volume is not None:
        return generation, system.generations.member(generation, VolumeId(volume))
    if len(generation.members) != 1:
        known = ", ".join(sorted(one.source for one in generation.members))
        raise InvalidArgumentError(
            f"generation {generation_id} has several volumes: {known}", hint="name one: volume=..."
        )
    return generation, generation.members[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """The files of a generation.

    Attributes:
        is_recovered: its journal was replayed in the view: blocks hold something else than in the
            generation itself, so that marks don't tell what they differ in from another one's.
    """

    fs: ExtFileSystem
    is_recovered: bool


@contextlib.contextmanager
def _open(
    system: StorageSystem, generation: Generation, member: GenerationMember, partition: int | None
) -> Iterator[_Opened]:
    name = f"generation {generation.generation_id}"
    with system.state.at_work():
        system.state.check_open()
        with (
            system.generations.view(generation.generation_id, member.source) as view,
            open_view(view, name, partition=partition) as fs,
        ):
            yield _Opened(fs=fs, is_recovered=view.dirty_bytes > 0)


def _place(
    system: StorageSystem, generation: Generation, volume: VolumeId, partition: int
) -> Partition:
    with system.generations.view(generation.generation_id, volume) as view:
        return find_partition(view, partition)


@contextlib.contextmanager
def browse(
    system: StorageSystem,
    generation: str,
    volume: str | None = None,
    *,
    partition: int | None = None,
) -> Iterator[FileBrowser]:
    """Look at the files of a generation: ls, cat, stat, find.

    It goes through a copy-on-write view: nothing is written to the generation, which is pinned
    until the `with` ends (INV-4). No root, no mount.

    Args:
        system: the system that holds the generation.
        generation: its id.
        volume: which of its volumes, by its id at either system; may be left out if it has one.
        partition: the partition that holds the files; None: the volume itself does.

    Raises:
        NotFoundError, RefusedError: there is none, it isn't complete, another system holds it.
        FileSystemError: its file system can't be read.
    """
    found, member = _member(system, generation, volume)
    with _open(system, found, member, partition) as opened:
        yield FileBrowser(opened.fs)


def _changed_between(
    system: StorageSystem,
    one: Generation,
    other: Generation,
    source: VolumeId,
    partition: int | None,
) -> list[tuple[int, int]]:
    """Return where two generations of a volume may differ; all of it when that isn't known.

    Of a partition: by its own offsets, and all of it when it was made anew in between.
    """
    extents = system.kept(other.generation_id).extents_since(one.generation_id, volume=source)
    if partition is None:
        return extents
    then, now = (_place(system, each, source, partition) for each in (one, other))
    moved = (then.offset, then.length) != (now.offset, now.length)
    return [(0, now.length)] if moved else clip_extents(extents, now)


def diff(
    system: StorageSystem,
    generation_a: str,
    generation_b: str,
    volume: str | None = None,
    *,
    partition: int | None = None,
    cancel: Cancel | None = None,
) -> tuple[PathChange, ...]:
    """Return what is different in generation b, by path: created, removed, content, attributes.

    Where the mirrors' marks tell which chunks changed between the two, files that lie in none of
    them aren't read; if one was taken while it was mounted, all are.

    Args:
        generation_a: the earlier one.
        generation_b: the later one; both held by `system`.
        volume: may be left out if they have one.
        partition: as `browse`.
        cancel: ends it early.

    Raises:
        NotFoundError, RefusedError, FileSystemError, CancelledError: as they come.
    """
    before, one = _member(system, generation_a, volume)
    after, other = _member(system, generation_b, volume)
    _check_same_volume(one, other)
    with (
        _open(system, before, one, partition) as a,
        _open(system, after, other, partition) as b,
    ):
        changed = None
        if not (a.is_recovered or b.is_recovered):
            changed = _changed_between(system, before, after, other.source, partition)
        return diff_trees(a.fs, b.fs, changed=changed, cancel=cancel)


def _check_same_volume(one: GenerationMember, other: GenerationMember) -> None:
    if one.source != other.source:
        raise InvalidArgumentError(
            f"the generations are of two volumes: {one.source} and {other.source}"
        )


def history(
    system: StorageSystem, volume: str, path: PathLike, *, partition: int | None = None
) -> tuple[PathVersion, ...]:
    """Return one path as each complete generation of a volume has it, oldest first.

    Args:
        system: the system that holds the generations; those held elsewhere are left out.
        volume: its id at either system.
        path: absolute; a symbolic link on the way isn't followed.
        partition: as `browse`.

    Raises:
        NotFoundError: neither system has such a volume, as far as `system` knows.
        FileSystemError: a generation's file system can't be read.
    """
    where = normalize(path)
    if not any(volume in {row.volume_id, row.mirror_volume_id} for row in system.table()):
        system.volume(volume)
    found: list[PathVersion] = []
    last: Generation | None = None
    for generation in _generations_of(system, volume):
        before = found[-1].stat if found else None
        found.append(
            _version(
                system,
                VolumeId(volume),
                where,
                generation,
                last=last,
                before=before,
                partition=partition,
            )
        )
        last = generation
    return tuple(found)


def _version(
    system: StorageSystem,
    volume: VolumeId,
    path: bytes,
    generation: Generation,
    *,
    last: Generation | None,
    before: FileStat | None,
    partition: int | None,
) -> PathVersion:
    """Return a path as `generation` has it, beside the one before, which has it as `before`."""
    member = system.generations.member(generation, volume)
    changed = None
    with _open(system, generation, member, partition) as now:
        stat = now.fs.stat(path) if now.fs.exists(path) else None
        if stat is not None and before is not None and last is not None:
            other = system.generations.member(last, volume)
            changed = stat.kind is not before.kind
            if not changed:
                with _open(system, last, other, partition) as then:
                    ranges = None
                    if not (then.is_recovered or now.is_recovered):
                        ranges = _changed_between(
                            system, last, generation, member.source, partition
                        )
                    changed = content_changed(then.fs, before, now.fs, stat, changed=ranges)[0]
    return PathVersion(
        generation_id=generation.generation_id,
        taken_at=generation.taken_at,
        stat=stat,
        content_changed=changed,
    )


def _generations_of(system: StorageSystem, volume: str) -> list[Generation]:
    wanted = VolumeId(volume)
    return sorted(
        (
            one
            for one in system.list_generations()
            if one.is_complete
            and one.home == system.system_id
            and any(wanted in {member.source, member.origin_volume} for member in one.members)
        ),
        key=lambda one: one.taken_at,
    )


def changed_files(
    system: StorageSystem,
    generation: str,
    since: str,
    volume: str | None = None,
    *,
    partition: int | None = None,
) -> ChangedFiles:
    """Return the names of the files whose bytes changed since an earlier generation.

    They are those of `generation`, which is the later one; what was removed is `free_bytes`. Every
    file with a byte in a chunk that may differ is named (`KeptGeneration.extents_since`); `diff`
    says what really does. If it was taken while it was mounted, a directory or file whose change
    is only in the journal yet isn't named here: that is metadata.

    Raises:
        NotFoundError, RefusedError, FileSystemError: as they come.
    """
    after, other = _member(system, generation, volume)
    before, one = _member(system, since, volume)
    _check_same_volume(one, other)
    changed = _changed_between(system, before, after, other.source, partition)
    with _open(system, after, other, partition) as opened:
        return files_of_extents(opened.fs, changed)


def pending_files(
    system: StorageSystem, pair_id: str, *, partition: int | None = None
) -> ChangedFiles:
    """Return the names of the files that a pair's pending chunks belong to.

    An estimate: the volume is looked at through a copy-on-write view while it may be written, and a
    mounted file system's newest changes may still be in its host's memory.

    Raises:
        NotFoundError: there is no such pair.
        FileSystemError: the live file system can't be read.
    """
    pair = system.pair(pair_id)
    return _live_files(system, pair.row.volume_id, pair.pending_extents(), partition)


def differing_files(
    system: StorageSystem, found: PairVerifyResult, *, partition: int | None = None
) -> ChangedFiles:
    """Return the names of the files in which a verification found a pair's volumes to differ.

    They are those of this side's volume; an estimate, as `pending_files`.

    Raises:
        NotFoundError: there is no such pair any more.
        FileSystemError: the live file system can't be read.
    """
    volume = system.pair(found.pair_id).row.volume_id
    return _live_files(system, volume, list(found.extents()), partition)


def _live_files(
    system: StorageSystem,
    volume: VolumeId,
    extents: list[tuple[int, int]],
    partition: int | None,
) -> ChangedFiles:
    with system.state.at_work():
        system.state.check_open()
        with (
            OverlayIo(system.state.volume(volume).io) as view,
            open_view(view, f"volume {volume}", partition=partition) as fs,
        ):
            if partition is not None:
                extents = clip_extents(extents, find_partition(view, partition))
            return files_of_extents(fs, extents, is_estimate=True)
