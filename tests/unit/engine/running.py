"""Two systems that run on while copies of them are made, and put back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from pyrep.engine import ChangedBacking, Options, Pair
from pyrep.engine.ageing import Ageing
from pyrep.model import (
    Relation,
    SystemId,
)
from pyrep.testing import wait_until
from rig import CHUNK, Rig, row_of

__all__ = ["HOT", "REGION", "SIZE", "B", "Running", "ages", "look", "opened"]

REGION = 1 << 20
REGIONS = 36
HOT = 16
SIZE = REGIONS * REGION
B = SystemId("100b")

OPTIONS = Options(
    hot_regions=HOT, region_bytes=REGION, changed_backing=ChangedBacking.ASSUME_UNCHANGED
)

look = Ageing.look
"""As it is: the tests' configuration lets identifiers grow older only when a test says so."""


class Running(Rig):
    """100a with 105a, 100b with 105b, of several regions, and copies of them as they run."""

    def build(self, *, size: int = SIZE) -> Running:
        for system_id in ("100a", "100b"):
            self.options[system_id] = OPTIONS
        self.make("100a", "105a", size=size)
        self.make("100b", "105b", size=size)
        self.path = self.connect("100a", "100b")
        return self

    @property
    def ageing(self) -> Ageing:
        """What 100a lets grow older."""
        return self.a.remote_pairs.ageing

    def age(self) -> set[str]:
        """Let identifiers grow older now; return of which pairs they did."""
        return set(self.ageing.age(B, at_once=True))

    def settle(self) -> None:
        """Let everything that was written be durable at both sides, and known to be."""
        for mirror in list(self.a.state.mirrors.values()):
            self.a.remote_pairs.line.drain(mirror)
        links = [one.link for one in self.a.state.mirrors.values()]
        self.pvol.flush()
        wait_until(lambda: not any(one.info().any_unsettled for one in links))

    def copy(self, system_id: str) -> None:
        """Copy a system's directory as it runs, at one moment: nobody writes."""
        self.settle()
        shutil.copytree(self.root / system_id, self.root / f"{system_id}.kept")

    def put_back(self, system_id: str) -> None:
        """Lose a system, and put the copy in its place, into the same files."""
        here, kept = self.root / system_id, self.root / f"{system_id}.kept"
        self.systems[system_id].abort()
        for path in here.rglob("*"):
            if path.is_file() and not (kept / path.relative_to(here)).exists():
                path.unlink()
        for path in kept.rglob("*"):
            if path.is_file():
                shutil.copyfile(path, here / path.relative_to(kept))
        self.open(system_id)
        self.reconnect()

    def write(self, *regions: int, byte: bytes = b"x") -> None:
        """Write a chunk of each of these regions."""
        for one in regions:
            self.pvol.pwrite(byte * CHUNK, one * REGION)

    def cool(self) -> None:
        """Let what was written be cold at both sides: other regions are hot, and rows are saved."""
        for _ in range(2):
            self.settle()
            self.write(*range(HOT + 1), byte=b"c")
        self.settle()
        for system in (self.a, self.b):
            for volume_id, live in system.state.live.items():
                assert live.log is not None, volume_id
                live.log.checkpoint()
            for mirror in system.state.mirrors.values():
                mirror.save()

    def relation(self, pair: Pair) -> Relation:
        """Return what the two sides are to each other."""
        met = self.a.remote_pairs.meetings.read(self.a.state.mirror(pair.pair_id))
        return met.meeting.relation


def opened(root: Path) -> Iterator[Running]:
    """Give both systems, and close them at the end."""
    made = Running(root).build()
    yield made
    made.close()


def ages(rig: Running, pair: Pair) -> tuple[int, int]:
    """Return how old the identifiers of both sides are."""
    return row_of(rig.a, pair).lineage.age, row_of(rig.b, pair).lineage.age
