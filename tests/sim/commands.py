"""Steps of the simulation in which operators order pairs about."""

from __future__ import annotations

import contextlib

from machine.busy import LOWER_PLACES, copy_while_writing, repair_while_writing
from machine.world import PLACES, PVOLS, place
from pyrep.engine import CopyJob
from pyrep.errors import (
    BusyError,
    PathLostError,
    RefusedError,
)
from pyrep.model import (
    Compare,
    Direction,
    PairStatus,
)
from pyrep.testing import (
    Asked,
    HostWrite,
    Kind,
    ReferencePair,
)
from sim.hosts import Hosts


class Commands(Hosts):
    """What operators do with pairs."""

    def random_pair(self) -> ReferencePair:
        """Return one of the pairs, remote ones more often."""
        if self.draw.random() < 0.4:
            return self.draw.choice(self.remote_pairs())
        return self.draw.choice(list(self.world.reference.pairs.values()))

    def split(self) -> None:
        """Split a pair, or all local pairs of one side's volumes."""
        one = self.random_pair()
        self.note(f"  {one.pair_id} {one.here.status}")
        with contextlib.suppress(RefusedError, BusyError, PathLostError):
            self.world.systems[one.pvol[0]].pair(one.pair_id).split()
            self.world.note({one.pair_id: Asked.SPLIT})

    def resync(self) -> None:
        """Resync a pair to the end."""
        one, direction = self.random_pair(), self.draw.choice(list(Direction))
        if one.is_remote and not self.path.is_up:
            return
        job = self.begin_resync(one, direction)
        if job is not None:
            job.wait(60)

    @staticmethod
    def loser(one: ReferencePair, direction: Direction) -> str | None:
        """Return the system whose side a remote resync gives up, written to or not."""
        if not one.is_remote:
            return None
        return one.svol[0] if direction is Direction.FORWARD else one.pvol[0]

    def begin_resync(
        self, one: ReferencePair, direction: Direction, *, compare: Compare | None = None
    ) -> CopyJob | None:
        """Begin a resync; None: it was refused, or there is nothing to copy."""
        before = one.here.status
        self.note(f"  {one.pair_id} {before} {direction}")
        try:
            job = (
                self.world.systems[one.pvol[0]]
                .pair(one.pair_id)
                .resync(
                    direction=direction,
                    discard=self.loser(one, direction),
                    compare=compare or self.look.choice(list(Compare)),
                )
            )
        except (RefusedError, BusyError, PathLostError):
            return None
        if job is not None and before is not PairStatus.DUPLEX:
            self.world.note({one.pair_id: Asked(direction.value)})
        return job

    def resync_under_a_fault(self) -> None:
        """Resync a remote pair, and let something happen to the path while frames are on it."""
        one, direction = self.draw.choice(self.remote_pairs()), self.draw.choice(list(Direction))
        if not self.path.is_up:
            return
        # What is queued has to arrive before a copy begins: behind a stall it costs a time-out.
        primary = self.world.systems["100a"]
        primary.remote_pairs.line.drain(primary.state.mirror(one.pair_id))  # type: ignore[arg-type]
        self.path.stall()
        if self.begin_resync(one, direction) is not None:
            self.world.observe()
            self.arm([Kind.FRAME, Kind.ACK, Kind.REQUEST, Kind.ANSWER])
        self.path.resume()

    def command_under_a_fault(self) -> None:
        """Split a remote pair while the path is about to lose something."""
        one = self.draw.choice(self.remote_pairs())
        if not self.path.is_up or self.is_disturbed(one):
            return
        self.arm([Kind.REQUEST, Kind.ANSWER])
        self.world.note({one.pair_id: Asked.SPLIT})
        with contextlib.suppress(RefusedError, BusyError, PathLostError):
            self.world.systems["100a"].pair(one.pair_id).split()

    def copy_while_writing(self) -> None:
        """A remote copy compares digests first, or doesn't, and a host writes all the while."""
        one, direction = self.draw.choice(self.remote_pairs()), self.draw.choice(list(Direction))
        forward = direction is Direction.FORWARD
        fits = one.here.status is one.there.status is PairStatus.SPLIT and self.path.is_up
        if not fits or self.is_disturbed(one) or (forward and not self.takes(one.pvol)):
            return
        compare = self.draw.choice(list(Compare))
        writes = [self.random_write() for _ in range(self.draw.randint(1, 6))]
        copy_while_writing(
            self.world,
            one,
            direction,
            writes,
            lambda: self.begin_resync(one, direction, compare=compare),
        )

    def repair_while_writing(self) -> None:
        """A byte is changed below a pair in DUPLEX, found and repaired, and a host writes."""
        one = self.random_pair()
        duplex = one.here.status is one.there.status is PairStatus.DUPLEX and self.path.is_up
        if (
            not duplex
            or self.is_disturbed(one)
            or one.pvol not in PVOLS
            or not self.takes(one.pvol)
        ):
            return
        planted = place(self.draw.randrange(LOWER_PLACES, PLACES), 1)
        writes = [
            HostWrite(
                offset=place(self.draw.randrange(LOWER_PLACES), 5000),
                data=self.draw.randbytes(5000),
            )
            for _ in range(self.draw.randint(1, 12))
        ]
        self.note(f"  {one.pair_id}, byte {planted}")
        repair_while_writing(self.world, one, planted, writes)
