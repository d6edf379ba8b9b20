"""How much a crash may cost: what is pending after it, by the marks of what hosts wrote before.

Beside the words of `promised`: `mirrored V` behind the making of V's pairs: from there on no crash
may cost all of V. `crashed` stands where both systems ended unasked and are opened again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crash.blocks import CHUNK, MIB, OPTIONS, SIZE, SPREAD
from crash.promised import LossError
from pyrep import StorageSystem
from pyrep._core import crc32c
from pyrep.model import Row

_PAGE_BYTES = 4096
_FILES_BYTES = MIB // 4
"""What a file system of a recorded volume writes beside its files' blocks, at most."""


class Bound:
    """What is pending at most after a crash behind some marks.

    Args:
        marks: what hosts did.
    """

    def __init__(self, marks: Iterable[str]) -> None:
        self._layouts: dict[str, tuple[int, ...]] = {}
        self._mirrored: set[str] = set()
        self._written: dict[str, set[int]] = {}
        self._earlier: dict[str, int] = {}
        for mark in marks:
            self._take(*mark.split())

    def _take(self, word: str, *rest: str) -> None:
        match word:
            case "layout":
                self._layouts[rest[0]] = tuple(map(int, rest[1].split(",")))
                self._written[rest[0]] = set()
                self._earlier[rest[0]] = 0
            case "write" | "there":
                self._note(rest[1], int(rest[2]))
            case "restore":
                for block in rest[2].split(","):
                    self._note(rest[1], int(block))
            case "mirrored":
                self._mirrored.add(rest[0])
            case "crashed":
                # Of both sides, once they have met.
                self._earlier = {volume: self._regions(volume, 2) for volume in self._layouts}
            case _:
                pass

    def _note(self, volume: str, block: int) -> None:
        self._written[volume].add(self._layouts[volume][block] // MIB)

    def _regions(self, volume: str, sides: int) -> int:
        """Return how many regions are pending as a whole: those that can have been hot."""
        hot = self._earlier[volume] + sides * OPTIONS.hot_regions
        is_known = self._layouts[volume] == SPREAD
        return min(len(self._written[volume]), hot) if is_known else hot

    def most_bytes(self, volume: str, sides: int) -> int:
        """Return how much may be pending in each row of a primary's volume and its mirrors.

        The regions that were hot, and each block that was ever written.
        """
        if volume not in self._mirrored:
            return SIZE
        layout = self._layouts[volume]
        more = 0 if layout == SPREAD else _FILES_BYTES
        return min(SIZE, self._regions(volume, sides) * MIB + len(layout) * CHUNK + more)

    def check(
        self, system: StorageSystem, torn: frozenset[str] = frozenset(), *, sides: int = 1
    ) -> None:
        """Check every row of a system.

        Args:
            system: nobody has written to it since.
            torn: bitmap files that had a torn page, by name: it stands for all of the volume.
            sides: whose hot regions: a copy of what was hot at both marks it in other rows, too.

        Raises:
            LossError: more is pending.
        """
        mirrors = list(system.state.mirrors.values())
        origins = {one.row.volume_id: _primary(one.row) for one in mirrors if one.row.is_remote}
        store = system.state.store
        bad = [one.row for one in mirrors if store.path_of(one.row.row_key).name in torn]
        shared = any(not row.is_remote for row in bad)  # siblings share what they mark
        for mirror in mirrors:
            row = mirror.row
            here = row.volume_id if row.is_remote or row.is_primary else row.mirror_volume_id
            origin = origins.get(here)
            if origin is None or row in bad or (shared and not row.is_remote):
                continue
            pending, most = mirror.pending().count() * CHUNK, self.most_bytes(origin, sides)
            if pending > most:
                raise LossError(
                    f"{system.system_id}: {pending} bytes are pending in pair {row.pair_id} of "
                    f"{row.volume_id}, {row.status}, {most} may be"
                )


def _primary(row: Row) -> str:
    return row.volume_id if row.is_primary else row.mirror_volume_id


def torn_files(directory: Path) -> frozenset[str]:
    """Return the names of a system's bitmap files of which a power loss has torn a page."""
    return frozenset(one.name for one in directory.glob("bitmaps/*.bitmap") if _is_torn(one))


def _is_torn(path: Path) -> bool:
    data = path.read_bytes()
    pages = [data[at : at + _PAGE_BYTES] for at in range(0, len(data), _PAGE_BYTES)]
    return any(crc32c(one[:-4]).to_bytes(4, "little") != one[-4:] for one in pages if any(one))
