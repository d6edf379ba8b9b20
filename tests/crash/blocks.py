"""What hosts write in recorded workloads: numbered blocks, dealt over more regions than are hot."""

from __future__ import annotations

from collections.abc import Sequence

from pyrep import ChangedBacking, Options
from pyrep._core import Io

CHUNK = 4096
MIB = 1 << 20
REGIONS = 40
SIZE = REGIONS * MIB
BLOCKS = 24
_USED = REGIONS // 2
SPREAD = tuple(block % _USED * 2 * MIB + block // _USED * CHUNK for block in range(BLOCKS))
"""Where the blocks of a volume without a file system are: each of the first 20 in a region of its
own, of which the log keeps 16 hot. Nobody writes to the other half of the volume: after a crash
nothing of it is pending."""

OPTIONS = Options(
    changed_backing=ChangedBacking.ASSUME_UNCHANGED,
    hold_max_ms=20_000.0,
    region_bytes=MIB,
    hot_regions=16,
)


def stamp(number: int) -> bytes:
    """Return a block's bytes as write `number` leaves them."""
    return number.to_bytes(8, "little") * (CHUNK // 8)


def stamped(block: bytes, numbers: set[int]) -> bool:
    """Whether a block holds one of these writes; a torn one may be parts of several."""
    pieces = {stamp(number)[:512] for number in numbers}
    return all(block[at : at + 512] in pieces for at in range(0, CHUNK, 512))


def read_blocks(io: Io, layout: Sequence[int]) -> list[bytes]:
    """Return a volume's blocks, whatever its fences."""
    return [io.pread(CHUNK, offset) for offset in layout]


def read_numbers(io: Io, layout: Sequence[int]) -> tuple[int, ...]:
    """Return the writes that a volume's blocks hold; -1: it is none as a whole."""
    found = []
    for data in read_blocks(io, layout):
        number = int.from_bytes(data[:8], "little")
        found.append(number if data == stamp(number) else -1)
    return tuple(found)


def stray_data(io: Io, layout: Sequence[int]) -> int | None:
    """Return where a volume has something beside its blocks, if anywhere."""
    mine = set(layout)
    for offset, length in io.extents():
        for at in range(offset - offset % CHUNK, offset + length, CHUNK):
            if at not in mine and any(io.pread(min(CHUNK, io.size_bytes - at), at)):
                return at
    return None
