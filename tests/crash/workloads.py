"""The workloads by name. README.md says which command is recorded in which of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from crash import acts
from crash.blocks import BLOCKS, CHUNK, SIZE
from crash.filesystem import FILES, PER_FILE, make_file_system
from crash.workload import VOLUMES, Side, Workload, make_systems, mirror
from pyrep import Direction
from pyrep.model import AckPoint, Compare, Protect

ALL = range(BLOCKS)
_SECOND = {"100a": ("115a",), "100b": ("115b", "116b", "117b")}
_HOST_ROUNDS = 200


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


def run_unclean(work: Workload) -> None:
    """Recover, of pairs in DUPLEX, and of what only pages and logs know; write on behind it."""
    work.write(1, 2)
    work.crash()
    work.write(3)
    work.a.do(acts.split, "105b")
    work.b.do(acts.split, "106b")
    work.write(*ALL)
    work.crash()
    work.write(4, 5)
    work.flush()
    work.a.do(acts.resync, "105b")
    work.write(6)


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
    work.b.do(acts.create_volume, "108b", SIZE)
    work.b.do(acts.attach_volume, "109b", SIZE)
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


def run_group(work: Workload) -> None:
    """Back up two volumes of an asynchronous group while a host writes to both in turn."""
    stop = threading.Event()

    def host() -> None:
        for block in itertools.islice(itertools.cycle(ALL), _HOST_ROUNDS):
            for volume in ("105a", "115a"):
                if stop.is_set():
                    return
                with work.turn:
                    work.write(block, volume=volume)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(host)
        try:
            work.backup("one", "105a", "115a")
            work.backup("two", "105a", "115a")
        finally:
            stop.set()
        writing.result()
    for volume in ("105a", "115a"):
        work.flush(volume)
    work.a.do(acts.split, "105b", "115b")
    for volume in ("105a", "115a"):
        work.write(1, 2, volume=volume)
    for svol in ("105b", "115b"):
        work.a.do(acts.resync, svol)
    work.write(3)


def run_resumed(work: Workload) -> None:
    """Resume a restore that has stopped at 670, and a backup that has at 470."""
    work.b.do(acts.resume_stopped)
    work.mark(f"restored {_whole('one')}")
    work.write(5)
    work.flush()
    work.mark("backup two")
    work.a.do(acts.stop_backup, 470, ["105a"], "two")
    work.write(6)
    work.a.do(acts.resume_stopped)
    work.mark("backed-up two")
    work.write(7)


def run_abandoned(work: Workload) -> None:
    """Abandon a restore of a file that has stopped at 540, and a backup that has at 470."""
    work.b.do(acts.abandon_stopped)
    work.mark("unrestored 105a")
    work.write(5)
    work.flush()
    work.mark("backup two")
    work.a.do(acts.stop_backup, 470, ["105a"], "two")
    work.write(6)
    work.a.do(acts.abandon_stopped)
    work.write(7)


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


def build_group(base: Path, work: Workload) -> None:
    """Mirror two volumes, in one group, each with two local mirrors."""
    make_systems(base, {one: [*VOLUMES[one], *more] for one, more in _SECOND.items()})
    work.open()
    for volume in ("105a", "115a"):
        work.lay_out(volume)
        work.write(*range(0, BLOCKS, 2), volume=volume)
    for number in (105, 115):
        work.a.do(acts.create_remote, f"{number}a", f"{number}b", "g", AckPoint.QUEUED)
        for svol in (number + 1, number + 2):
            work.b.do(acts.create_local, f"{number}b", f"{svol}b")
        work.flush(f"{number}a")
    work.rest()
    for volume in ("105a", "115a"):
        work.mark(f"mirrored {volume}")


def build_stopped(base: Path, work: Workload) -> None:
    """Have a restore of the whole volume stopped at 670."""
    build_plain(base, work)
    work.write(1, 2)
    generation = work.backup("one")
    work.write(2, 3, 20)
    work.flush()
    work.mark(f"restore {_whole('one')}")
    work.b.do(acts.stop_restore, 670, generation, "105a")


def build_stopped_files(base: Path, work: Workload) -> None:
    """Have a restore of a file stopped at 540: 530 has written it to 105b."""
    build_files(base, work)
    work.write(1, 2, 13)
    generation = work.backup("one")
    work.write(2, 3, 11, 12, 13, 14)
    work.flush()
    work.mark(f"restore one 105a {','.join(map(str, range(PER_FILE)))}")
    work.b.do(acts.stop_restore, 540, generation, "105a", FILES[0])


def _whole(label: str) -> str:
    """Return what a mark says of a restore of all of 105a."""
    return f"{label} 105a {','.join(map(str, ALL))}"


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
    "unclean": Script(run=run_unclean),
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
    "group": Script(run=run_group, build=build_group),
    "resumed": Script(run=run_resumed, build=build_stopped),
    "abandoned": Script(run=run_abandoned, build=build_stopped_files, has_files=True),
}
