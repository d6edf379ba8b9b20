"""Steps of the simulation in which hosts write."""

from __future__ import annotations

import threading

from machine.world import PVOLS, QUEUE_BYTES, SPVOLS
from pyrep.errors import (
    FencedError,
    MirrorLostError,
)
from pyrep.model import (
    FenceLevel,
    PairStatus,
    SplitCause,
)
from pyrep.testing import (
    Kind,
    VolumeName,
    check_covered,
    check_one_point,
)
from sim.scene import Planned, Scene


class Hosts(Scene):
    """What hosts do."""

    def write(self) -> None:
        """Write at the primary."""
        self.do_writes(self.plan(), armed=False)

    def write_under_a_fault(self) -> None:
        """Write at the primary while something happens to the path."""
        self.do_writes(self.plan(), armed=self.path.is_up)

    def plan(self) -> list[Planned]:
        """Return writes to the PVOLs that take some."""
        takes = [one for one in PVOLS if self.takes(one)]
        count = self.draw.randint(1, 6) if takes else 0
        return [(self.draw.choice(takes), self.random_write()) for _ in range(count)]

    def takes(self, pvol: VolumeName) -> bool:
        """Whether a PVOL takes host writes: with fence level data, while its mirror does."""
        return self.world.reference.takes_host_writes(pvol) and not self.is_fenced(pvol)

    def is_fenced(self, pvol: VolumeName) -> bool:
        """Whether fence level data keeps hosts off: by its status, or because the path is down."""
        (pair,) = (one for one in self.remote_pairs() if one.pvol == pvol)
        runs = pair.here.status is not PairStatus.SPLIT
        return pair.is_fenced or (
            pair.fence_level is FenceLevel.DATA and runs and not self.path.is_up
        )

    def write_while_fenced(self) -> None:
        """Write to a PVOL that fence level data keeps hosts off: nothing changes."""
        for name in filter(self.is_fenced, PVOLS):
            write = self.random_write()
            try:
                self.world.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)
            except (MirrorLostError, FencedError):
                continue
            raise AssertionError(f"{name} took a write that its mirror doesn't have")

    def write_too_much(self) -> None:
        """Write more than the queue takes: the group pulls ahead, and comes back by itself.

        What its SVOLs' mirrors keep before they are copied into is one point for the whole group.
        """
        reference, pairs = self.world.reference, self.remote_pairs()
        duplex = all(one.here.status is PairStatus.DUPLEX for one in pairs)
        if not self.path.is_up or not duplex or not all(self.takes(one) for one in PVOLS):
            return
        before = {one.svol: reference.content(one.svol).copy() for one in pairs}
        svols = {one.pvol: one.svol for one in pairs}
        known = self.known_generations()
        plan = [
            (self.draw.choice(PVOLS), self.random_write(60_000))
            for _ in range(2 * QUEUE_BYTES // 60_000)
        ]
        self.path.stall()
        self.host(plan, beside=False)
        self.world.observe(congested=True)
        for one in self.remote_pairs():
            assert one.here.cause is SplitCause.CONGESTED, one
        check_covered(*self.world.open_systems(), put_back=self.world.reference.apart)
        for name, write in plan:
            reference.write(name, write)
        self.path.resume()
        self.world.settle()
        found = {
            self.pair_of(svol).pvol: self.world.live(svol)
            for generation_id, members in self.world.observed().generations.items()
            if generation_id not in known
            for svol in members
        }
        shipped = [(svols[name], write) for name, write in plan]
        if found:
            count = check_one_point(before, shipped, found)
            self.note(f"  {count} of {len(plan)} before the point, {sorted(found)}")
            assert 0 < count < len(plan)
            for svol, write in shipped[:count]:
                reference.write(svol, write)
        self.world.observe(congested=True)

    def do_writes(self, plan: list[Planned], *, armed: bool) -> None:
        """Do the writes; after a fault each group's SVOLs hold the same prefix of them."""
        reference = self.world.reference
        remote = {
            one.pvol: one for one in self.remote_pairs() if one.here.status is PairStatus.DUPLEX
        }
        before = {one.svol: reference.content(one.svol).copy() for one in remote.values()}
        beside = self.draw.random() < 0.5
        if armed:
            self.arm([Kind.FRAME, Kind.ACK])
        refused = self.host(plan, beside=beside)
        self.come_to_rest()
        plan = [one for one in plan if one not in refused or self.is_written(one)]
        if self.path.is_up or not remote:
            for name, write in plan:
                reference.write(name, write)
            return
        self.world.settle()
        self.world.observe()
        shipped = [(remote[name].svol, write) for name, write in plan if name in remote]
        groups = [[svol] for svol in before] if beside else [list(before)]
        for svols in groups:  # of one host's writes: a prefix over both volumes
            mine = [(svol, write) for svol, write in shipped if svol in svols]
            found = {svol: self.world.live(svol) for svol in svols}
            count = check_one_point({svol: before[svol] for svol in svols}, mine, found)
            self.note(f"  {count} of {len(mine)} arrived at {svols}")
            for svol, write in mine[:count]:
                reference.write(svol, write)
        for name, write in plan:
            reference.write(name, write)

    def is_written(self, one: Planned) -> bool:
        """Whether a write that ended in an error is in its volume all the same."""
        (name, write) = one
        held = self.world.live(name)[write.offset : write.offset + len(write.data)]
        return held == write.data

    def host(self, plan: list[Planned], *, beside: bool) -> list[Planned]:
        """Do writes one after the other; `beside`: those of each volume by a host of its own.

        Returns:
            The writes that fence level data has refused; a host stops at its first. That one may
            have been written, the others weren't tried.
        """
        refused: list[Planned] = []

        def one_host(mine: list[Planned]) -> None:
            for number, (name, write) in enumerate(mine):
                try:
                    self.world.systems[name[0]].volume(name[1]).pwrite(write.data, write.offset)
                except MirrorLostError:
                    assert self.shape.fence_level is FenceLevel.DATA
                    refused.extend(mine[number:])
                    return

        if not beside:
            one_host(plan)
            return refused
        hosts = [
            threading.Thread(target=one_host, args=([one for one in plan if one[0] == name],))
            for name in PVOLS
        ]
        for each in hosts:
            each.start()
        for each in hosts:
            each.join()
        return refused

    def write_at_the_secondary(self) -> None:
        """Write to an SPVOL, if it takes it."""
        name = self.draw.choice(SPVOLS)
        if self.world.reference.takes_host_writes(name):
            self.world.write(name, self.random_write())
