"""Steps of the simulation in which something befalls systems and path."""

from __future__ import annotations

from pyrep.engine import ChangedBacking
from pyrep.errors import PathLostError
from pyrep.testing import Kind
from sim.scene import Scene


class Fate(Scene):
    """What befalls systems and path."""

    def cut(self) -> None:
        """Lose the path."""
        self.world.cut()

    def connect(self) -> None:
        """Bring the path up."""
        self.world.connect()

    def revive(self) -> None:
        """What was on its way over lost connections comes now."""
        self.note(f"  {self.path.revive()} came")

    def crash(self) -> None:
        """A system loses power; the other one is told."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.world.crash(system_id, self.random_loss())

    def crash_unnoticed(self) -> None:
        """A system loses power and is back before the other one has noticed."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.path.fall_silent()
        self.world.crash(system_id, self.random_loss())
        self.world.settle()
        self.world.observe()
        self.world.connect()
        if self.draw.random() < 0.5:
            self.revive()

    def reopen(self) -> None:
        """A system is closed and opened again."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.world.reopen(system_id)

    def keep_a_copy(self) -> None:
        """A system is closed, or loses power, and its directory is copied before it is opened."""
        system_id = self.draw.choice(["100a", "100b"])
        closes = self.draw.random() < 0.5
        self.note(f"  {system_id}, {'closed' if closes else 'crashed'}")
        if closes:
            self.world.reopen(system_id, keeps=True)
        else:
            self.world.crash(system_id, self.random_loss(), keeps=True)

    def keep_a_running_copy(self) -> None:
        """A system's directory is copied as it runs, at one moment."""
        system_id = self.draw.choice(["100a", "100b"])
        self.note(f"  {system_id}")
        self.world.keep_running(system_id)

    def age(self) -> None:
        """Data identifiers grow older: an earlier copy of either system is an old one."""
        self.note(f"  {sorted(self.world.age())}")

    def age_under_a_fault(self) -> None:
        """Data identifiers grow older while the path is about to lose something."""
        if not self.path.is_up:
            return
        self.arm([Kind.REQUEST, Kind.ANSWER])
        try:
            self.age()
        except PathLostError:
            self.note("  lost")

    def put_back(self) -> None:
        """A system is lost, and the last copy of it is put in its place.

        Only after an ageing, where a name was the same ever since: what is younger isn't told.
        """
        system_id = self.draw.choice(["100a", "100b"])
        if self.draw.random() < 0.5:
            self.age()
        changed = self.draw.choice([ChangedBacking.ASSUME_UNCHANGED, ChangedBacking.ALL_PENDING])
        found = self.world.put_back(system_id, changed)
        self.note(f"  {system_id} {changed if found else 'no copy'}")
