"""MBR partition tables: four primary partitions, and the chain of logical ones in an extended one.

Addresses by cylinder, head and sector are ignored, as the kernel does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from pyrep.fs.partition_table import Partition, Read, check_disjoint, damaged

__all__ = ["has_gpt", "read_mbr"]

_ENTRY = struct.Struct("<B3xB3xII")
_PROTECTIVE = 0xEE
_EXTENDED = {0x05, 0x0F, 0x85}
_FIRST_LOGICAL = 5
_LOGICAL_MAX = 256
"""A chain of distinct sectors could still be as long as the volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Sectors from the table's own reference."""

    kind: int
    first: int
    count: int

    @property
    def is_used(self) -> bool:
        return self.kind != 0 and self.count != 0


def _entries(sector: bytes) -> list[_Entry]:
    found = []
    for index in range(4):
        _status, kind, first, count = _ENTRY.unpack_from(sector, 446 + 16 * index)
        found.append(_Entry(kind=kind, first=first, count=count))
    return found


def has_gpt(sector: bytes) -> bool:
    """Whether the first sector stands before a GPT (also one with other entries: a hybrid)."""
    return any(one.kind == _PROTECTIVE for one in _entries(sector))


def read_mbr(read: Read, size_bytes: int, name: str, *, sector_bytes: int) -> tuple[Partition, ...]:
    """Return the primary and the logical partitions; the extended one that holds these is none.

    Raises:
        DamagedFileSystemError: see `list_partitions`.
    """
    sectors = size_bytes // sector_bytes
    sector = read(512, 0)
    if any(sector[446 + 16 * index] not in {0, 0x80} for index in range(4)):
        return ()  # a boot sector of something else, whose code ends where a table would be
    reader = _Reader(read, sectors, sector_bytes, name)
    used = [(number, one) for number, one in enumerate(_entries(sector), start=1) if one.is_used]
    outer = {number: reader.partition(number, entry, 0) for number, entry in used}
    check_disjoint(name, outer.values())
    extended = {number: entry for number, entry in used if entry.kind in _EXTENDED}
    if len(extended) > 1:
        raise damaged(name, "there are two extended partitions")
    logical = [one for entry in extended.values() for one in reader.logical(entry)]
    check_disjoint(name, logical)
    return (*(one for number, one in outer.items() if number not in extended), *logical)


class _Reader:
    def __init__(self, read: Read, sectors: int, sector_bytes: int, name: str) -> None:
        self._read = read
        self._sectors = sectors
        self._sector_bytes = sector_bytes
        self._name = name

    def partition(self, number: int, entry: _Entry, base: int, end: int | None = None) -> Partition:
        """Return an entry's partition, which must end before sector `end`."""
        first = base + entry.first
        if not entry.first or first + entry.count > (self._sectors if end is None else end):
            last = first + entry.count - 1
            raise damaged(self._name, f"partition {number} lies in sectors {first}…{last}")
        return Partition(
            number=number,
            offset=first * self._sector_bytes,
            length=entry.count * self._sector_bytes,
            kind=f"{entry.kind:#04x}",
        )

    def logical(self, extended: _Entry) -> list[Partition]:
        """Walk the chain: each table has its own partition, and says where the next table is."""
        found: list[Partition] = []
        end = extended.first + extended.count
        here, seen = extended.first, set[int]()
        while True:
            if here in seen:
                raise damaged(self._name, "its logical partitions run in a circle")
            if len(seen) == _LOGICAL_MAX:
                raise damaged(self._name, f"it has more than {_LOGICAL_MAX} logical partitions")
            seen.add(here)
            sector = self._read(512, here * self._sector_bytes)
            if sector[510:] != b"\x55\xaa":
                raise damaged(self._name, f"there is no table of a logical one in sector {here}")
            own, following = _entries(sector)[:2]
            if own.is_used and own.kind not in _EXTENDED:
                number = _FIRST_LOGICAL + len(found)
                found.append(self.partition(number, own, here, end))
            if not following.is_used or following.kind not in _EXTENDED:
                return found
            here = extended.first + following.first
            if not following.first or here >= end:
                raise damaged(self._name, f"the next logical one is in sector {here}")
