"""A workflow whose other system is gone for good is ended at each side alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pyrep import (
    Direction,
    Force,
    PairStatus,
    StorageSystem,
    abandon,
    backup,
    list_workflows,
    restore,
    resume,
)
from pyrep.engine import Severity, check_system, repair_system
from pyrep.engine.checkup.finding import Finding, Remedy
from pyrep.errors import (
    BusyError,
    FencedError,
    NotFoundError,
    PathLostError,
    RefusedError,
    WorkflowError,
)
from pyrep.meta import Database
from pyrep.model import VolumeId, WorkflowState
from unit.workflows.conftest import Build
from unit.workflows.sites import WAIT_S, Sites, at_step, boom


def _stopped_restore(sites: Sites, step: int) -> str:
    """Lose the path when a step begins; return the workflow's id."""
    sites.pvol.pwrite(b"then", 0)
    generation = sites.take().generation_id
    sites.pvol.pwrite(b"now!", 0)
    lose = at_step(step, sites.path.cut)
    with pytest.raises((WorkflowError, PathLostError)):
        restore(sites.b, generation, "105a", whole=True, progress=lose)
    return list_workflows(sites.b)[-1].workflow_id


def _failed_restore(sites: Sites) -> tuple[str, str]:
    """Let a restore fail at 640; return the generation's id and the workflow's."""
    generation = sites.take().generation_id
    sites.pvol.pwrite(b"now!", 0)
    with pytest.raises(WorkflowError):
        restore(sites.b, generation, "105a", whole=True, progress=at_step(640, boom))
    return generation, list_workflows(sites.b)[-1].workflow_id


def _failed_backup(sites: Sites, by: Callable[[], None] = boom) -> str:
    """Let a backup fail at 420; return the workflow's id."""
    with pytest.raises((WorkflowError, PathLostError)):
        backup(sites.a, ["105a"], progress=at_step(420, by))
    return list_workflows(sites.a)[-1].workflow_id


def _is_free(sites: Sites) -> bool:
    journals = (sites.a.state.journal, sites.b.state.journal)
    return all(
        journal.holder(VolumeId(name)) is None for journal in journals for name in ("105a", "105b")
    )


@pytest.mark.parametrize("step", [640, 660])
def test_before_670_the_primary_goes_on_by_itself_and_the_secondary_follows_when_it_is_back(
    build: Build, step: int
) -> None:
    raw = build()
    workflow = _stopped_restore(raw, step)
    with pytest.raises(FencedError):
        raw.pvol.pwrite(b"host", 0)
    abandon(raw.a, workflow, without_peer=True)
    assert raw.agent.asked[-3:] == ["mount", "recover", "start"]
    assert raw.pvol.pread(4, 0) == b"now!"
    raw.pvol.pwrite(b"host", 0)
    raw.path.connect()
    raw.quiet()
    with pytest.raises(WorkflowError, match="ended at system 100a"):
        resume(raw.b, workflow)
    assert raw.pvol.pread(4, 0) == b"host"
    abandon(raw.b, workflow, without_peer=True)
    assert _is_free(raw)
    job = raw.remote().resync(discard="100b")
    assert job is not None
    job.wait(WAIT_S)
    assert raw.content("105a") == raw.content("105b")


def test_from_670_on_the_primary_stays_fenced_until_it_is_chosen_what_becomes_of_it(
    build: Build,
) -> None:
    raw = build()
    raw.pvol.pwrite(b"then", 0)
    generation = raw.take().generation_id
    raw.pvol.pwrite(b"now!" * 100_000, 0)
    ask = raw.a.state.peer(raw.b.system_id).ask

    def lost(message: object) -> object:
        answer = ask(message)  # type: ignore[arg-type]
        if type(message).__name__ == "ReverseRun":
            raw.path.cut()
        return answer

    raw.a.state.peer(raw.b.system_id).ask = lost  # type: ignore[method-assign, assignment]
    with pytest.raises((WorkflowError, PathLostError)):
        restore(raw.b, generation, "105a", whole=True, progress=at_step(660, raw.path.stall))
    workflow = list_workflows(raw.b)[-1].workflow_id
    assert raw.remote().row.direction is Direction.REVERSE
    abandon(raw.a, workflow, without_peer=True)
    assert "start" not in raw.agent.asked
    assert raw.remote().row.status is PairStatus.SPLIT
    with pytest.raises(FencedError):
        raw.pvol.pwrite(b"host", 0)
    with pytest.raises(RefusedError, match="inconsistent"):
        raw.remote().dissolve(without_peer=True)
    raw.remote().dissolve(without_peer=True, force=Force.INCONSISTENT_LEFT)
    raw.pvol.pwrite(b"host", 0)


def test_a_system_whose_peer_can_be_asked_is_told_to_ask_it(build: Build) -> None:
    raw = build()
    workflow = _stopped_restore(raw, 640)
    raw.path.connect()
    raw.quiet()
    for system in (raw.a, raw.b):
        with pytest.raises(RefusedError, match="path to it is up") as caught:
            abandon(system, workflow, without_peer=True)
        assert caught.value.hint
    resume(raw.b, workflow)
    assert _is_free(raw)


