"""What must be so between the records of a system's tables: rows, generations, leases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from pyrep.engine.checkup.finding import Finding, Remedy, failed, warning
from pyrep.engine.checkup.stored import Stored
from pyrep.model import (
    Generation,
    GenerationState,
    PairStatus,
    Row,
    VolumeId,
    WorkflowId,
    WorkflowState,
)

__all__ = ["check_records"]

_HELD = {GenerationState.TAKING, GenerationState.UNCONFIRMED, GenerationState.COMPLETE}
_SHARED = ("status", "cause", "direction", "chunk_bytes", "target_consistent")
_WORKFLOW_PIN = "workflow-"


def check_records(stored: Stored) -> Iterator[Finding]:
    """Yield what contradicts itself; nothing if nothing does."""
    yield from _rows(stored)
    yield from _targets(stored)
    yield from _marks(stored)
    yield from _generations(stored)
    yield from _leases(stored)
    for volume_id in stored.policies:
        if stored.volume(volume_id) is None:
            yield warning(
                f"policy of volume {volume_id}",
                "there is no such volume",
                Remedy.DROP_POLICY,
                volume_id,
            )


def name_of(row: Row) -> str:
    """Return a row as messages name it."""
    return f"pair {row.pair_id} at volume {row.volume_id}"


def _rows(stored: Stored) -> Iterator[Finding]:
    here = stored.system.system_id
    by_key = {(row.pair_id, row.volume_id): row for row in stored.rows}
    for row in stored.rows:
        drop = (Remedy.DROP_ROW, row.pair_id, row.volume_id)
        if stored.volume(row.volume_id) is None:
            yield failed(name_of(row), "there is no such volume", *drop)
        elif row.is_remote and row.pair_system_id == here:
            yield failed(name_of(row), "a remote pair with this system itself", *drop)
        elif not row.is_remote:
            yield from _local_row(stored, row, by_key.get((row.pair_id, row.mirror_volume_id)))


def _local_row(stored: Stored, row: Row, other: Row | None) -> Iterator[Finding]:
    """Look at a row of a local pair beside the other one, which is in the same table."""
    if row.pair_system_id != stored.system.system_id:
        what = f"a local pair with system {row.pair_system_id}"
        yield failed(name_of(row), what, Remedy.DROP_ROW, row.pair_id, row.volume_id)
    elif other is None or other.is_primary == row.is_primary:
        what = f"volume {row.mirror_volume_id} has no row of the other side"
        yield failed(name_of(row), what, Remedy.DROP_ROW, row.pair_id, row.volume_id)
    elif row.is_primary:
        differing = [one for one in _SHARED if getattr(row, one) != getattr(other, one)]
        if differing:
            yield failed(
                f"pair {row.pair_id}",
                f"its two rows disagree about {', '.join(differing)}",
                Remedy.SPLIT_PAIR,
                row.pair_id,
            )


def _targets(stored: Stored) -> Iterator[Finding]:
    """A volume is the SVOL of one pair at most."""
    count = Counter(row.volume_id for row in stored.rows if not row.is_primary)
    for row in stored.rows:
        if not row.is_primary and count[row.volume_id] > 1:
            yield failed(
                name_of(row),
                f"{row.volume_id} is the SVOL of {count[row.volume_id]} pairs",
                hint="dissolve those that you didn't make",
            )


def _marks(stored: Stored) -> Iterator[Finding]:
    known = {row.volume_id for row in stored.rows if row.is_primary and not row.is_remote}
    for epoch in stored.epochs:
        if epoch.volume_id not in known:
            yield warning(
                f"marks {epoch.sequence} of volume {epoch.volume_id}",
                "no local pair of it needs them; the next close forgets them",
            )
    sequences = {(epoch.volume_id, epoch.sequence) for epoch in stored.epochs}
    for row in stored.rows:
        if row.epoch_start and (row.volume_id, row.epoch_start) not in sequences:
            what = f"the record of its marks {row.epoch_start} is lost"
            yield failed(name_of(row), what, Remedy.SPLIT_PAIR, row.pair_id)


def _generations(stored: Stored) -> Iterator[Finding]:
    mine = [one for one in stored.generations if one.home == stored.system.system_id]
    holders = Counter(member.svol for one in mine if one.state in _HELD for member in one.members)
    for one in mine:
        fail = (Remedy.FAIL_GENERATION, one.generation_id)
        if one.state in _HELD:
            for why in _contradictions(stored, one):
                yield failed(f"generation {one.generation_id}", why, *fail)
            twice = [member.svol for member in one.members if holders[member.svol] > 1]
            if twice:
                what = f"volume {twice[0]} is said to hold another generation, too"
                yield failed(f"generation {one.generation_id}", what, *fail)
        yield from _pins(stored, one)


def _contradictions(stored: Stored, generation: Generation) -> Iterator[str]:
    for member in generation.members:
        if stored.volume(member.svol) is None:
            yield f"there is no volume {member.svol}"
            continue
        rows = [row for row in stored.rows_of(member.svol) if not row.is_primary]
        if not rows:
            continue  # its pair was dissolved: the SVOL stands alone, and still holds it
        is_target = rows[0].status is not PairStatus.SPLIT and not rows[0].is_source
        if generation.is_complete and is_target:
            yield f"pair {rows[0].pair_id} of volume {member.svol} is {rows[0].status}, not SPLIT"


def _pins(stored: Stored, generation: Generation) -> Iterator[Finding]:
    """A workflow pins a generation where it leads: one that isn't in the journal has been lost."""
    workflows = {one.workflow_id: one for one in stored.workflows}
    for pin in generation.pins:
        workflow_id = pin.removeprefix(_WORKFLOW_PIN)
        if workflow_id == pin:
            continue
        workflow = workflows.get(WorkflowId(workflow_id))
        if workflow is None or workflow.state.has_ended:
            why = "of which nothing is known" if workflow is None else "which has ended"
            yield warning(
                f"generation {generation.generation_id}",
                f"it is in use by {pin}, {why}",
                Remedy.DROP_PIN,
                generation.generation_id,
                pin,
            )


