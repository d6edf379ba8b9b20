"""The pairs as the reference has them: which there are to choose, what stands against a command."""

from __future__ import annotations

from machine.world import World
from pyrep.model import FenceLevel, PairStatus
from pyrep.testing import ReferencePair, VolumeName

__all__ = ["Pairs"]


class Pairs:
    """See the module's text."""

    def __init__(self, world: World) -> None:
        self._world = world

    def pick(self, pick: int, *statuses: PairStatus) -> ReferencePair | None:
        """Return one of the pairs (of these statuses).

        What is drawn, and which rules may run, never depends on what the systems made of the rules
        before, or a run couldn't be repeated.
        """
        pairs = [
            one
            for one in self._world.reference.pairs.values()
            if not statuses or one.here.status in statuses
        ]
        return pairs[pick % len(pairs)] if pairs else None

    def takes(self, name: VolumeName) -> bool:
        """Whether a volume takes host writes: with fence level data, while its mirror does."""
        reference = self._world.reference
        remote = [one for one in reference.pairs.values() if one.is_remote and one.pvol == name]
        down = not self._world.path.is_up and self._world.shape.fence_level is FenceLevel.DATA
        is_fenced = any(
            one.is_fenced or (down and one.here.status is not PairStatus.SPLIT) for one in remote
        )
        return reference.takes_host_writes(name) and not is_fenced

    def is_disturbed(self, one: ReferencePair) -> bool:
        """Whether a copy of this or a neighbouring pair is unfinished."""
        mine = {one.pvol, one.svol}
        return any(
            mine & {other.pvol, other.svol}
            and (PairStatus.COPY in {other.here.status, other.there.status})
            for other in self._world.reference.pairs.values()
        )

    def is_whole(self, one: ReferencePair) -> bool:
        """Whether nothing but the pair's own status stands against a copy in either direction."""
        known = self._world.reference.is_known
        return known(one.pvol) and known(one.svol) and not self.is_disturbed(one)

    def is_fed(self, pvol: VolumeName) -> bool:
        """Whether the volume is an SPVOL that takes what is written at its PVOL."""
        return any(
            one.svol == pvol and one.is_remote and one.here.status is PairStatus.DUPLEX
            for one in self._world.reference.pairs.values()
        )

    def is_guarded(self, name: VolumeName) -> bool:
        """Whether a remote pair in operation forbids a copy into the volume."""
        return any(
            one.is_remote
            and name in {one.pvol, one.svol}
            and one.here.status is not PairStatus.SPLIT
            for one in self._world.reference.pairs.values()
        )

    def pick_remote(self, pick: int) -> ReferencePair:
        """Return one of the remote pairs."""
        remote = [one for one in self._world.reference.pairs.values() if one.is_remote]
        return remote[pick % len(remote)]

    def with_generations(self) -> list[ReferencePair]:
        """Return the local pairs of 100b whose SVOL holds a generation."""
        reference = self._world.reference
        return [
            one
            for one in reference.pairs.values()
            if one.svol[0] == "100b" and not one.is_remote and reference.holder(one.svol)
        ]
