"""Planning a restore of files: what of the chosen ones differs, and whether there is room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pyrep.engine.cancel import Cancel
from pyrep.errors import UnsupportedFeatureError
from pyrep.fs.compare import compare_all, differing_aspects
from pyrep.fs.entries import FileKind, FileStat, Storage, show
from pyrep.fs.ext import ExtFileSystem
from pyrep.fs.ext_delta import Delta, Needs
from pyrep.fs.plan import (
    ChangeKind,
    DirectoryStep,
    FileStep,
    PlannedChange,
    Removal,
    RestorePlan,
)
from pyrep.fs.room import Room
from pyrep.fs.select import Chosen, Selection
from pyrep.fs.tree import FileTree

__all__ = ["plan_restore"]


def plan_restore(
    source: ExtFileSystem,
    target: ExtFileSystem,
    selection: Selection,
    *,
    delete_extra: bool = False,
    cancel: Cancel | None = None,
) -> RestorePlan:
    """Find out what restoring the chosen files into the target takes; writes nothing.

    A file that the target still has under a chosen path is changed in place, unless it has names
    outside the selection and differs: then a new file takes the chosen names, so that files that
    weren't chosen stay as they are. A file of another kind in the way is replaced.

    Args:
        source: where the files come from; a generation's view.
        target: opened for writing or not.
        selection: the files meant, by the source's paths.
        cancel: ends the planning early.
        delete_extra: also remove what the target has in a selected directory and the source
            doesn't.

    Raises:
        PathNotInFileSystemError: the selection matches nothing.
        NoSpaceError: the target has no room; found before the first write.
        FileSystemError: one of them can't be read.
        CancelledError: `cancel` was used.
    """
    planner = _Planner(source=source, target=target, cancel=cancel)
    chosen = selection.choose(planner.source_tree)
    planner.plan_directories(chosen, delete_extra=delete_extra)
    planner.plan_files(chosen)
    return planner.finish(chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What one file of the source needs in the target.

    Attributes:
        reused: the target's file that becomes it; None: a new one does.
        needs: of its content; None: that is there already.
    """

    reused: FileStat | None
    needs: Needs | None
    bytes_differ: int
    takes_attributes: bool


