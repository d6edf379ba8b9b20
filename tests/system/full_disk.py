"""Two systems, one of them on file systems that are really full: run in a mount namespace.

`unshare --user --map-root-user --mount python full_disk.py BASE SIDE WHAT`. WHAT of SIDE's
directory is a tmpfs of its own; it is filled to the last byte, hosts go on writing, commands are
given, the system may crash and be opened; then there is room again. What is wrong then is raised.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pyrep import Options, Pair, StorageSystem, check_system, connect
from pyrep.engine import Severity
from pyrep.errors import PyrepError
from pyrep.model import PairStatus
from pyrep.testing import check_covered, check_durable_first, wait_quiet, wait_until
from rig import bring_home, content

BLOCK = 8192
REGION = 1 << 20
REGIONS = 24
SIZE = REGIONS * REGION
SIDES = {"100a": ("105a",), "100b": ("105b", "106b")}
PLACES = {"volumes": "volumes", "bitmaps": "bitmaps", "log": "alog", "tables": "", "all": ""}
LONG_S = 60.0
SIZE_BYTES = 1 << 30
SPARE_BYTES = 64 << 10
OPTIONS = Options(
    hot_regions=16, region_bytes=REGION
)  # fewer than there are: most writes are misses of the log


class Disk:
    """A tmpfs that is filled, and has room again."""

    def __init__(self, path: Path) -> None:
        path.mkdir(exist_ok=True)
        size = f"size={SIZE_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(path)], check=True)
        self.path = path
        self._filler = path / "filler"

    def _resize(self, size_bytes: int) -> None:
        size = f"remount,size={size_bytes}"
        subprocess.run(["mount", "-o", size, str(self.path)], check=True)

    def fill(self) -> None:
        """Leave not a byte: of a disk that has a little left, so that filling it takes no time."""
        found = os.statvfs(self.path)
        self._resize((found.f_blocks - found.f_bfree) * found.f_frsize + SPARE_BYTES)
        with self._filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        assert not os.statvfs(self.path).f_bavail

    def make_room(self) -> None:
        self._resize(SIZE_BYTES)
        self._filler.unlink()


class Sites:
    """105a → 105b → 106b, one side's files on a disk that gets full."""

    def __init__(self, base: Path, side: str, what: str) -> None:
        self.base, self.side = base, side
        root = base / side
        self.disk = Disk(root / PLACES[what]) if what in {"tables", "all"} else None
        for name, volumes in SIDES.items():
            with StorageSystem.create(base / name, name, options=OPTIONS) as system:
                if name == side and what != "all":
                    self._mount(root, what)
                for volume in volumes:
                    system.create_volume(volume, SIZE)
        self.systems: dict[str, StorageSystem] = {}
        self.open(*SIDES)
        self.systems["100a"].create_remote_pair("105a", "100b", "105b").wait(timeout_s=LONG_S)
        self.systems["100b"].create_local_pair("105b", "106b").wait(timeout_s=LONG_S)
        self.acked: dict[int, bytes] = {}
        self.answers: Counter[str] = Counter()
        self._number = 0
        self.write(4)
        wait_quiet(*self.systems.values())

    def _mount(self, root: Path, what: str) -> None:
        """Give the directory that is to be full a disk of its own; or all the others."""
        for place in ("volumes", "bitmaps", "alog"):
            if what == "tables":
                Disk(root / place)
            elif place == PLACES[what]:
                self.disk = Disk(root / place)

    def open(self, *names: str) -> None:
        """Open and connect."""
        for name in names:
            self.systems[name] = StorageSystem.open(self.base / name, options=OPTIONS)
        self.path = connect(self.systems["100a"], self.systems["100b"])
        wait_quiet(*self.systems.values())

    def write(self, count: int) -> None:
        """Write blocks of as many regions, each to a place that nobody wrote to before."""
        volume = self.systems["100a"].volume("105a")
        for _ in range(count):
            self._number += 1
            data = self._number.to_bytes(8, "little") * (BLOCK // 8)
            offset = self._number % REGIONS * REGION + self._number // REGIONS * BLOCK
            try:
                volume.pwrite(data, offset)
            except PyrepError as error:
                self.answers[type(error).__name__] += 1
            else:
                self.acked[offset] = data

    def command(self) -> None:
        """Split and resync, as far as that goes."""
        for system, name in (("100b", "local"), ("100a", "remote")):
            pair = self._pair(system, remote=name == "remote")
            for do in (pair.split, pair.resync):
                try:
                    do()
                except PyrepError as error:
                    self.answers[f"{name} {do.__name__} {type(error).__name__}"] += 1

    def _pair(self, system: str, *, remote: bool) -> Pair:
        return next(one for one in self.systems[system].pairs() if one.row.is_remote is remote)

    def crash(self) -> bool:
        """End the side as kill -9 does; return whether it opens although there is no room."""
        self.path.cut()
        self.systems[self.side].abort()
        try:
            self.open(self.side)
        except PyrepError as error:
            self.answers[f"open {type(error).__name__}"] += 1
            return False
        return True

    def note_pairs(self) -> None:
        """Count what has become of the pairs."""
        wait_quiet(*self.systems.values())
        for system in self.systems.values():
            system._watch.look()
        for side, name in (("100a", "remote"), ("100b", "local")):
            state = self._pair(side, remote=name == "remote").status()
            self.answers[f"{name} {state.status} {state.cause or ''}".strip()] += 1

    def check(self) -> None:
        """What differs is covered, and what is written down was so first."""
        wait_quiet(*self.systems.values())
        check_covered(*self.systems.values())
        check_durable_first(*self.systems.values())

    def check_acknowledged(self) -> None:
        held = content(self.systems["100a"].volume("105a"))
        for offset, data in self.acked.items():
            assert held[offset : offset + BLOCK] == data, f"the write at {offset} is lost"

    def bring_home(self) -> None:
        """With room again all becomes DUPLEX and equal, and hosts write."""
        for name, remote in (("100a", True), ("100b", False)):
            bring_home(self._pair(name, remote=remote))
        before = self.answers.total()
        self.write(2 * REGIONS)
        assert self.answers.total() == before, self.answers
        self.systems["100a"].volume("105a").flush()
        wait_quiet(*self.systems.values())
        self.check_acknowledged()
        for name, remote in (("100a", True), ("100b", False)):
            pair = self._pair(name, remote=remote)
            wait_until(lambda pair=pair: pair.status().status is PairStatus.DUPLEX)  # type: ignore[misc]
        held = content(self.systems["100a"].volume("105a"))
        for volume in SIDES["100b"]:
            wait_until(lambda volume=volume: content(self.systems["100b"].volume(volume)) == held)  # type: ignore[misc]

    def close(self) -> None:
        for name, system in self.systems.items():
            system.close()
            report = check_system(self.base / name)
            assert report.severity is Severity.OK, [str(one) for one in report.wrong]


def main(base: Path, side: str, what: str) -> None:
    """Fill the disk twice: with a crash of its system meanwhile, and without."""
    sites = Sites(base, side, what)
    assert sites.disk is not None
    for crashes in (False, True):
        sites.disk.fill()
        sites.write(3 * REGIONS)
        sites.note_pairs()
        sites.check()
        sites.command()
        sites.write(REGIONS)
        sites.check()
        sites.check_acknowledged()
        opens = sites.crash() if crashes else True
        if opens:
            sites.write(REGIONS)
            sites.check()
        sites.disk.make_room()
        if not opens:
            sites.open(side)
        sites.check()
        sites.check_acknowledged()
        sites.bring_home()
    sites.close()
    print(json.dumps(sites.answers))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
