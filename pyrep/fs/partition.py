"""Partitions of a volume, by number: GPT, and MBR with its logical partitions."""

from __future__ import annotations

from pyrep._core import Io, SliceIo
from pyrep.errors import InvalidArgumentError, NotFoundError
from pyrep.fs.partition_gpt import read_gpt
from pyrep.fs.partition_mbr import has_gpt, read_mbr
from pyrep.fs.partition_table import Partition

__all__ = ["find_partition", "list_partitions", "open_partition"]


def list_partitions(io: Io, *, sector_bytes: int | None = None) -> tuple[Partition, ...]:
    """Return a volume's partitions, by number; none when it has no table.

    A GPT is found with sectors of 512 and 4096 bytes; its second copy is used when the first one is
    damaged. An MBR doesn't tell its sectors: they count as 512 bytes unless `sector_bytes` says
    otherwise.

    Raises:
        DamagedFileSystemError: the table contradicts itself or the volume: partitions overlap or
            reach past the end, a checksum is wrong in both copies, logical ones run in a circle.
        DeviceError: the storage failed.
    """
    if sector_bytes not in {None, 512, 4096}:
        raise InvalidArgumentError(f"sectors have 512 or 4096 bytes, not {sector_bytes}")
    if io.size_bytes < 512:
        return ()
    first = io.pread(512, 0)
    if first[510:] != b"\x55\xaa":
        return ()
    if has_gpt(first):
        return read_gpt(io.pread, io.size_bytes, io.name, sector_bytes=sector_bytes)
    return read_mbr(io.pread, io.size_bytes, io.name, sector_bytes=sector_bytes or 512)


def find_partition(io: Io, number: int, *, sector_bytes: int | None = None) -> Partition:
    """Return one partition.

    Raises:
        NotFoundError: the volume doesn't have it; the hint names those there are.
        DamagedFileSystemError, DeviceError: as `list_partitions`.
    """
    found = list_partitions(io, sector_bytes=sector_bytes)
    for one in found:
        if one.number == number:
            return one
    if not found:
        raise NotFoundError(
            f"{io.name} has no partition {number}: it has no partitions",
            hint="leave the partition out: the file system may be on the volume itself",
        )
    known = ", ".join(str(one.number) for one in found)
    raise NotFoundError(f"{io.name} has no partition {number}", hint=f"it has: {known}")


def open_partition(io: Io, number: int, *, sector_bytes: int | None = None) -> SliceIo:
    """Return a partition as storage of its own: it may be opened as a file system.

    Raises:
        NotFoundError, DamagedFileSystemError, DeviceError: as `find_partition`.
    """
    found = find_partition(io, number, sector_bytes=sector_bytes)
    return SliceIo(io, found.offset, found.length)