@dataclass(slots=True, kw_only=True)
class _Planner:
    """Gathers the steps of one plan."""

    source: ExtFileSystem
    target: ExtFileSystem
    cancel: Cancel | None
    source_tree: FileTree = field(init=False)
    target_tree: FileTree = field(init=False)
    room: Room = field(init=False)
    changes: list[PlannedChange] = field(default_factory=list)
    removals: dict[bytes, Removal] = field(default_factory=dict)
    directories: list[DirectoryStep] = field(default_factory=list)
    files: list[FileStep] = field(default_factory=list)
    busy_directories: set[bytes] = field(default_factory=set)
    reused: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.source_tree = FileTree(self.source)
        self.target_tree = FileTree(self.target)
        self.room = Room(self.target.info)

    # --- names that go ----------------------------------------------------------------------------

    def _remove(self, stat: FileStat, *, is_replaced: bool) -> None:
        if stat.path in self.removals:
            return
        parent = self.target_tree.get(stat.parent)
        directory = parent.inode if parent is not None else 0
        self.removals[stat.path] = Removal(stat=stat, directory=directory, is_replaced=is_replaced)
        self.busy_directories.add(stat.parent)
        self.room.remove(stat)
        if stat.kind is FileKind.DIRECTORY:
            for below in self.target_tree.below(stat):
                self.room.remove(below)
        if not is_replaced:
            self._note(stat.path, ChangeKind.REMOVE, stat.kind)

    def _note(self, path: bytes, change: ChangeKind, kind: FileKind, bytes_differ: int = 0) -> None:
        self.changes.append(
            PlannedChange(path=path, change=change, kind=kind, bytes_differ=bytes_differ)
        )

    def _add_name(self, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        self.busy_directories.add(parent or b"/")
        self.room.add_name(parent or b"/", name)

    # --- directories ------------------------------------------------------------------------------

    def plan_directories(self, chosen: Chosen, *, delete_extra: bool) -> None:
        """Plan the directories on the way and those chosen, from the root down."""
        selected = {s.path: s for s in chosen.files if s.kind is FileKind.DIRECTORY}
        everything = selected | {stat.path: stat for stat in chosen.parents}
        for path in sorted(everything):
            self._plan_directory(everything[path], is_selected=path in selected)
            existing = self.target_tree.get(path)
            if delete_extra and path in selected and existing is not None:
                self._plan_extra(existing)

    def _plan_directory(self, wanted: FileStat, *, is_selected: bool) -> None:
        existing = self.target_tree.get(wanted.path)
        if existing is not None and existing.kind is not FileKind.DIRECTORY:
            self._remove(existing, is_replaced=True)
            self._note(wanted.path, ChangeKind.REPLACE, FileKind.DIRECTORY)
            existing = None
        elif existing is None:
            self._note(wanted.path, ChangeKind.CREATE, FileKind.DIRECTORY)
        differs = (
            existing is not None
            and is_selected
            and bool(differing_aspects(self.source, wanted, self.target, existing))
        )
        if differs:
            self._note(wanted.path, ChangeKind.ATTRIBUTES, FileKind.DIRECTORY)
        if existing is None:
            self._add_name(wanted.path)
            _check_makes(self.source, wanted)
            self.room.make(wanted, None, self._values(wanted))
        elif differs and wanted.may_have_xattrs:
            self.room.add_xattrs(self._values(wanted))
        self.directories.append(
            DirectoryStep(
                source=wanted,
                target=existing,
                takes_attributes=differs,
                is_touched=not is_selected,  # narrowed when all names are known
            )
        )

    def _plan_extra(self, directory: FileStat) -> None:
        if directory.kind is not FileKind.DIRECTORY:
            return
        for stat in self.target_tree.children(directory):
            if self.source_tree.get(stat.path) is None and stat.path != b"/lost+found":
                self._remove(stat, is_replaced=False)

    # --- files ------------------------------------------------------------------------------------

    def plan_files(self, chosen: Chosen) -> None:
        """Plan what isn't a directory, the names of one file together."""
        groups: dict[int, list[FileStat]] = defaultdict(list)
        for stat in chosen.files:
            if stat.kind is not FileKind.DIRECTORY:
                groups[stat.inode].append(stat)
        for names in groups.values():
            if self.cancel is not None:
                self.cancel.check("planning a restore")
            self._plan_file(names)

    def _plan_file(self, names: list[FileStat]) -> None:
        wanted = names[0]
        held = {stat.path: self.target_tree.get(stat.path) for stat in names}
        found = self._find_reused(wanted, held) or self._plan_new(wanted)
        reused = found.reused
        new_names = [
            path
            for path, stat in held.items()
            if stat is None or reused is None or stat.inode != reused.inode
        ]
        for path in new_names:
            self._add_name(path)
            in_the_way = held[path]
            if in_the_way is not None:
                self._remove(in_the_way, is_replaced=True)
            change = ChangeKind.CREATE if in_the_way is None else ChangeKind.REPLACE
            if path != wanted.path or reused is not None:
                change = ChangeKind.LINK
            self._note(path, change, wanted.kind, found.bytes_differ if reused is None else 0)
        if reused is not None and found.takes_attributes:
            change = ChangeKind.ATTRIBUTES if found.needs is None else ChangeKind.CONTENT
            kept = sorted(held.keys() - set(new_names))
            for number, path in enumerate(kept):
                # A file changes under all its names, its bytes count once.
                self._note(path, change, wanted.kind, 0 if number else found.bytes_differ)
        self.files.append(
            FileStep(
                source=wanted,
                new_names=tuple(new_names),
                reused=reused,
                takes_content=found.needs is not None,
                takes_attributes=found.takes_attributes,
                bytes_differ=found.bytes_differ,
            )
        )

    def _find_reused(self, wanted: FileStat, held: dict[bytes, FileStat | None]) -> _Wanted | None:
        """Return what a file of the target that may stay needs, or None."""
        names: dict[int, list[FileStat]] = defaultdict(list)
        for stat in held.values():
            if stat is not None and stat.kind is wanted.kind:
                names[stat.inode].append(stat)
        # The one at the source's own place first: its blocks are the likeliest to be alike.
        for inode in sorted(names, key=lambda inode: inode != wanted.inode):
            if inode in self.reused:
                continue  # two files of the source that are one in the target: they part
            stat = names[inode][0]
            found = self._compare(wanted, stat)
            has_other_names = stat.nlink != len(names[inode])
            if found is not None and not (found.takes_attributes and has_other_names):
                self._take_room(wanted, found)
                self.reused.add(inode)
                return found
        return None

    def _compare(self, wanted: FileStat, stat: FileStat) -> _Wanted | None:
        """Return what differs from a file of the target; None: it can't be changed in place."""
        needs = None
        differ = 0
        if wanted.kind is FileKind.REGULAR:
            needs, differ = self._compare_content(wanted, stat)
        elif wanted.kind is FileKind.SYMLINK:
            said = self.source.handle.readlink(wanted.inode)
            if said != self.target.handle.readlink(stat.inode):
                return None
        elif wanted.rdev != stat.rdev:
            return None
        takes_content = needs is not None
        return _Wanted(
            reused=stat,
            needs=needs,
            bytes_differ=differ,
            takes_attributes=takes_content
            or bool(differing_aspects(self.source, wanted, self.target, stat)),
        )

    def _compare_content(self, wanted: FileStat, stat: FileStat) -> tuple[Needs | None, int]:
        """Return what the content needs, None if nothing, and the bytes of blocks that differ."""
        if wanted.size == stat.size == wanted.blocks == stat.blocks == 0:
            return None, 0
        _check_content(self.source, wanted, Storage.ENCRYPTED)
        _check_content(self.target, stat, Storage.ENCRYPTED)
        with Delta(self.source.handle, wanted.inode, self.target.handle, stat.inode) as delta:
            needs = delta.needs()
            differ = compare_all(delta, self.cancel)
        same_map = not (needs.blocks_to_map or needs.blocks_to_unmap or needs.size_differs)
        if same_map and not differ:
            return None, 0
        _check_content(self.source, wanted)
        _check_content(self.target, stat)
        return needs, differ

    def _take_room(self, wanted: FileStat, found: _Wanted) -> None:
        if found.needs is not None:
            self.room.change(wanted, found.needs)
        if found.takes_attributes and wanted.may_have_xattrs:
            self.room.add_xattrs(self._values(wanted))

    def _values(self, wanted: FileStat) -> Iterable[bytes]:
        """Return the values of a file's attributes, where they may take inodes of their own."""
        if not (self.room.has_value_inodes and wanted.may_have_xattrs):
            return ()
        return self.source.handle.xattrs(wanted.inode).values()

    def _plan_new(self, wanted: FileStat) -> _Wanted:
        needs = None
        _check_makes(self.source, wanted)
        if wanted.kind is FileKind.REGULAR and wanted.size > 0:
            with Delta(self.source.handle, wanted.inode, self.target.handle, 0) as delta:
                needs = delta.needs()
        self.room.make(wanted, needs, self._values(wanted))
        differ = needs.blocks_to_map * self.room.block_bytes if needs is not None else 0
        return _Wanted(reused=None, needs=needs, bytes_differ=differ, takes_attributes=True)

    # --- the end ----------------------------------------------------------------------------------

    def finish(self, chosen: Chosen) -> RestorePlan:
        """Check the room and return the plan."""
        self.room.check(self.target.name)
        steps = (
            DirectoryStep(
                source=step.source,
                target=step.target,
                takes_attributes=step.takes_attributes,
                is_touched=step.is_touched and step.source.path in self.busy_directories,
            )
            for step in self.directories
        )
        return RestorePlan(
            changes=tuple(sorted(self.changes, key=lambda change: change.path)),
            removals=tuple(self.removals[path] for path in sorted(self.removals)),
            directories=tuple(steps),
            files=tuple(self.files),
            files_selected=len(chosen.files),
            bytes_selected=_bytes_of(chosen.files),
            bytes_differ=sum(step.bytes_differ for step in self.files),
            blocks_needed=self.room.blocks_needed,
            inodes_needed=self.room.inodes_needed,
        )


def _bytes_of(stats: Iterable[FileStat]) -> int:
    sizes = {stat.inode: stat.size for stat in stats if stat.kind is FileKind.REGULAR}
    return sum(sizes.values())


def _check_content(
    fs: ExtFileSystem, stat: FileStat, kinds: Storage = Storage.ENCRYPTED | Storage.VERITY
) -> None:
    """Refuse to read or change content that is kept from us.

    Raises:
        UnsupportedFeatureError: it is encrypted or sealed by verity.
    """
    found = stat.storage & kinds
    if not found:
        return
    names = {Storage.ENCRYPTED: "encrypted (encrypt)", Storage.VERITY: "sealed (verity)"}
    said = " and ".join(text for bit, text in names.items() if bit & found)
    raise UnsupportedFeatureError(
        f"{show(stat.path)} in {fs.name} is {said}: it can't be restored as a file",
        hint="choose files without it, or restore the whole volume",
    )


def _check_makes(fs: ExtFileSystem, stat: FileStat) -> None:
    """Refuse to make what only the kernel can make.

    Raises:
        UnsupportedFeatureError: encrypted, sealed, or a directory with names alike in any case.
    """
    _check_content(fs, stat)
    if stat.storage & Storage.CASEFOLDED:
        raise UnsupportedFeatureError(
            f"the directory {show(stat.path)} in {fs.name} has names alike in any case (casefold):"
            " it can't be made anew",
            hint="make it at the host with chattr +F, or restore the whole volume",
        )
