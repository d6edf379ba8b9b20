"""Abandoning a workflow without the other system, which is gone: what each side does alone.

What this means for the data is each function's to say. The other system, should it come back, finds
that the workflow has ended here, and can only abandon it, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyrep.engine import StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.errors import BusyError, NotFoundError, RefusedError
from pyrep.model import (
    Direction,
    PairStatus,
    SystemId,
    VolumeId,
    WorkflowId,
    WorkflowRecord,
    WorkflowState,
)
from pyrep.workflows.backup_secondary import SecondaryBackup
from pyrep.workflows.host_actions import is_down
from pyrep.workflows.production import ProductionSide

__all__ = ["abandon_backup_lease", "abandon_production", "check_is_gone"]


def check_is_gone(system: StorageSystem, other: SystemId, workflow_id: str) -> None:
    """Raise RefusedError while the other system can be asked, and has not ended it.

    One that leads it no more, because its tables were damaged and rebuilt without it, has it as
    little as one that is gone.
    """
    peer = system.state.peers.get(other)
    if peer is not None and peer.is_connected:
        told = system.ask(other, "workflow.state", {"workflow": workflow_id})["state"]
        if not told or WorkflowState(told).has_ended:
            return
        raise RefusedError(
            f"cannot abandon workflow {workflow_id} without system {other}: the path to it is up",
            hint=f"abandon it with both systems: abandon(system, {workflow_id!r})",
        )


@contextlib.contextmanager
def _ending(system: StorageSystem, workflow_id: WorkflowId) -> Iterator[None]:
    """End a workflow that another system leads: one at a time.

    Raises:
        BusyError: somebody is ending it.
    """
    state = system.state
    with state.control:
        if workflow_id in state.ending:
            raise BusyError(
                f"workflow {workflow_id} is being abandoned already",
                hint="wait until that has ended",
            )
        state.ending.add(workflow_id)
    try:
        yield
    finally:
        with state.control:
            state.ending.discard(workflow_id)


def abandon_production(system: StorageSystem, record: WorkflowRecord) -> None:
    """End a restore here, at the PVOL's system, whose leading system is gone.

    Until 550 or 670 began, the PVOL is whole: it is unfenced, and its host started again. From then
    on it is half-way: the copy is stopped, the pair is SPLIT, and hosts stay fenced off by its role
    until a reverse copy has ended (of this pair, or of a local mirror's generation into it) or it
    is dissolved by name, `Force.INCONSISTENT_LEFT`.

    Raises:
        RefusedError: the leading system can be reached.
        BusyError: somebody is abandoning it already.
        HostAgentError: the host couldn't be started; calling it again tries again.
    """
    with _ending(system, record.workflow_id):
        _abandon_production(system, system.state.journal.get(record.workflow_id))


def _abandon_production(system: StorageSystem, record: WorkflowRecord) -> None:
    if record.state.has_ended:
        return
    state = system.state
    volume_id = VolumeId(record.request["volume"])
    remote = _remote_of(system, volume_id)
    if remote is not None:
        check_is_gone(system, remote.row.pair_system_id, record.workflow_id)
        if remote.row.status is PairStatus.COPY and remote.row.direction is Direction.REVERSE:
            system.remote_pairs.splits.split([remote.row.pair_id], lease=record.workflow_id)
    side = ProductionSide(system)
    if record.progress.get("fenced") or is_down(record):
        if remote is None or _is_whole(remote):
            side.start(record.workflow_id, volume_id)
        else:
            state.volume(volume_id).core.lease(0)  # the role fence stays
    side.end(record.workflow_id, WorkflowState.ABANDONED)


def _remote_of(system: StorageSystem, volume_id: VolumeId) -> Mirror | None:
    rows = system.state.mirrors_of(volume_id)
    return next((one for one in rows if one.row.is_remote and one.row.is_primary), None)


def _is_whole(mirror: Mirror) -> bool:
    return mirror.row.target_consistent or mirror.row.direction is Direction.FORWARD


def abandon_backup_lease(system: StorageSystem, workflow_id: WorkflowId) -> None:
    """Free what a backup that another system leads holds here: an attempt not split has failed.

    Raises:
        NotFoundError: nothing is leased for it.
        RefusedError: the leading system can be reached.
        BusyError: somebody is abandoning it already.
    """
    with _ending(system, workflow_id):
        _abandon_backup_lease(system, workflow_id)


def _abandon_backup_lease(system: StorageSystem, workflow_id: WorkflowId) -> None:
    state = system.state
    held = [one for one in state.live if state.journal.holder(one) == workflow_id]
    if not held:
        raise NotFoundError(
            f"system {system.system_id} knows no workflow {workflow_id}",
            hint="list_workflows(system) lists those there are",
        )
    for volume_id in held:
        remote = state.remote_mirror(volume_id)
        if remote is not None:
            check_is_gone(system, remote.row.pair_system_id, workflow_id)
    SecondaryBackup(system).end("", {"workflow": workflow_id})
