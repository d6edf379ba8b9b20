"""Whether a target has room for what a restore makes, told before the first write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from pyrep.errors import NoSpaceError
from pyrep.fs.entries import FileKind, FileStat
from pyrep.fs.ext_delta import Needs
from pyrep.fs.ext_native import ExtInfo

__all__ = ["Room"]

_ENTRY_BYTES = 8
"""Of a name in a directory, besides the name, which is rounded up to 4 bytes."""
_FAST_LINK_BYTES = 60
"""A symbolic link shorter than this lies in its inode."""

_QUOTA_BLOCKS = 12
"""Of each of three quota files, for ids that are new: the levels of its tree, and a leaf."""


class Room:
    """Counts what will be allocated, at most, and what is freed for sure before.

    Counting high refuses a restore that would just have fitted; counting low would stop one
    half-way.
    """

    def __init__(self, info: ExtInfo) -> None:
        self._info = info
        self._blocks = 0
        self._inodes = 0
        self._freed_blocks = 0
        self._freed_inodes = 0
        self._name_bytes: dict[bytes, int] = defaultdict(int)
        self._removed_names: dict[int, int] = defaultdict(int)

    def make(self, stat: FileStat, needs: Needs | None, values: Iterable[bytes] = ()) -> None:
        """Count a new file like this one, without its name.

        Args:
            stat: of the source.
            needs: of a regular file's content, else None.
            values: of its extended attributes, where large ones take inodes.
        """
        self._inodes += 1
        if needs is not None and needs.own_places_free:
            # It becomes what it is in the source, block by block: data, map and attributes.
            self._blocks += max(stat.blocks, needs.blocks_to_take)
            self._inodes += sum(1 for _ in values)
            return
        is_slow_link = stat.kind is FileKind.SYMLINK and stat.size >= _FAST_LINK_BYTES
        if stat.kind is FileKind.DIRECTORY or is_slow_link:
            self._blocks += self._info.cluster_blocks
        if needs is not None:
            self._blocks += needs.blocks_to_take + needs.map_blocks
        if stat.may_have_xattrs:
            self.add_xattrs(values)

    def change(self, stat: FileStat, needs: Needs) -> None:
        """Count the new blocks of a file that is changed in place."""
        map_blocks = needs.map_blocks
        if needs.own_places_free:
            map_blocks = min(map_blocks, stat.blocks)
        self._blocks += needs.blocks_to_take + map_blocks

    def add_xattrs(self, values: Iterable[bytes] = ()) -> None:
        """Count the block that attributes may need which don't fit the inode, and more inodes.

        Args:
            values: where large ones take inodes, those there will be.
        """
        cluster = self._info.cluster_blocks
        self._blocks += cluster
        if self._info.has_value_inodes:
            for value in values:
                blocks = -(-len(value) // self._info.block_bytes)
                self._blocks += -(-blocks // cluster) * cluster
                self._inodes += 1

    def add_name(self, directory: bytes, name: bytes) -> None:
        """Count a new name in a directory."""
        self._name_bytes[directory] += _ENTRY_BYTES + (len(name) + 3) // 4 * 4

    def remove(self, stat: FileStat) -> None:
        """Count a name that goes before anything is made; the file goes with its last one."""
        self._removed_names[stat.inode] += 1
        if stat.kind is FileKind.DIRECTORY or self._removed_names[stat.inode] == stat.nlink:
            self._freed_inodes += 1
            self._freed_blocks += stat.blocks

    @property
    def has_value_inodes(self) -> bool:
        """Whether large values of attributes take inodes of the target."""
        return self._info.has_value_inodes

    @property
    def block_bytes(self) -> int:
        """Bytes of one block of the target."""
        return self._info.block_bytes

    @property
    def blocks_needed(self) -> int:
        """Blocks to be allocated, at most."""
        # A directory's leaves are at least half full after a split; one block more is its index,
        # one the leaf that was full before.
        usable = self._info.block_bytes - 32
        names = sum(
            2 * length // usable + (2 if length > usable // 4 else 1)
            for length in self._name_bytes.values()
        )
        quota = _QUOTA_BLOCKS if self._info.has_quota else 0
        return self._blocks + (names + quota) * self._info.cluster_blocks

    @property
    def inodes_needed(self) -> int:
        """Inodes to be allocated."""
        return self._inodes

    def check(self, name: str) -> None:
        """Refuse what doesn't fit.

        Raises:
            NoSpaceError: there are too few blocks or inodes; the message has the numbers.
        """
        blocks = self._info.free_blocks + self._freed_blocks
        inodes = self._info.free_inodes + self._freed_inodes
        lacks: list[str] = []
        if self.blocks_needed > blocks:
            size = self._info.block_bytes
            lacks.append(
                f"up to {self.blocks_needed * size} bytes are needed, {blocks * size} are free"
            )
        if self.inodes_needed > inodes:
            lacks.append(f"{self.inodes_needed} new files are needed, {inodes} fit")
        if lacks:
            raise NoSpaceError(
                f"no room in the file system of {name} for the chosen files: {'; '.join(lacks)}",
                hint="choose fewer files, or make room in the target",
            )
