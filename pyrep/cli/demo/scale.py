"""How large a demonstration is."""

from __future__ import annotations

from dataclasses import dataclass

from pyrep.model import GIB, MIB

__all__ = ["Scale"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Sizes and counts of one run; the defaults are the demonstration, tests run a smaller one.

    Attributes:
        volume_bytes: of every volume.
        library_bytes: of the standard library's files, at most; the rest of them is left out.
        row_count: rows of the database's table that is dropped.
        big_bytes: of the file of incompressible data; whole MiB.
        changed_bytes: of these, changed in the middle.
        sparse_bytes: of each sparse file, nearly all of it holes.
        other_bytes: written after the restore of the whole volume, before it is restored again.
        record_slots: room for numbered records, per volume; then the oldest are overwritten.
        records_around: records that must be acknowledged before each backup, and again after it.
    """

    volume_bytes: int = GIB
    library_bytes: int = 128 * MIB
    row_count: int = 100_000
    big_bytes: int = 200 * MIB
    changed_bytes: int = MIB
    sparse_bytes: int = 64 * MIB
    other_bytes: int = 20 * MIB
    record_slots: int = 2048
    records_around: int = 100

    @property
    def disk_bytes(self) -> int:
        """Room that a run takes: what is written is held four times, rewritten parts included."""
        content = self.library_bytes + self.big_bytes + self.row_count * 128 + self.other_bytes
        return 4 * (content + self.volume_bytes // 16) + 64 * MIB
