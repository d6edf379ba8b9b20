"""The workloads by name. README.md says which command is recorded in which of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crash import acts
from crash.blocks import BLOCKS, CHUNK, SIZE
from crash.filesystem import FILES, PER_FILE, make_file_system
from crash.workload import VOLUMES, Side, Workload, make_systems, mirror
from pyrep import Direction
from pyrep.model import AckPoint, Compare, Protect

ALL = range(BLOCKS)


def run_open(work: Workload) -> None:
    """Close, open, write, flush, close."""
    work.reopen()
    work.write(1, 2, 3)
    work.flush()
    work.write(4, 3)
    work.reopen()
    work.write(5)


def run_pairs(work: Workload) -> None:
    """Split and resync, both pairs, both ways."""
    work.reopen()
    work.write(1, 2)
    work.a.do(acts.split, "105b")
    work.write(3, 4)
    work.flush()
    work.a.do(acts.resync, "105b")
    work.b.do(acts.split, "106b")
    work.write(6, 7)
    work.b.do(acts.resync, "106b")
    work.flush()
    work.b.do(acts.dissolve, "106b")
    work.write(8)


def run_cold(work: Workload) -> None:
    """Write to more regions than are hot while nothing is copied, twice, opened anew between."""
    work.a.do(acts.split, "105b")
    work.b.do(acts.split, "106b")
    work.write(*ALL)
    work.flush()
    work.reopen()
    work.write(*reversed(ALL))
    work.write(0, 1, 2)
    work.flush()
    work.a.do(acts.resync, "105b")
    work.write(3)


def run_backup(work: Workload) -> None:
    """Two backups with writes around them."""
    work.reopen()
    work.write(1, 2)
    work.backup("one")
    work.write(2, 3)
    work.flush()
    work.backup("two")
    work.write(4)


def run_restore(work: Workload) -> None:
    """Restore the whole volume (Fig. 6)."""
    work.write(1, 2)
    generation = work.backup("one")
    work.write(2, 3, 20)
    work.flush()
    work.restored("one", ALL, work.b, acts.restore_volume, generation, "105a")
    work.write(5)
    work.flush()


def _restore_files(work: Workload, side: Side) -> None:
    work.write(1, 2, 13)
    generation = work.backup("one")
    work.write(2, 3, 11, 12, 13, 14)
    work.flush()
    first = range(PER_FILE)
    figure = work.restored("one", first, side, acts.restore_files, generation, "105a", FILES[0])
    assert figure == 5, figure
    work.write(5, 15)
    work.flush()


def run_files(work: Workload) -> None:
    """Restore a file (Fig. 5), asked for where the generation is; another one stays as it is."""
    _restore_files(work, work.b)


def run_files_asked(work: Workload) -> None:
    """The same, asked for at the primary."""
    _restore_files(work, work.a)


def run_create(work: Workload) -> None:
    """Make volumes and pairs, remote and local, of 108a; write to it; end it all again."""
    work.write(1, 2)
    work.flush()
    work.a.do(acts.create_volume, "108a", SIZE)
    work.lay_out("108a")
    work.write(7, volume="108a")
    for name in ("108b", "109b"):
        work.b.do(acts.create_volume, name, SIZE)
    work.a.do(acts.create_remote, "108a", "108b", None, AckPoint.RECEIVED)
    work.b.do(acts.create_local, "108b", "109b")
    work.write(8, volume="108a")
    work.flush("108a")
    work.b.do(acts.dissolve, "109b")
    work.a.do(acts.dissolve, "108b")
    work.write(3)
    work.mark("deleting 108a")
    work.a.do(acts.delete_volume, "108a")
    for name in ("108b", "109b"):
        work.b.do(acts.delete_volume, name)


def run_back(work: Workload) -> None:
    """Copy the secondary back to the primary: what hosts wrote there is then the volume's."""
    work.write(1)
    work.flush()
    work.a.do(acts.split, "105b")
    work.mark("parted 105a")
    work.write_there(9)
    work.a.do(acts.resync, "105b", Direction.REVERSE)
    work.mark("taken-back 105a")


