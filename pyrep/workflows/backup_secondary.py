"""Backup at the secondary: what the primary's commands do there (Fig. 4, 430 to 450)."""

from __future__ import annotations

import logging
import threading
from typing import Any

from pyrep._core import CutItem, CutVerb
from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.errors import RefusedError, TimedOutError
from pyrep.model import (
    Generation,
    GenerationId,
    GenerationState,
    PairId,
    PairStatus,
    SystemId,
    VolumeId,
)
from pyrep.workflows.codec import generation_to
from pyrep.workflows.pool import UNDECIDED, Pool, complete_generation

__all__ = ["SecondaryBackup"]

_log = logging.getLogger(__name__)

_NOT_ENDED = {*UNDECIDED, GenerationState.COMPLETE}


class SecondaryBackup:
    """What the primary's commands do at the secondary (430 to 450)."""

    def __init__(self, system: StorageSystem) -> None:
        self._system = system
        self._state = system.state
        self._pool = Pool(system)
        self._prepared: dict[str, tuple[GenerationId, str]] = {}
        """By attempt: what was begun, and for which workflow."""
        self._split: dict[str, threading.Event] = {}

    def prepare(
        self, peer: str, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        """Bring an SVOL of each volume to DUPLEX, flushed; write the intent row."""
        volumes = [self._spvol(peer, PairId(pair)) for pair in body["pairs"]]
        generation = self._pool.prepare(
            volumes,
            workflow=body["workflow"],
            label=body["label"],
            reuse_last=body["reuse_last"],
            lease=True,
            progress=progress,
            cancel=cancel,
        )
        self._prepared[generation.attempt_id] = (generation.generation_id, body["workflow"])
        return {"attempt": generation.attempt_id, "generation": generation.generation_id}

    def _spvol(self, peer: str, pair_id: PairId) -> VolumeId:
        row = self._state.mirror(pair_id).row
        if row.pair_system_id != peer or row.is_primary:
            raise RefusedError(
                f"pair {pair_id} isn't one of system {peer}",
                hint="look into the pair at both systems: system.pairs()",
            )
        return row.volume_id

    def _attempt(self, peer: str, attempt_id: str) -> Generation:
        """Return the attempt, which must be of this peer's volumes."""
        # The hold waits for this: not for a walk through the whole catalogue.
        prepared = self._prepared.get(attempt_id)
        known = [self._system.generations.get(prepared[0])] if prepared else None
        for one in known or self._state.catalogue.held(self._system.system_id, _NOT_ENDED):
            origins = {member.origin_system for member in one.members}
            if (
                one.attempt_id == attempt_id
                and one.home == self._system.system_id
                and origins == {peer}
            ):
                return one
        raise RefusedError(
            f"there is no backup attempt {attempt_id}",
            hint="begin another: resume the backup, or abandon it",
        )

    def split(self, peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """440, 460, 450: split all volumes at one point, where applied = number."""
        generation = self._attempt(peer, body["attempt"])
        if generation.state is not GenerationState.TAKING:
            raise RefusedError(
                f"backup attempt {body['attempt']} is {generation.state}: too late to split",
                hint="begin another: resume the backup, or abandon it",
            )
        pairs = self._pool.sides_of(generation)
        self._tell(generation, 440, "are the local mirrors in sync?")
        for pvol, _ in pairs:
            if pvol.row.status is not PairStatus.DUPLEX:  # 440
                self._tell(generation, 460, "bring a local mirror in sync")
                job = self._system.local_pairs.copies.resync_forward(
                    pvol.row.pair_id, lease=body["workflow"]
                )
                if job is not None:
                    job.wait(timeout_s=body["limit_s"])  # hosts wait meanwhile: not for ever
        self._tell(generation, 450, "split the local mirrors at the point")
        applies = self._state.peer(SystemId(peer))
        checks = [
            CutItem(verb=CutVerb.APPLIED, on=applies.incoming(stream), number=number)
            for stream, number in body["points"]
        ]
        self._system.local_pairs.splits.cut(pairs, checks)
        done = self._split[generation.generation_id] = threading.Event()

        def settle() -> None:
            try:
                self._pool.finish(pairs, generation.generation_id)
            finally:
                done.set()

        # After the hold: the split's rows and the flush are no part of it.
        self._state.background(f"flush {generation.generation_id}", settle)
        return {}

    def _tell(self, generation: Generation, step: int, text: str) -> None:
        _log.info("workflow.step generation=%s step=%d %s", generation.generation_id, step, text)

    def confirm(self, peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """Flushed, committed and confirmed: complete."""
        generation = self._attempt(peer, body["attempt"])
        self._await_flushed(generation)
        generation = self._attempt(peer, body["attempt"])
        if generation.state is GenerationState.COMPLETE:
            return {"generation": generation_to(generation)}
        if generation.state is not GenerationState.UNCONFIRMED:
            raise RefusedError(
                f"generation {generation.generation_id} is {generation.state}, not split",
                hint="begin another: resume the backup, or abandon it",
            )
        generation = complete_generation(self._system, generation.generation_id, body)
        self._split.pop(generation.generation_id, None)
        self._prepared.pop(generation.attempt_id, None)
        return {"generation": generation_to(generation)}

    def end(self, _peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """The workflow has ended: what nobody confirmed is no backup; the lease is free.

        Raises:
            TimedOutError: what was split isn't flushed yet; the workflow may be ended again.
        """
        for attempt, (_, workflow) in list(self._prepared.items()):
            if workflow == body["workflow"]:
                self._prepared.pop(attempt, None)
        for one in self._state.catalogue.held(self._system.system_id, UNDECIDED):
            holder = self._state.journal.holder(self._state.root_of(one.members[0].source))
            if holder == body["workflow"]:
                self._await_flushed(one)
                self._pool.discard(one.generation_id)
                self._split.pop(one.generation_id, None)
        self._state.journal.release(body["workflow"])
        return {}

    def _await_flushed(self, generation: Generation) -> None:
        """Wait until the rows of a split were committed: else they are after it has failed."""
        done = self._split.get(generation.generation_id)
        if done is not None and not done.wait(self._state.options.ack_timeout_s):
            raise TimedOutError(
                f"generation {generation.generation_id} isn't flushed yet",
                hint="try again in a moment",
            )
