"""GUID partition tables (UEFI specification 2.10, 5.3): both copies, every checksum."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

from pyrep.errors import DamagedFileSystemError
from pyrep.fs.partition_table import Partition, Read, check_disjoint, damaged

__all__ = ["read_gpt"]

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_ENTRY = struct.Struct("<16s16sQQQ72s")
_REVISION = 0x0001_0000
_ENTRIES_BYTES_MAX = 1 << 20
"""128 entries of 128 bytes are usual; a header may not make us read gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    first_usable: int
    last_usable: int
    entries_lba: int
    entry_count: int
    entry_bytes: int
    entries_crc: int


def read_gpt(
    read: Read, size_bytes: int, name: str, *, sector_bytes: int | None = None
) -> tuple[Partition, ...]:
    """Return the partitions, from the first copy of the table or else from the second.

    Args:
        read: reads from the volume.
        size_bytes: of the volume.
        name: of the volume, for messages.
        sector_bytes: of the disk the table was made on; None: found by its header.

    Raises:
        DamagedFileSystemError: neither copy can be trusted.
    """
    sizes = (512, 4096) if sector_bytes is None else (sector_bytes,)
    why = []
    for size in sizes:
        sectors = size_bytes // size
        for lba in (1, sectors - 1):
            if not 1 <= lba < sectors:
                continue
            try:
                return _read_copy(read, sectors, size, lba, name)
            except DamagedFileSystemError as error:
                why.append(str(error))
            except _NotThereError:
                continue
    raise damaged(name, "; ".join(why) or "there is no GPT header, though the MBR says so")


class _NotThereError(Exception):
    """No header of a GPT stands here."""


def _read_copy(
    read: Read, sectors: int, sector_bytes: int, lba: int, name: str
) -> tuple[Partition, ...]:
    raw = read(sector_bytes, lba * sector_bytes)
    if raw[:8] != b"EFI PART":
        raise _NotThereError
    header = _read_header(raw, sectors, lba, name)
    length = header.entry_count * header.entry_bytes
    sectors_of_entries = -(-length // sector_bytes)
    if not 2 <= header.entries_lba <= sectors - sectors_of_entries:
        raise damaged(name, f"the entries of the table in sector {lba} lie outside the volume")
    entries = read(length, header.entries_lba * sector_bytes)
    if zlib.crc32(entries) != header.entries_crc:
        raise damaged(name, f"the entries of the table in sector {lba} have a wrong checksum")
    found = []
    for index in range(header.entry_count):
        one = entries[index * header.entry_bytes :][: _ENTRY.size]
        if one[:16] != bytes(16):
            found.append(_read_entry(one, index + 1, header, sector_bytes, name))
    check_disjoint(name, found)
    return tuple(found)


def _read_header(raw: bytes, sectors: int, lba: int, name: str) -> _Header:
    (
        _magic,
        revision,
        header_bytes,
        crc,
        _reserved,
        my_lba,
        _other_lba,
        first_usable,
        last_usable,
        _disk,
        entries_lba,
        entry_count,
        entry_bytes,
        entries_crc,
    ) = _HEADER.unpack_from(raw)
    where = f"the table in sector {lba}"
    if not _HEADER.size <= header_bytes <= len(raw):
        raise damaged(name, f"{where} has a header of {header_bytes} bytes")
    summed = raw[:16] + bytes(4) + raw[20:header_bytes]
    if zlib.crc32(summed) != crc:
        raise damaged(name, f"{where} has a wrong checksum")
    if revision >> 16 != _REVISION >> 16:
        raise damaged(name, f"{where} has revision {revision:#x}")
    if my_lba != lba:
        raise damaged(name, f"{where} says it is in sector {my_lba}")
    if not 2 <= first_usable <= last_usable < sectors:
        raise damaged(name, f"{where} lets partitions use sectors {first_usable}…{last_usable}")
    if entry_bytes < _ENTRY.size or entry_bytes % 8:
        raise damaged(name, f"{where} has entries of {entry_bytes} bytes")
    if not 0 < entry_count * entry_bytes <= _ENTRIES_BYTES_MAX:
        raise damaged(name, f"{where} has {entry_count} entries")
    return _Header(
        first_usable=first_usable,
        last_usable=last_usable,
        entries_lba=entries_lba,
        entry_count=entry_count,
        entry_bytes=entry_bytes,
        entries_crc=entries_crc,
    )


def _read_entry(
    raw: bytes, number: int, header: _Header, sector_bytes: int, name: str
) -> Partition:
    kind, own, first, last, _attributes, label = _ENTRY.unpack(raw)
    if not header.first_usable <= first <= last <= header.last_usable:
        raise damaged(name, f"partition {number} lies in sectors {first}…{last}")
    return Partition(
        number=number,
        offset=first * sector_bytes,
        length=(last - first + 1) * sector_bytes,
        kind=str(uuid.UUID(bytes_le=kind)),
        uuid=str(uuid.UUID(bytes_le=own)),
        name=label.decode("utf-16-le", "replace").partition("\0")[0],
    )
