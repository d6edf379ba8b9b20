"""What the last end of a system, clean or not, did to the statuses in its tables."""

from __future__ import annotations

import logging
from dataclasses import replace

from pyrep.engine.found import Found, RowKey
from pyrep.engine.rowrules import identified
from pyrep.engine.state import SystemState
from pyrep.model import (
    Direction,
    GenerationState,
    PairStatus,
    Row,
    SplitCause,
    VolumeId,
    WorkflowState,
)

__all__ = ["note_end"]

_log = logging.getLogger(__name__)


def note_end(state: SystemState, loaded: dict[RowKey, Found], changed: set[VolumeId]) -> None:
    """Make durable what the last end did to statuses, and that this run isn't closed yet.

    A generation that was being taken has failed; so has one whose SVOL's file was changed.
    """
    rows = state.table.rows()
    found = {row: loaded[row.pair_id, row.volume_id] for row in rows}
    unclean = {row.pair_id for row, one in found.items() if one.all_pending or one.unclean}
    with state.db.transaction():
        for row in rows:
            new = identified(row, _after_end(row, unclean=row.pair_id in unclean))
            if row.is_remote and row.pair_id in unclean:
                # Hot regions are pending, or all is. Before anything else may be lost sight of.
                new = replace(new, overmarked=True)
            if new != row:
                told = [f"{one.status},{one.cause or '-'},{one.direction}" for one in (row, new)]
                _log.info("pair.reopened pair=%s from=%s to=%s", row.pair_id, *told)
                state.table.replace(new)
        for generation in state.catalogue.all():
            if generation.home == state.system_id and (
                generation.state is GenerationState.TAKING
                or (generation.is_complete and changed & {one.svol for one in generation.members})
            ):
                state.catalogue.replace(replace(generation, state=GenerationState.FAILED))
        for workflow in state.journal.all():
            if workflow.state is WorkflowState.RUNNING:
                state.journal.update(
                    workflow.workflow_id,
                    state=WorkflowState.STOPPED,
                    error="the system was closed while it ran",
                )
        state.record = replace(state.record, clean=False)
        state.system.set(state.record)


def _after_end(row: Row, *, unclean: bool) -> Row:
    """Return the row as it is after the last end (architecture section 3).

    DUPLEX becomes SPLIT/unclean, its target inconsistent if its own system ended so; a remote pair
    waits for the path in any case. COPY stays in its direction, SPLIT keeps its cause.
    """
    torn = row.status is PairStatus.COPY and unclean and row.is_remote and not row.is_source
    if torn and row.direction is Direction.FORWARD:
        # A PVOL that is said to be whole was made durable before that was written down: a crash
        # of both systems at the end of a copy back must leave one of them whole.
        return replace(row, target_consistent=False)  # the last records in order may be torn
    if row.status is not PairStatus.DUPLEX:
        return row
    if unclean:
        target_here = not (row.is_remote and row.is_primary)
        return replace(
            row,
            status=PairStatus.SPLIT,
            cause=SplitCause.UNCLEAN,
            target_consistent=row.target_consistent and not target_here,
        )
    if row.is_remote:
        return replace(row, status=PairStatus.SPLIT, cause=SplitCause.PATH_LOST)
    return row
