"""What partition tables are read into, and what makes them damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

from pyrep.errors import DamagedFileSystemError

__all__ = ["Partition", "Read", "check_disjoint", "clip_extents", "damaged"]

Read = Callable[[int, int], bytes]
"""Return `length` bytes at `offset`: the order of the core's `pread`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One partition.

    Attributes:
        number: as the kernel and sfdisk count: a logical partition's is 5 or more.
        offset: its first byte in the volume.
        length: bytes.
        kind: GPT: the type's GUID; MBR: the type in hexadecimal (`0x83`).
        uuid: GPT: its own GUID; MBR: empty.
        name: GPT: its label.
    """

    number: int
    offset: int
    length: int
    kind: str
    uuid: str = ""
    name: str = ""

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.offset + self.length


def damaged(name: str, why: str) -> DamagedFileSystemError:
    """Return the error for a partition table that can't be trusted."""
    return DamagedFileSystemError(
        f"the partition table of {name} is damaged: {why}",
        hint="look at it with sfdisk --verify; another generation may be sound",
    )


def check_disjoint(name: str, partitions: Iterable[Partition]) -> None:
    """Raise DamagedFileSystemError when two partitions have bytes in common."""
    for one, other in pairwise(sorted(partitions, key=lambda each: each.offset)):
        if other.offset < one.end:
            raise damaged(name, f"partitions {one.number} and {other.number} overlap")


def clip_extents(extents: Iterable[tuple[int, int]], partition: Partition) -> list[tuple[int, int]]:
    """Return what of a volume's extents lies in a partition, by the partition's offsets."""
    found = []
    for offset, length in extents:
        first = max(offset, partition.offset)
        end = min(offset + length, partition.end)
        if first < end:
            found.append((first - partition.offset, end - first))
    return found
