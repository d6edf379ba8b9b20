"""Comparing everything with what it has to be, after each phase."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pyrep.cli.demo.database import DatabaseFacts, check_database
from pyrep.cli.demo.expected import RING, Expected, Frozen
from pyrep.cli.demo.images import digest_image, find_difference, find_nonzero
from pyrep.cli.demo.ledger import Ledger
from pyrep.cli.demo.outcome import Check
from pyrep.cli.demo.records import SLOT_BYTES, count_records, expected_ring
from pyrep.cli.demo.scale import Scale
from pyrep.cli.demo.sites import FILES, RECORDS, Sites, open_files, open_image
from pyrep.cli.demo.tools import Tools
from pyrep.cli.demo.trees import compare_with_ledger
from pyrep.errors import FileSystemError
from pyrep.fs import Access, ExtFileSystem
from pyrep.model import GenerationId, PairStatus, format_bytes

__all__ = ["DATABASE", "Inspector", "Task", "check_one_point", "count_of"]

DATABASE = b"/srv/data/orders.db"

Task = Callable[[], Sequence[Check]]


def count_of(files: Ledger) -> str:
    """Return how much a ledger holds, holes not counted, for people."""
    size = 0
    for record in {record.file_id: record for record in files.records.values()}.values():
        allocated = record.allocated_max_bytes
        size += record.size if allocated is None else min(record.size, allocated)
    return f"{len(files.records):,} files, {format_bytes(size)}"


class Inspector:
    """Compares, on two threads: reading and digests run in C, e2fsck in a process of its own."""

    def __init__(self, sites: Sites, scale: Scale, tools: Tools, scratch: Path) -> None:
        self._sites = sites
        self._scale = scale
        self._tools = tools
        self._scratch = scratch

    def inspect(self, expected: Expected, more: Sequence[Task] = ()) -> list[Check]:
        """Compare the volumes, the pairs and the generations, and whatever else is given."""
        tasks: list[Task] = [
            partial(self._compare_live, expected),
            partial(self._check_image, FILES),
            *(partial(self.check_frozen, one) for one in expected.generations),
            *(partial(self.compare_images, name) for name in self._mirrored(expected)),
            partial(self._check_statuses, expected),
            partial(self._check_records, expected),
            *more,
        ]
        with ThreadPoolExecutor(2, "inspect") as pool:
            done = [pool.submit(task) for task in tasks]
            return [check for one in done for check in one.result()]

    def _mirrored(self, expected: Expected) -> list[str]:
        """Return the pairs whose volumes have to be equal: those whose SVOL holds no generation."""
        frozen = {svol for one in expected.generations for svol in one.digests}
        return [name for name in self._sites.statuses() if name.split("→")[1] not in frozen]

    def _check_statuses(self, expected: Expected) -> list[Check]:
        mirrored = self._mirrored(expected)
        differences = []
        for name, status in self._sites.statuses().items():
            wanted = PairStatus.DUPLEX if name in mirrored else PairStatus.SPLIT
            if status != wanted:
                differences.append(f"{name} is {status}, not {wanted}")
        return [Check(what="statuses of all pairs", differences=tuple(differences))]

    # --- file systems -----------------------------------------------------------------------------

    def _compare_live(self, expected: Expected) -> list[Check]:
        with self._sites.files() as fs:
            return self._compare_files(fs, FILES, expected.files, expected.database)

    def _compare_files(
        self, fs: ExtFileSystem, name: str, files: Ledger, database: DatabaseFacts
    ) -> list[Check]:
        checks = [
            Check(
                what=f"files on {name}",
                extent=count_of(files),
                differences=tuple(_or_why_not(lambda: compare_with_ledger(fs, files))),
            )
        ]
        if DATABASE in files.records:
            scratch = self._scratch / f"{name}.db"
            found = _or_why_not(lambda: check_database(fs.read(DATABASE), scratch, database))
            tables = ", ".join(f"{count:,} {table}" for table, count, _ in database.tables)
            checks.append(
                Check(
                    what=f"SQLite integrity_check on {name}",
                    extent=tables,
                    differences=tuple(found),
                )
            )
        return checks

    def _check_image(self, volume_id: str) -> list[Check]:
        trouble = self._tools.check_ext4(self._sites.image(volume_id))
        return [Check(what=f"e2fsck -fn on {volume_id}", differences=(trouble,) if trouble else ())]

    # --- bytes ------------------------------------------------------------------------------------

    def compare_images(self, name: str) -> list[Check]:
        """Compare two volumes byte by byte; `name` as `105a→105b`."""
        one, other = name.split("→")
        at = find_difference(self._sites.image(one), self._sites.image(other))
        differences = () if at is None else (f"they differ at byte {at}",)
        return [
            Check(
                what=f"{one} and {other} byte by byte",
                extent=format_bytes(self._scale.volume_bytes),
                differences=differences,
            )
        ]

    def digest(self, volume_ids: Sequence[str]) -> dict[str, int]:
        """Return the digests of volumes' backing files."""
        return {one: digest_image(self._sites.image(one)) for one in volume_ids}

    def _check_records(self, expected: Expected) -> list[Check]:
        """205a holds the records that were written, and nothing else."""
        ring_bytes = self._scale.record_slots * SLOT_BYTES
        differences = []
        wanted = expected_ring(expected.record_count, self._scale.record_slots)
        if self._sites.volume(RECORDS).pread(ring_bytes, 0) != wanted:
            differences.append(f"it doesn't hold the {expected.record_count} records written")
        at = find_nonzero(self._sites.image(RECORDS), outside=range(ring_bytes))
        if at is not None:
            differences.append(f"there is data at byte {at}, where nothing was written")
        return [
            Check(
                what=f"records on {RECORDS}",
                extent=f"{expected.record_count:,} written",
                differences=tuple(differences),
            )
        ]

    # --- generations ------------------------------------------------------------------------------

    def check_frozen(self, frozen: Frozen) -> list[Check]:
        """The bytes of a generation are what they were when it was taken (INV-4)."""
        now = self.digest(list(frozen.digests))
        changed = [one for one, digest in now.items() if digest != frozen.digests[one]]
        return [
            Check(
                what=f"{frozen.title} as it was taken",
                extent=", ".join(now),
                differences=tuple(f"{one} has changed since" for one in changed),
            )
        ]

    def compare_generation(self, frozen: Frozen) -> list[Check]:
        """Compare a generation's files, on its SVOL."""
        svol = self.svol_of(frozen)
        with (
            open_image(self._sites.image(svol)) as view,
            open_files(view, Access.READ_ONLY, frozen.title) as fs,
        ):
            checks = self._compare_files(fs, frozen.title, frozen.files, frozen.database)
        return [*checks, *self._check_image(svol)]

    def svol_of(self, frozen: Frozen) -> str:
        """Return the SVOL that holds a generation's files."""
        return self._svol(frozen.generation_id, FILES)

    def _svol(self, generation_id: GenerationId, volume_id: str) -> str:
        told = self._sites.b.generation(generation_id)
        (svol,) = (one["svol"] for one in told["members"] if one["origin_volume"] == volume_id)
        return str(svol)

    def read_rings(self, generation_id: GenerationId) -> tuple[bytes, bytes]:
        """Return a generation's records: of the volume that takes them first, and of the other."""
        client = self._sites.b
        svol = self._svol(generation_id, RECORDS)
        first = client.read(svol, self._scale.record_slots * SLOT_BYTES, 0)
        return first, client.cat(generation_id, RING, volume=FILES)


