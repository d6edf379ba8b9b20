"""Reuse: which local mirror of a volume the next backup takes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

from pyrep.engine.generations import Generations
from pyrep.engine.state import SystemState
from pyrep.errors import RefusedError
from pyrep.model import (
    Generation,
    GenerationId,
    PairId,
    PairStatus,
    VolumeId,
    always_kept,
    choose_reuse,
)

__all__ = ["Reuse"]

_log = logging.getLogger(__name__)


class Reuse:
    """Chooses among the local mirrors of volumes, and changes nothing."""

    def __init__(self, state: SystemState, generations: Generations) -> None:
        self._state = state
        self._generations = generations

    def choose(self, volume: VolumeId, together: Sequence[VolumeId], *, reuse_last: bool) -> PairId:
        """Return the pair whose SVOL the next backup of a volume takes.

        A mirror in DUPLEX is taken first, then one that is being copied, then one that holds no
        generation, then one whose generation another SVOL holds as well (a protective split takes
        all mirrors), then the one with the oldest generation that may be given up.

        Args:
            volume: the source volume.
            together: all volumes that are backed up at once.
            reuse_last: whether one of the last complete generations may be given up.

        Raises:
            RefusedError: the volume has no local mirror, or none may be reused.
        """
        self._state.volume(volume)
        rows = [one.row for one in self._state.local_svol_mirrors(volume)]
        if not rows:
            raise RefusedError(
                f"cannot back up volume {volume}: it has no local mirror in system "
                f"{self._state.system_id}",
                hint="create a local pair of it: create_local_pair",
            )
        for wanted in (PairStatus.DUPLEX, PairStatus.COPY):
            for row in rows:
                if row.status is wanted:
                    return row.pair_id
        held = self._state.held_generations()
        for row in rows:
            if row.mirror_volume_id not in held:
                return row.pair_id
        for row in rows:
            if self._is_spare(row.mirror_volume_id):
                return row.pair_id
        # One that failed holds nothing: its SVOL may have another, and newer one by now.
        known: Sequence[Generation] = self._held_of(volume, held.values())
        if not reuse_last:
            known = self._keeping_others(known, together)
        minimum = self._minimum(volume)
        reused = choose_reuse(known, reuse_last=reuse_last, minimum=minimum)
        _log.info("backup.reuse volume=%s generation=%s", volume, reused.generation_id)
        return self._generations.member(reused, volume).pair_id

    def _minimum(self, volume: VolumeId) -> int:
        policy = self._state.policies.effective(volume).retention
        return policy.minimum if policy else 1

    def _held_of(self, volume: VolumeId, held: Collection[GenerationId]) -> list[Generation]:
        """Return the generations of a volume among these, oldest first."""
        known = map(self._state.catalogue.get, set(held))
        of_it = [one for one in known if any(each.source == volume for each in one.members)]
        return sorted(of_it, key=lambda one: (one.taken_at, one.generation_id))

    def _is_spare(self, svol: VolumeId) -> bool:
        """Whether the generation of this SVOL is on another one, too, and may lose this one."""
        held = self._generations.on_svol(svol)
        if held is None or held.pins or held.protected or not held.is_complete:
            return False
        return held.without(svol) is not None

    def _keeping_others(
        self, generations: Sequence[Generation], together: Sequence[VolumeId]
    ) -> tuple[Generation, ...]:
        """Return them with those protected that a volume not backed up now has to keep."""
        kept = []
        last: dict[VolumeId, Sequence[Generation]] = {}
        for one in generations:
            others = {member.source for member in one.members} - set(together)
            last |= {other: self._last_of(other) for other in others - last.keys()}
            needed = any(one in last[other] for other in others)
            kept.append(replace(one, protected=one.protected or needed))
        return tuple(kept)

    def _last_of(self, volume: VolumeId) -> Sequence[Generation]:
        """Return the complete generations that a volume always keeps: the newest ones."""
        state = self._state
        known = self._held_of(volume, state.held_generations().values())
        return always_kept(known, self._minimum(volume))
