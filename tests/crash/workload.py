"""What is recorded: a process in which two systems mirror, back up, restore. Run by `record`.

Marks say what hosts may rely on: `write N BLOCK` before, `flushed` after a flush; `backup LABEL`
before, `backed-up LABEL` after; `restore LABEL`, `restored LABEL`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pyrep
from pyrep import ChangedBacking, Direction, Options, Pair, StorageSystem, backup, connect, restore
from pyrep.model import Compare
from pyrep.testing import wait_quiet

CHUNK = 4096
BLOCKS = 24
SIZE = BLOCKS * CHUNK
LONG_S = 60.0
OPTIONS = Options(changed_backing=ChangedBacking.ASSUME_UNCHANGED, hold_max_ms=20_000.0)


def stamp(number: int) -> bytes:
    """Return a block's bytes as write `number` leaves them."""
    return number.to_bytes(8, "little") * (CHUNK // 8)


class Workload:
    """Two systems in a directory, and a host that says what it does."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._marks = (base / "marks").open("ab", buffering=0)
        self._number = 0

    def mark(self, text: str) -> None:
        self._marks.write(f"{text}\n".encode())

    def build(self) -> None:
        for name, volumes in (("100a", ("105a",)), ("100b", ("105b", "106b", "107b"))):
            with StorageSystem.create(self.base / name, name, options=OPTIONS) as system:
                for volume in volumes:
                    system.create_volume(volume, SIZE)
        self.open()
        self.write(*range(0, BLOCKS, 2))
        self.a.create_remote_pair("105a", "100b", "105b", chunk_bytes=CHUNK).wait(timeout_s=LONG_S)
        for svol in ("106b", "107b"):
            pair = self.b.create_local_pair("105b", svol, chunk_bytes=CHUNK)
            pair.wait(timeout_s=LONG_S)
        self.flush()
        wait_quiet(self.a, self.b)

    def open(self) -> None:
        self.a = StorageSystem.open(self.base / "100a", options=OPTIONS)
        self.b = StorageSystem.open(self.base / "100b", options=OPTIONS)
        connect(self.a, self.b)
        wait_quiet(self.a, self.b)

    def close(self) -> None:
        self.a.close()
        self.b.close()

    @property
    def numbers(self) -> int:
        """How many writes there were."""
        return self._number

    def write(self, *blocks: int) -> None:
        for block in blocks:
            self._number += 1
            self.mark(f"write {self._number} {block}")
            self.a.volume("105a").pwrite(stamp(self._number), block * CHUNK)

    def flush(self) -> None:
        self.a.volume("105a").flush()
        self.mark("flushed")

    @property
    def remote(self) -> Pair:
        return next(one for one in self.a.pairs())

    def backup(self, label: str, *, reuse_last: bool = False) -> str:
        self.mark(f"backup {label}")
        report = backup(self.a, ["105a"], label=label, reuse_last=reuse_last)
        self.mark(f"backed-up {label}")
        return report.generation.generation_id


def run_open(work: Workload) -> None:
    """Close, open, write, flush, close."""
    work.close()
    work.open()
    work.write(1, 2, 3)
    work.flush()
    work.write(4, 3)
    work.close()
    work.open()
    work.write(5)


def run_pairs(work: Workload) -> None:
    """Split and resync, both pairs, both ways."""
    work.close()
    work.open()
    work.write(1, 2)
    work.remote.split()
    work.write(3, 4)
    work.flush()
    work.remote.resync().wait(LONG_S)  # type: ignore[union-attr]
    local = next(one for one in work.b.pairs() if not one.row.is_remote)
    local.split()
    work.write(6, 7)
    local.resync().wait(LONG_S)  # type: ignore[union-attr]
    work.flush()
    local.dissolve()
    work.write(8)


def run_backup(work: Workload) -> None:
    """Two backups with writes around them."""
    work.close()
    work.open()
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
    work.mark("restore one")
    restore(work.b, generation, "105a", whole=True)
    work.mark("restored one")
    work.write(5)
    work.flush()


def run_create(work: Workload) -> None:
    """Make volumes and pairs, remote and local, of 108a; write to it; dissolve one again."""
    work.write(1, 2)
    work.flush()
    work.a.create_volume("108a", SIZE)
    work.a.volume("108a").pwrite(stamp(7), 0)
    for name in ("108b", "109b"):
        work.b.create_volume(name, SIZE)
    remote = work.a.create_remote_pair("108a", "100b", "108b", chunk_bytes=CHUNK)
    remote.wait(timeout_s=LONG_S)
    local = work.b.create_local_pair("108b", "109b", chunk_bytes=CHUNK)
    local.wait(timeout_s=LONG_S)
    work.a.volume("108a").pwrite(stamp(8), CHUNK)
    local.dissolve()
    remote.dissolve()
    work.write(3)


def run_back(work: Workload) -> None:
    """Copy the secondary back to the primary: what hosts wrote there is then the volume's."""
    work.write(1)
    work.flush()
    work.remote.split()
    work.mark("secondary")
    work.b.volume("105b").pwrite(stamp(1000), 9 * CHUNK)
    work.remote.resync(direction=Direction.REVERSE).wait(LONG_S)  # type: ignore[union-attr]
    work.mark("taken-back")


def run_compare(work: Workload) -> None:
    """Resync by digests: what both sides hold isn't sent, and has to be durable all the same."""
    work.write(1, 2)
    work.flush()
    work.remote.split()
    before = work.numbers
    work.write(3, 4, 5, 20)
    for number, block in enumerate((3, 4), start=before + 1):  # the same, unflushed
        work.b.volume("105b").pwrite(stamp(number), block * CHUNK)
    job = work.remote.resync(compare=Compare.XXH3, discard="100b")
    job.wait(LONG_S)  # type: ignore[union-attr]
    assert job.sent_bytes == 2 * CHUNK, job.sent_bytes  # type: ignore[union-attr]
    work.write(6)
    work.flush()
    work.write(7)


WORKLOADS: dict[str, Callable[[Workload], None]] = {
    "open": run_open,
    "pairs": run_pairs,
    "backup": run_backup,
    "restore": run_restore,
    "back": run_back,
    "create": run_create,
    "compare": run_compare,
}


if __name__ == "__main__":
    assert pyrep.__version__
    work = Workload(Path(sys.argv[1]))
    work.build()
    work.mark("ready")
    WORKLOADS[sys.argv[2]](work)
    work.mark("end")
    work.close()