def test_a_stopped_backup_is_abandoned_without_the_path_and_the_secondary_learns_of_it(
    build: Build,
) -> None:
    raw = build()
    workflow = _failed_backup(raw, by=raw.path.cut)
    assert list_workflows(raw.a)[-1].state is WorkflowState.STOPPED
    with pytest.raises(PathLostError):
        abandon(raw.a, workflow)
    abandon(raw.a, workflow, without_peer=True)
    assert raw.a.state.journal.holder(raw.pvol.volume_id) is None
    assert raw.b.state.journal.holder(raw.spvol.volume_id) == workflow
    raw.path.connect()
    raw.quiet()
    raw.remote().wait(timeout_s=WAIT_S)
    backup(raw.a, ["105a"])
    assert _is_free(raw)


def test_a_backup_whose_primary_is_gone_is_ended_at_the_secondary(build: Build) -> None:
    raw = build()
    workflow = _failed_backup(raw, by=raw.path.cut)
    with pytest.raises(NotFoundError):
        abandon(raw.b, "w-unknown", without_peer=True)
    abandon(raw.b, workflow, without_peer=True)
    assert raw.b.state.journal.holder(raw.spvol.volume_id) is None


def _lose_journal(system: StorageSystem, workflow: str) -> None:
    """Make a system that was repaired without the workflow's record and leases."""
    system.state.db.write("DELETE FROM workflow WHERE workflow_id = ?", (workflow,))
    system.state.db.write("DELETE FROM lease WHERE workflow_id = ?", (workflow,))


def test_a_backup_that_its_primary_has_lost_is_ended_at_the_secondary_though_the_path_is_up(
    build: Build,
) -> None:
    raw = build()
    workflow = _failed_backup(raw)
    with pytest.raises(RefusedError, match="path to it is up"):
        abandon(raw.b, workflow, without_peer=True)
    _lose_journal(raw.a, workflow)
    abandon(raw.b, workflow, without_peer=True)
    assert _is_free(raw)
    backup(raw.a, ["105a"])
    raw.check_at_rest()


def test_a_restore_that_its_leader_has_lost_is_ended_at_the_primary_though_the_path_is_up(
    build: Build,
) -> None:
    raw = build()
    _, workflow = _failed_restore(raw)
    with pytest.raises(RefusedError, match="path to it is up"):
        abandon(raw.a, workflow, without_peer=True)
    assert raw.is_fenced()
    _lose_journal(raw.b, workflow)
    abandon(raw.a, workflow, without_peer=True)
    assert raw.agent.asked == ["stop", "unmount", "mount", "recover", "start"]
    assert not raw.is_fenced()
    assert _is_free(raw)


def _wrong(sites: Sites, side: str) -> dict[str, Finding]:
    return {one.thing: one for one in check_system(sites.base / side).wrong}


def _lose_record(sites: Sites, side: str, workflow: str) -> None:
    """Lose a workflow's record, as damaged tables may, and keep what it holds."""
    with Database.open(sites.base / side / "pyrep.db") as db:
        db.write("DELETE FROM workflow WHERE workflow_id = ?", (workflow,))


def test_what_a_restore_that_its_leader_has_lost_still_holds_is_named_with_what_frees_it(
    build: Build,
) -> None:
    raw = build()
    generation, workflow = _failed_restore(raw)
    raw.close()
    _lose_record(raw, "b", workflow)
    here = _wrong(raw, "b")
    assert here[f"generation {generation}"].remedy is Remedy.DROP_PIN
    assert here["lease of volume 105b"].remedy is Remedy.FREE_LEASE
    there = _wrong(raw, "a")[f"workflow {workflow}"]
    assert "another system leads it, volume 105a is fenced for it" in there.what
    assert f"pyrep workflow abandon {workflow} --without-peer" in there.hint
    assert repair_system(raw.base / "b").after.severity is Severity.OK
    raw.reopen()
    assert raw.is_fenced()
    abandon(raw.a, workflow, without_peer=True)
    raw.check_at_rest()
    raw.remote().resync(discard="100b")
    raw.quiet()
    backup(raw.a, ["105a"])


def test_what_a_backup_that_its_primary_has_lost_still_holds_is_named_with_what_frees_it(
    build: Build,
) -> None:
    raw = build()
    workflow = _failed_backup(raw)
    raw.close()
    _lose_record(raw, "a", workflow)
    assert _wrong(raw, "a")["lease of volume 105a"].remedy is Remedy.FREE_LEASE
    there = _wrong(raw, "b")["lease of volume 105b"]
    assert f"workflow {workflow} has it, which system 100a leads" in there.what
    assert f"pyrep workflow abandon {workflow} --without-peer" in there.hint
    assert there.remedy is Remedy.NONE  # it may go on there
    assert repair_system(raw.base / "a").after.severity is Severity.OK
    raw.reopen()
    abandon(raw.b, workflow, without_peer=True)
    raw.check_at_rest()
    backup(raw.a, ["105a"])


def test_of_two_who_abandon_a_workflow_here_alone_one_does(build: Build) -> None:
    raw = build()
    workflow = _stopped_restore(raw, 640)
    second: list[str] = []

    def again() -> None:
        with pytest.raises(BusyError, match="is being abandoned already"):
            abandon(raw.a, workflow, without_peer=True)
        second.append("refused")

    raw.agent.then["mount"] = again
    abandon(raw.a, workflow, without_peer=True)
    assert second == ["refused"]
    assert raw.agent.asked[-3:] == ["mount", "recover", "start"]
    assert raw.workflow(raw.a).state is WorkflowState.ABANDONED
