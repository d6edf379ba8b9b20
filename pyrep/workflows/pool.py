"""The pool: which SVOL the next backup of a volume takes, and getting it ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyrep._core import LinkMode
from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.errors import NotFoundError
from pyrep.model import (
    Generation,
    GenerationCause,
    GenerationId,
    GenerationState,
    PairId,
    VolumeId,
    WorkflowId,
)

__all__ = ["UNDECIDED", "Pool", "complete_generation"]

UNDECIDED = {GenerationState.TAKING, GenerationState.UNCONFIRMED}
"""States of a generation whose backup is under way."""


class Pool:
    """The local mirrors of volumes in one system, as places for backups."""

    def __init__(self, system: StorageSystem) -> None:
        self._system = system
        self._state = system.state

    def prepare(
        self,
        volumes: Sequence[VolumeId],
        *,
        workflow: str,
        label: str,
        reuse_last: bool,
        lease: bool = False,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Generation:
        """Bring one local mirror of each volume to DUPLEX, its SVOL flushed; write the intent.

        Which one is `Reuse`'s choice. All are chosen and checked before the first gives up a
        generation: a backup that one volume stands against costs the others nothing.

        Raises:
            RefusedError: a volume has no local mirror, or none may be reused.
            CancelledError: `cancel`, while a mirror is brought to DUPLEX; it goes on by itself.
        """
        workflow_id = WorkflowId(workflow)
        if lease:
            roots = [self._state.root_of(volume) for volume in volumes]
            self._state.journal.acquire(workflow_id, roots)
        self._system.local_pairs.breaks.refresh()
        reuse = self._system.reuse
        chosen = [reuse.choose(volume, volumes, reuse_last=reuse_last) for volume in volumes]
        for pair_id in chosen:
            self._system.local_pairs.copies.check_forward(pair_id, lease=workflow_id)
        for pair_id in chosen:
            job = self._system.local_pairs.copies.resync_forward(pair_id, lease=workflow_id)
            if job is not None:
                doing = f"cannot back up with pair {pair_id}"
                job.wait_unless_paused(doing, progress=progress, cancel=cancel)
        sides = [self._state.sides(pair_id) for pair_id in chosen]
        for pvol, _ in sides:
            pvol.link.settle()
        for _, svol in sides:
            self._discard_attempts(svol.row.volume_id)
        return self._system.local_pairs.splits.intend(
            sides, cause=GenerationCause.BACKUP, label=label
        )

    def _discard_attempts(self, svol: VolumeId) -> None:
        """An earlier attempt on an SVOL that was never split has failed."""
        for one in self._state.catalogue.held(self._system.system_id, UNDECIDED):
            if any(member.svol == svol for member in one.members):
                self.discard(one.generation_id)

    def pairs_of(self, generation_id: str | None) -> list[tuple[Mirror, Mirror]]:
        """Return both sides of each member's local pair; none without a generation."""
        if not generation_id:
            return []
        return self.sides_of(self._system.generations.get(GenerationId(generation_id)))

    def sides_of(self, generation: Generation) -> list[tuple[Mirror, Mirror]]:
        """Return both sides of each member's local pair."""
        return [self._state.sides(member.pair_id) for member in generation.members]

    def finish(
        self,
        pairs: Sequence[tuple[Mirror, Mirror]],
        generation_id: GenerationId,
        *,
        state: GenerationState = GenerationState.UNCONFIRMED,
    ) -> None:
        """Make the SVOLs durable and commit the split; the primary's word makes it complete."""
        self._system.local_pairs.splits.complete(
            pairs, generation_id, GenerationCause.BACKUP, state_after=state
        )

    def fail_cut(self, generation_id: str | None) -> None:
        """A backup has failed after its cut: pairs that were split then are SPLIT, no backup."""
        pairs = [
            one for one in self.pairs_of(generation_id) if one[0].link.info().mode is LinkMode.MARK
        ]
        if generation_id and pairs:
            self.finish(pairs, GenerationId(generation_id), state=GenerationState.FAILED)

    def discard(self, generation_id: str | None) -> None:
        """An attempt that wasn't finished has failed."""
        if not generation_id:
            return
        try:
            generation = self._system.generations.get(GenerationId(generation_id))
        except NotFoundError:
            return
        if generation.state in UNDECIDED:
            self._system.generations.change(generation.generation_id, state=GenerationState.FAILED)
            self._state.refence([one.svol for one in generation.members])


def complete_generation(
    system: StorageSystem, generation_id: GenerationId, record: dict[str, Any]
) -> Generation:
    """Say that a generation is complete, and what the backup did to the remote mirror (INV-7)."""
    generation = system.generations.change(
        generation_id,
        state=GenerationState.COMPLETE,
        hold_ms=record["hold_ms"],
        queued_max_bytes=record["queued_max_bytes"],
        remote_before=_pairs_of(record["remote_before"]),
        remote_during=_pairs_of(record["remote_during"]),
        remote_after=_pairs_of(record["remote_after"]),
    )
    system.digester.start()
    for member in generation.members:
        system.next_svols.want(member.source)
    return generation


def _pairs_of(listed: Sequence[Sequence[str]]) -> tuple[tuple[PairId, str], ...]:
    return tuple((PairId(pair), status) for pair, status in listed)
