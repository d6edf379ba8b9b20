"""What other systems ask of a system's workflows: who may, and who answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.endpoint import CallHandler, ErrandHandler
from pyrep.engine.peer import Peer
from pyrep.errors import NotFoundError
from pyrep.model import WorkflowId
from pyrep.workflows.backup import begin_backup
from pyrep.workflows.backup_request import BackupRequest
from pyrep.workflows.backup_secondary import SecondaryBackup
from pyrep.workflows.copies import generation_verbs
from pyrep.workflows.errands import Errands
from pyrep.workflows.leading import lead_backup, lead_restore
from pyrep.workflows.production import ProductionSide, production_errands, production_verbs
from pyrep.workflows.restore import Restore, begin_restore
from pyrep.workflows.restore_request import RestoreRequest
from pyrep.workflows.service import backup_body

__all__ = ["attach"]


def _check_own_pair(
    system: StorageSystem, peer: Peer, *, volume: str | None = None, pair: str | None = None
) -> None:
    """Let a peer reach only volumes that are paired with it, through that pair.

    Raises:
        NotFoundError: as if there were no such volume or pair.
    """
    for one in list(system.state.mirrors.values()):
        row = one.row
        if (
            row.is_remote
            and row.pair_system_id == peer.system_id
            and volume in {None, row.volume_id}
            and pair in {None, row.pair_id}
        ):
            return
    raise NotFoundError(
        f"system {peer.system_id} has no pair {pair or ''} with volume {volume or ''}",
        hint="look into the pair at both systems: system.pairs()",
    )


def _check_is_paired(system: StorageSystem, peer: Peer) -> None:
    """Raise NotFoundError unless the peer has a pair with this system."""
    rows = [one.row for one in list(system.state.mirrors.values())]
    if not any(one.is_remote and one.pair_system_id == peer.system_id for one in rows):
        raise NotFoundError(
            f"system {peer.system_id} has no pair with {system.system_id}",
            hint="look into the pair at both systems: system.pairs()",
        )


def _check_own_workflow(system: StorageSystem, peer: Peer, workflow: str) -> None:
    """Let a peer act only for workflows that it leads, on volumes that are paired with it.

    A workflow's id is no secret: it stands in logs and in refusals.

    Raises:
        NotFoundError: as if there were no such workflow.
    """
    journal, state = system.state.journal, system.state
    paired = {
        state.root_of(one.row.volume_id)
        for one in list(state.mirrors.values())
        if one.row.is_remote and one.row.pair_system_id == peer.system_id
    }
    try:
        is_own = not journal.get(WorkflowId(workflow)).request.get("led_elsewhere")
    except NotFoundError:
        is_own = False
    if is_own or not paired.issuperset(journal.leased(WorkflowId(workflow))):
        raise NotFoundError(
            f"system {peer.system_id} leads no workflow {workflow} here",
            hint="list_workflows(system) at both systems tells what became of it",
        )


def attach(system: StorageSystem) -> None:
    """Let a system answer the workflows' commands, and fence what stopped workflows had fenced."""
    calls, long = system.endpoint.calls, system.endpoint.errands
    errands = Errands(system)
    calls["errand.begin"] = errands.begin
    calls["errand.poll"] = errands.poll
    side = ProductionSide(system)
    _attach_production(system, side)
    _attach_backup(system)
    long.update(_led_here(system))

    def state_of(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        _check_is_paired(system, peer)
        try:
            return {"state": system.state.journal.get(WorkflowId(body["workflow"])).state.value}
        except NotFoundError:
            return {"state": ""}

    calls["workflow.state"] = state_of
    calls.update(generation_verbs(system))
    side.refence()


def _attach_production(system: StorageSystem, side: ProductionSide) -> None:
    """Let the system that leads a restore do what has to be done here."""

    def check(peer: Peer, body: dict[str, Any], *, may_be_late: bool) -> None:
        _check_own_pair(system, peer, volume=body.get("volume"), pair=body["pair"])
        if "workflow" in body:  # what a dry run asks belongs to none
            _check_own_workflow(system, peer, body["workflow"])
        if not may_be_late:
            side.check_goes_on(body["workflow"])

    def bound(
        verb: Callable[[dict[str, Any]], dict[str, Any]], *, may_be_late: bool
    ) -> CallHandler:
        def checked(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
            check(peer, body, may_be_late=may_be_late)
            return verb(body)

        return checked

    def bound_errand(errand: ErrandHandler) -> ErrandHandler:
        def checked(
            peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
        ) -> dict[str, Any]:
            check(peer, body, may_be_late=False)
            return errand(peer, body, progress, cancel)

        return checked

    for name, verb in production_verbs(side).items():
        late = name in {"restore.facts", "restore.pending", "restore.touched", "restore.end"}
        system.endpoint.calls[name] = bound(verb, may_be_late=late)
    for name, errand in production_errands(side).items():
        system.endpoint.errands[name] = bound_errand(errand)


def _attach_backup(system: StorageSystem) -> None:
    """Let the primary back up into SVOLs here."""
    calls = system.endpoint.calls
    secondary = SecondaryBackup(system)

    def prepare(
        peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        return secondary.prepare(peer.system_id, body, progress, cancel)

    def end(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        _check_own_workflow(system, peer, body["workflow"])
        return secondary.end(peer.system_id, body)

    system.endpoint.errands["backup.prepare"] = prepare
    calls["backup.split"] = lambda peer, body: secondary.split(peer.system_id, body)
    calls["backup.confirm"] = lambda peer, body: secondary.confirm(peer.system_id, body)
    calls["backup.end"] = end


def _led_here(system: StorageSystem) -> dict[str, ErrandHandler]:
    """Return the workflows that this system leads when another one asks for them."""

    def run_backup(
        peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        request = BackupRequest.from_json(body["request"])
        for volume in request.volumes:
            _check_own_pair(system, peer, volume=volume)
        made, run = begin_backup(system, request, progress=progress, cancel=cancel)
        return backup_body(lead_backup(made, run))

    def asked_restore(peer: Peer, body: dict[str, Any]) -> Restore:
        made = Restore(system, RestoreRequest.from_json(body["request"]))
        if made.subject.member.origin_system != peer.system_id:
            raise NotFoundError(
                f"system {peer.system_id} has no volume in generation {made.request.generation}",
                hint="choose a generation of a volume of that system",
            )
        return made

    def run_restore(
        peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        made = asked_restore(peer, body)
        made.subject.check()
        run = begin_restore(system, made, progress=progress, cancel=cancel)
        return asdict(lead_restore(made, run))

    def estimate(
        peer: Peer, body: dict[str, Any], _progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        return asked_restore(peer, body).subject.estimate(cancel).to_json()

    return {
        "backup.run": run_backup,
        "restore.run": run_restore,
        "restore.estimate": estimate,
    }
