"""The journal of workflows and their leases: what was begun, how far it is, what it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pyrep.errors import BusyError, ExistsError, NotFoundError, RefusedError
from pyrep.meta.column import (
    decoding,
    from_json,
    from_text_time,
    known_hint,
    to_json,
    to_text_time,
)
from pyrep.meta.database import Database
from pyrep.model.ids import VolumeId, WorkflowId
from pyrep.model.workflow import WorkflowKind, WorkflowRecord, WorkflowState

__all__ = ["KEPT", "WorkflowJournal"]

KEPT = 1000
"""Workflows that have ended and are remembered, so many."""


class WorkflowJournal:
    """The workflows of one system; each change is durable on return or with its transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, record: WorkflowRecord) -> None:
        """Add a workflow.

        Raises:
            ExistsError: there is one of this id.
            InvalidArgumentError: its request or progress isn't JSON-able.
        """
        with self._db.transaction():
            if self._find(record.workflow_id):
                raise ExistsError(f"workflow {record.workflow_id} exists already")
            self._put(record)

    def update(
        self,
        workflow_id: WorkflowId,
        *,
        step: int | None = None,
        state: WorkflowState | None = None,
        progress: Mapping[str, Any] | None = None,
        error: str | None = None,
        updated_at: datetime | None = None,
    ) -> WorkflowRecord:
        """Change what is given and return the record as it then is.

        Args:
            workflow_id: which workflow.
            step: the number of the step now begun; written before the step does anything.
            state: its state; giving it clears the error unless `error` says otherwise.
            progress: all of the progress, in place of what is stored.
            error: why it stopped.
            updated_at: the time of the change; None is now.

        Raises:
            NotFoundError: there is none of this id.
            RefusedError: it has ended, in another state than the one given.
            InvalidArgumentError: the progress isn't JSON-able.
        """
        with self._db.transaction():
            old = self.get(workflow_id)
            if state not in {None, old.state} and old.state.has_ended:
                raise RefusedError(
                    f"workflow {workflow_id} is {old.state}: it can't become {state}",
                    hint="what has ended stays so; begin another one",
                )
            new = replace(
                old,
                step=old.step if step is None else step,
                state=old.state if state is None else state,
                progress=old.progress if progress is None else dict(progress),
                error=old.error if state is None and error is None else error,
                updated_at=updated_at or datetime.now(UTC),
            )
            self._put(new)
            return new

    def claim(self, workflow_id: WorkflowId) -> WorkflowRecord:
        """Take a stopped workflow up: from now on it runs, and nobody else can take it up.

        Looking and changing are one transaction: of several who ask at once, one gets it.

        Returns:
            The record as it was, stopped.

        Raises:
            NotFoundError: there is none of this id.
            RefusedError: it isn't stopped; nothing has changed.
        """
        with self._db.transaction():
            found = self.get(workflow_id)
            if found.state is not WorkflowState.STOPPED:
                raise RefusedError(
                    f"cannot take up workflow {workflow_id}: it is {found.state}",
                    hint="only a stopped workflow can be resumed or abandoned",
                )
            self.update(workflow_id, state=WorkflowState.RUNNING)
            return found

    def get(self, workflow_id: WorkflowId) -> WorkflowRecord:
        """Return the workflow of this id.

        Raises:
            NotFoundError: there is none; the hint names those there are.
        """
        found = self._find(workflow_id)
        if not found:
            ids = [row[0] for row in self._db.read("SELECT workflow_id FROM workflow")]
            raise NotFoundError(f"no workflow {workflow_id}", hint=known_hint("workflow", ids))
        return _decode(found[0])

    def all(self) -> tuple[WorkflowRecord, ...]:
        """Return all workflows, in the order in which they were begun."""
        rows = self._db.read("SELECT * FROM workflow ORDER BY started_at, workflow_id")
        return tuple(_decode(row) for row in rows)

    def untold(self) -> tuple[WorkflowRecord, ...]:
        """Return those of whose end another system (`progress["untold"]`) hasn't heard."""
        rows = self._db.read("SELECT * FROM workflow WHERE progress LIKE '%\"untold\":%'")
        return tuple(one for one in map(_decode, rows) if one.progress.get("untold"))

    def forget_ended(self, keep: int = KEPT) -> None:
        """Forget those that have ended, but for the last so many; durable.

        What another system leads is kept: it is asked whether it has ended. So is what another
        system still has to hear of.
        """
        self._db.write(
            "DELETE FROM workflow WHERE workflow_id IN ("
            " SELECT workflow_id FROM workflow WHERE state IN ('done', 'abandoned')"
            " AND request NOT LIKE '%\"led_elsewhere\":%' AND progress NOT LIKE '%\"untold\":%'"
            " ORDER BY started_at DESC, workflow_id DESC LIMIT -1 OFFSET ?)",
            (keep,),
        )

    def acquire(self, workflow_id: WorkflowId, tree_roots: Iterable[VolumeId]) -> None:
        """Lease these trees to one workflow: all of them or none. What it has already it keeps.

        Leases survive a crash with their workflow, until `release`. The workflow may be in another
        system's journal: a lease is taken in each system it touches.

        Raises:
            BusyError: another workflow has one of the trees; nothing was leased.
        """
        with self._db.transaction():
            for root in sorted(set(tree_roots)):
                holder = self.holder(root)
                if holder not in {None, workflow_id}:
                    raise BusyError(
                        f"volume {root} is in use by workflow {holder}",
                        hint=f"wait until {holder} has ended; if it stopped, resume or abandon it",
                    )
                self._db.write("INSERT OR REPLACE INTO lease VALUES (?, ?)", (root, workflow_id))

    def release(self, workflow_id: WorkflowId) -> None:
        """End all leases of one workflow; nothing happens if it has none."""
        self._db.write("DELETE FROM lease WHERE workflow_id = ?", (workflow_id,))

    def holder(self, volume_id: VolumeId) -> WorkflowId | None:
        """Return the workflow that has the tree of this root leased, or None."""
        found = self._db.read("SELECT workflow_id FROM lease WHERE tree_root = ?", (volume_id,))
        return WorkflowId(found[0][0]) if found else None

    def leased(self, workflow_id: WorkflowId) -> tuple[VolumeId, ...]:
        """Return the roots of the trees that a workflow has leased."""
        found = self._db.read("SELECT tree_root FROM lease WHERE workflow_id = ?", (workflow_id,))
        return tuple(VolumeId(row[0]) for row in found)

    def _find(self, workflow_id: WorkflowId) -> list[sqlite3.Row]:
        return self._db.read("SELECT * FROM workflow WHERE workflow_id = ?", (workflow_id,))

    def _put(self, record: WorkflowRecord) -> None:
        self._db.write(
            "INSERT OR REPLACE INTO workflow VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.workflow_id,
                record.kind.value,
                record.state.value,
                record.step,
                to_json(record.request),
                to_json(record.progress),
                to_json(record.error),
                to_text_time(record.started_at),
                to_text_time(record.updated_at),
            ),
        )


def _decode(row: sqlite3.Row) -> WorkflowRecord:
    with decoding(f"workflow {row['workflow_id']}"):
        return WorkflowRecord(
            workflow_id=row["workflow_id"],
            kind=WorkflowKind(row["kind"]),
            state=WorkflowState(row["state"]),
            step=row["step"],
            request=from_json(row["request"]),
            progress=from_json(row["progress"]),
            error=from_json(row["error"]),
            started_at=from_text_time(row["started_at"]),
            updated_at=from_text_time(row["updated_at"]),
        )