def _leases(stored: Stored) -> Iterator[Finding]:
    for root, workflow_id in stored.leases.items():
        yield from _lease(stored, root, workflow_id)
    for one in stored.workflows:
        is_elsewhere = bool(one.request.get("led_elsewhere"))
        if is_elsewhere and not one.state.has_ended:
            fenced = one.progress.get("fenced")
            fence = f", volume {fenced} is fenced for it" if fenced else ""
            yield warning(
                f"workflow {one.workflow_id}",
                f"another system leads it{fence}",
                hint=f"resume or abandon it there; {_if_lost(one.workflow_id)}",
            )
        elif one.state is WorkflowState.STOPPED:
            yield warning(
                f"workflow {one.workflow_id}",
                f"it stopped at step {one.step}: {one.error}",
                hint=f"pyrep workflow resume {one.workflow_id}, or abandon",
            )


def _if_lost(workflow_id: str) -> str:
    return (
        f"if that system is gone, or no longer knows it: serve this one, and "
        f"pyrep workflow abandon {workflow_id} --without-peer"
    )


def _lease(stored: Stored, root: VolumeId, workflow_id: WorkflowId) -> Iterator[Finding]:
    """Look at a lease; of one of another system's backup there is no record here."""
    name = f"lease of volume {root}"
    workflow = next((one for one in stored.workflows if one.workflow_id == workflow_id), None)
    if stored.volume(root) is None:
        yield warning(name, "there is no such volume", Remedy.FREE_LEASE, root)
    elif workflow is not None and workflow.state.has_ended:
        what = f"workflow {workflow_id} has it and is {workflow.state}"
        yield warning(name, what, Remedy.FREE_LEASE, root)
    elif workflow is None:
        primaries = [
            row.pair_system_id
            for row in stored.rows_of(root)
            if row.is_remote and not row.is_primary
        ]
        pins = {pin for one in stored.generations for pin in one.pins}
        if primaries and f"{_WORKFLOW_PIN}{workflow_id}" not in pins:
            yield warning(
                name,
                f"workflow {workflow_id} has it, which system {primaries[0]} leads",
                hint=f"resume or abandon it there; {_if_lost(workflow_id)}",
            )
        else:
            what = f"workflow {workflow_id} has it, of which nothing is known"
            yield warning(name, what, Remedy.FREE_LEASE, root)