def check_one_point(
    rings: tuple[bytes, bytes], *, before: int, after: int
) -> tuple[tuple[int, int], Check]:
    """Check that a generation holds a prefix of the records, the same on both volumes (INV-6).

    Args:
        rings: of the volume that takes each record first, and of the other.
        before: records acknowledged before the backup was asked for: they have to be in it.
        after: records acknowledged when it had ended and more had been written: these can't.
    """
    (first, first_wrong), (second, second_wrong) = map(count_records, rings)
    differences = [
        f"record {count} is there, but slot {wrong} isn't as it was then"
        for count, wrong in ((first, first_wrong), (second, second_wrong))
        if wrong is not None
    ]
    if not second <= first <= second + 1:
        differences.append(f"one volume has {first} records, the other {second}")
    if second < before:
        differences.append(f"record {before} was acknowledged before, but only {second} are there")
    if first >= after:
        differences.append(f"records up to {first} are there, and none was written after the point")
    check = Check(
        what="one prefix of the records on both volumes",
        extent=f"{second:,} of {after:,}",
        differences=tuple(differences),
    )
    return (first, second), check


def _or_why_not(compare: Callable[[], list[str]]) -> list[str]:
    """Return differences; that a damaged file system can't be read is one."""
    try:
        return compare()
    except FileSystemError as error:
        return [str(error)]
