"""Pairs as seen from outside: both sides together, whichever systems hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyrep._core import Bitmap, Io
from pyrep.engine import StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.model import Direction, PairId

__all__ = [
    "PairSides",
    "Side",
    "first_uncovered",
    "pairs_of",
    "sides_of",
]

_SPAN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a pair in a live system."""

    system: StorageSystem
    mirror: Mirror

    @property
    def name(self) -> str:
        """The volume, as messages name it."""
        return f"{self.system.system_id}:{self.mirror.row.volume_id}"

    @property
    def io(self) -> Io:
        """The volume's storage, below its fences."""
        return self.system.state.volume(self.mirror.row.volume_id).io

    @property
    def durable_io(self) -> Io:
        """What a power loss would leave: below the double that keeps unflushed writes apart."""
        return self.system.state.volume(self.mirror.row.volume_id).file


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSides:
    """Both sides of a pair."""

    pair_id: PairId
    pvol: Side
    svol: Side

    @property
    def name(self) -> str:
        """The pair, as messages name it."""
        return f"pair {self.pair_id} ({self.pvol.name} → {self.svol.name})"

    def source_and_target(self) -> tuple[Side, Side]:
        """Return the sides in the direction of the copy, as the PVOL's row tells it."""
        if self.pvol.mirror.row.direction is Direction.FORWARD:
            return self.pvol, self.svol
        return self.svol, self.pvol


def sides_of(*systems: StorageSystem) -> Iterator[Side]:
    """Yield every side of every pair that these systems hold; closed systems hold none."""
    for system in systems:
        for mirror in list(system.state.mirrors.values()):
            yield Side(system=system, mirror=mirror)


def pairs_of(*systems: StorageSystem) -> Iterator[PairSides]:
    """Yield the pairs of which both sides are in these systems and known to each other."""
    by_id: Mapping[str, StorageSystem] = {one.system_id: one for one in systems}
    for side in sides_of(*systems):
        row = side.mirror.row
        other = by_id.get(row.pair_system_id)
        if not row.is_primary or other is None:
            continue
        far = other.state.mirrors.get((row.pair_id, row.mirror_volume_id))
        if far is not None:
            yield PairSides(pair_id=row.pair_id, pvol=side, svol=Side(system=other, mirror=far))


def first_uncovered(one: Io, other: Io, chunk_bytes: int, cover: Bitmap) -> int | None:
    """Return the first chunk in which two storages of one size differ outside of `cover`, if any.

    It reads what isn't covered and is data in either of them alone, in pieces as long as they come.
    """
    data = _data_chunks(one, other, chunk_bytes)
    data.difference_update(cover)
    for first, count in data.runs():
        offset, end = first * chunk_bytes, min((first + count) * chunk_bytes, one.size_bytes)
        while offset < end:
            length = min(_SPAN_BYTES, end - offset)
            if one.pread(length, offset) != other.pread(length, offset):
                for chunk in range(offset, offset + length, chunk_bytes):
                    piece = min(chunk_bytes, end - chunk)
                    if one.pread(piece, chunk) != other.pread(piece, chunk):
                        return chunk // chunk_bytes
            offset += length
    return None


def _data_chunks(one: Io, other: Io, chunk_bytes: int) -> Bitmap:
    """Return the chunks that aren't a hole in both."""
    chunks = Bitmap(-(-one.size_bytes // chunk_bytes))
    for io in (one, other):
        for offset, length in io.extents():
            first, end = offset // chunk_bytes, -(-(offset + length) // chunk_bytes)
            chunks.set(first, end - first)
    return chunks
