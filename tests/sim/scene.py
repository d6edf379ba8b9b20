"""What every step of the simulation works with: two systems, their path, and its draws."""

from __future__ import annotations

import random
from collections.abc import Sequence

from machine.world import PLACES, SIZE_BYTES, SPVOLS, Shape, World, place
from pyrep.model import (
    AckPoint,
    Congestion,
    FenceLevel,
    GenerationState,
    PairStatus,
)
from pyrep.testing import (
    HostWrite,
    Kind,
    PowerLoss,
    ReferencePair,
    SimulatedPath,
    VolumeName,
    wait_until,
)

_HELD = {GenerationState.COMPLETE, GenerationState.UNCONFIRMED}
Planned = tuple[VolumeName, HostWrite]


class Scene:
    """A world, and what is drawn from one seed.

    Args:
        seed: what it is made of.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.draw = random.Random(seed)
        self.look = random.Random(f"look {seed}")  # of its own: what others draw stays
        ack = self.draw.choice(list(AckPoint))
        second_ack = self.draw.choice([ack, ack, *AckPoint])
        congestion = self.draw.choice(list(Congestion))
        fenced = AckPoint.QUEUED not in {ack, second_ack} and congestion is Congestion.BLOCK
        self.shape = Shape(
            size_bytes=SIZE_BYTES,
            remote_chunk_bytes=self.draw.choice([4096, 8192, 65536]),
            local_chunk_bytes=self.draw.choice([4096, 16384]),
            ack=ack,
            second_ack=second_ack,
            congestion=congestion,
            fence_level=self.draw.choice(list(FenceLevel)) if fenced else FenceLevel.NEVER,
            hot_regions=self.draw.choice([4, 4, 5, 6]),
            volatile=self.draw.random() < 0.5,
            simulated=seed,
        )
        self.log: list[str] = [str(self.shape)]
        self.world = World(self.shape)

    def note(self, what: str) -> None:
        """Say what is done."""
        self.log.append(what)

    @property
    def path(self) -> SimulatedPath:
        """The path."""
        return self.world.simulated

    def pair_of(self, svol: VolumeName) -> ReferencePair:
        """Return the pair of an SVOL."""
        return next(one for one in self.world.reference.pairs.values() if one.svol == svol)

    def remote_pairs(self) -> list[ReferencePair]:
        """Return the remote pairs."""
        return [self.pair_of(one) for one in SPVOLS]

    def is_disturbed(self, one: ReferencePair) -> bool:
        """Whether a copy of this or a neighbouring pair is unfinished."""
        mine = {one.pvol, one.svol}
        return any(
            mine & {other.pvol, other.svol}
            and PairStatus.COPY in {other.here.status, other.there.status}
            for other in self.world.reference.pairs.values()
        )

    def random_write(self, length: int | None = None) -> HostWrite:
        """Return a write, sometimes of zeros, sometimes at the end."""
        if length is None:
            length = self.draw.choice([1, 512, 4096, 5000, 65536, 100_000])
        at_end = self.draw.random() < 0.1
        number = PLACES - 1 if at_end else self.draw.randrange(PLACES)
        zeros = self.draw.random() < 0.1
        return HostWrite(
            offset=place(number, length),
            data=bytes(length) if zeros else self.draw.randbytes(length),
        )

    def random_loss(self) -> PowerLoss:
        """Return what a power loss takes."""
        return PowerLoss(
            seed=self.draw.randrange(100),
            keep_one_in=self.draw.randrange(4),
            tear=self.draw.random() < 0.5,
        )

    def arm(self, kinds: Sequence[Kind]) -> None:
        """Let something befall the path, soon."""
        how = self.draw.choice(["cut", "drop", "silence"])
        match how:
            case "cut":
                count_bytes = self.draw.choice([0, 100, 1000, 5000, 20_000, 100_000])
                self.note(f"  cut after {count_bytes} bytes")
                self.path.cut_after(count_bytes)
            case "drop":
                kind = self.draw.choice(kinds)
                self.note(f"  drop {kind}")
                self.path.drop(kind)
            case _:
                told = self.draw.choice(["100a", "100b", None])
                self.note(f"  silence, told {told}")
                self.path.fall_silent(told=told)

    def come_to_rest(self) -> None:
        """Let what was begun on the path end; a path that fell silent is found out."""
        self.path.calm()
        wait_until(lambda: self.path.is_idle or not self.path.is_up)
        if not self.path.is_up:
            self.world.cut()

    def known_generations(self) -> set[str]:
        """Return the generations whose content somebody holds."""
        return {
            one.generation_id
            for system in self.world.open_systems()
            for one in system.list_generations()
            if one.home == system.system_id and one.state in _HELD
        }