def run_compare(work: Workload) -> None:
    """Resync by digests: what both sides hold isn't sent, and has to be durable all the same."""
    work.write(1, 2)
    work.flush()
    work.a.do(acts.split, "105b")
    before = work.numbers
    work.write(3, 4, 5, 20)
    for number, block in enumerate((3, 4), start=before + 1):  # the same, unflushed
        work.b.do(acts.write, "105b", number, work.offset("105a", block))
    sent = work.a.do(acts.resync, "105b", Direction.FORWARD, "100b", Compare.XXH3)
    assert sent == 2 * CHUNK, sent
    work.write(6)
    work.flush()
    work.write(7)


def run_discard(work: Workload) -> None:
    """Both sides are written to; what hosts wrote at the secondary is given up by name."""
    work.write(1, 2)
    work.flush()
    work.a.do(acts.split, "105b")
    work.mark("parted 105a")
    work.write(3, 4)
    work.write_there(4, 9, 19)
    work.a.do(acts.resync, "105b", Direction.FORWARD, "100b")
    work.mark("discarded 105a")
    work.write(5)
    work.flush()


def run_repair(work: Workload) -> None:
    """Verify the remote pair, then a local one, and repair what differs."""
    work.write(1, 2)
    work.flush()
    for volume, block in (("105b", 6), ("106b", 8)):
        work.mark("damaged")
        work.b.do(acts.damage, volume, 9999, work.offset("105a", block))
        side = work.a if volume == "105b" else work.b
        assert side.do(acts.verify, volume) == 1
        work.mark("repaired")
    work.write(3)


def run_catalogue(work: Workload) -> None:
    """Change what is written down of a pair and of a generation."""
    work.a.do(acts.protect_pair, "105b", Protect.TRY)
    work.write(1)
    generation = work.backup("one")
    work.mark("renaming one renamed")
    work.b.do(acts.catalogue, generation)
    work.mark("renamed one renamed")
    work.write(2)
    work.flush()


def run_retention(work: Workload) -> None:
    """Give up what a policy doesn't keep; the next SVOL is brought to DUPLEX ahead, twice."""
    work.mark("keeps-newest")
    work.b.do(acts.keep_next, "105b", 1)
    for label in ("one", "two", "three"):
        work.write(1, 2, 17)
        work.backup(label)
        work.b.do(acts.retain, "105b")
        work.b.do(acts.wait_for_next, "105b")
    work.write(3)


def build_plain(base: Path, work: Workload) -> None:
    """Mirror a volume without a file system."""
    make_systems(base, VOLUMES)
    work.open()
    work.lay_out("105a")
    work.write(*range(0, BLOCKS, 2))
    mirror(work)


def build_files(base: Path, work: Workload) -> None:
    """Mirror a volume with a file system."""
    chunks, layout = make_file_system()
    make_systems(base, VOLUMES)
    work.open()
    work.lay_out("105a", layout)
    work.write(*ALL)  # as the file system has them
    for offset, data in chunks.items():
        work.a.do(acts.put, "105a", data, offset)
    mirror(work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A workload.

    Attributes:
        run: what is recorded.
        build: what is there before.
        has_files: 105a has a file system.
    """

    run: Callable[[Workload], None]
    build: Callable[[Path, Workload], None] = build_plain
    has_files: bool = False


WORKLOADS: Mapping[str, Script] = {
    "open": Script(run=run_open),
    "pairs": Script(run=run_pairs),
    "cold": Script(run=run_cold),
    "backup": Script(run=run_backup),
    "restore": Script(run=run_restore),
    "files": Script(run=run_files, build=build_files, has_files=True),
    "files-asked": Script(run=run_files_asked, build=build_files, has_files=True),
    "back": Script(run=run_back),
    "create": Script(run=run_create),
    "compare": Script(run=run_compare),
    "discard": Script(run=run_discard),
    "repair": Script(run=run_repair),
    "catalogue": Script(run=run_catalogue),
    "retention": Script(run=run_retention),
}
