"""A backup that fails at any step takes nothing half, and can be ended both ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pyrep import BackupSides, PairStatus, SplitCause, abandon, backup, list_workflows, resume
from pyrep.errors import DeviceError, PathLostError, WorkflowError
from pyrep.model import GenerationState, WorkflowState
from pyrep.testing import VolatileStorage, check_covered, wait_until
from pyrep.workflows import attach
from unit.workflows.sites import BoomError, Sites, at_step, boom
from unit.workflows.test_interrupted_restore import Spot, fail_call

Build = Callable[..., Sites]

SPOTS = [
    Spot("420 begins", 420),
    Spot("410 begins", 410),
    Spot("430 begins", 430),
    Spot("split", 430, fail_call("b", "backup.split")),
    Spot("behind split", 430, fail_call("b", "backup.split", behind=True)),
    Spot("470 begins", 470),
    Spot("confirm", 470, fail_call("b", "backup.confirm")),
    Spot("behind confirm", 470, fail_call("b", "backup.confirm", behind=True)),
    Spot("end", 470, fail_call("b", "backup.end")),
]
CONFIRMED = {"behind confirm", "end"}


@pytest.mark.parametrize(
    ("reopens", "undo", "sides"),
    [
        pytest.param(False, False, BackupSides.SECONDARY, id="resume"),
        pytest.param(True, False, BackupSides.BOTH, id="reopen, resume, both sides"),
        pytest.param(True, True, BackupSides.SECONDARY, id="reopen, abandon"),
        pytest.param(False, True, BackupSides.BOTH, id="abandon, both sides"),
    ],
)
@pytest.mark.parametrize("spot", SPOTS, ids=lambda spot: spot.name)
def test_a_backup_stops_and_is_ended(
    build: Build, spot: Spot, reopens: bool, undo: bool, sides: BackupSides
) -> None:
    raw = build(own=1)
    raw.pvol.pwrite(b"point 1", 0)
    if spot.install:
        spot.install(raw)
    with pytest.raises(WorkflowError) as caught:
        backup(raw.a, ["105a"], label="wanted", sides=sides, progress=spot.progress())
    workflow = raw.workflow(raw.a)
    assert caught.value.step == workflow.step == spot.step
    assert workflow.state is WorkflowState.STOPPED
    assert f"resume(system, {workflow.workflow_id!r})" in str(caught.value.hint)

    raw.pvol.pwrite(b"point 2", 0)  # hosts go on all the while
    raw.quiet()
    _check_nothing_half(raw, spot)
    if reopens:
        raw.reopen()
        assert raw.workflow(raw.a).state is WorkflowState.STOPPED
        _check_nothing_half(raw, spot)
    else:
        _heal(raw)

    if undo:
        abandon(raw.a, workflow.workflow_id)
        _check_nothing_half(raw, spot)
    else:
        report = resume(raw.a, workflow.workflow_id)
        point = b"point 1" if spot.step == 470 else b"point 2"
        for generation in report.generations:  # type: ignore[union-attr]
            system = raw.a if generation.home == "100a" else raw.b
            assert system.generation(generation.generation_id).is_complete
            source = generation.members[0].source
            with system.generations.view(generation.generation_id, source) as view:
                assert view.pread(7, 0) == point
    raw.check_at_rest()
    assert raw.remote().status().status is PairStatus.DUPLEX

    again = backup(raw.a, ["105a"], label="again", sides=sides, reuse_last=True)
    assert raw.held(again.generation)[:7] == b"point 2"
    raw.check_at_rest()


def _heal(sites: Sites) -> None:
    attach(sites.a)
    attach(sites.b)


def _check_nothing_half(sites: Sites, spot: Spot) -> None:
    """No attempt shows as complete before the primary's word; a cut mirror shows as SPLIT."""
    complete = [
        one.generation_id
        for system in (sites.a, sites.b)
        for one in system.list_generations()
        if one.label == "wanted" and one.is_complete
    ]
    assert not complete or spot.name in CONFIRMED
    check_covered(sites.a, sites.b)
    for pair in (sites.local("106a"), sites.local("106b"), sites.local("107b")):
        if pair.status().status is PairStatus.DUPLEX:
            assert sites.content(pair.row.mirror_volume_id)[:7] == b"point 2"


def test_an_exception_at_400_comes_as_it_is_and_nothing_is_left(build: Build) -> None:
    raw = build()
    with pytest.raises(BoomError):
        backup(raw.a, ["105a"], progress=at_step(400, boom))
    fail_call("b", "backup.prepare")(raw)
    with pytest.raises(DeviceError, match=r"backup\.prepare failed"):
        backup(raw.a, ["105a"])
    states = {one.state for one in list_workflows(raw.a)}
    assert states == {WorkflowState.ABANDONED}
    raw.check_at_rest()


def test_what_a_pair_has_become_since_a_stop_isnt_told_as_the_backups_doing(build: Build) -> None:
    raw = build()
    with pytest.raises(WorkflowError):
        backup(raw.a, ["105a"], label="wanted", progress=at_step(470, boom))
    workflow = raw.workflow(raw.a).workflow_id
    raw.remote().split(lease=workflow)  # as a crash might
    resume(raw.a, workflow)
    made = raw.generation("wanted")
    assert made.is_complete
    assert [status for _, status in made.remote_after] == [PairStatus.DUPLEX]


def test_a_prepared_attempt_that_is_given_up_has_failed(build: Build) -> None:
    raw = build()
    fail_call("b", "backup.prepare", behind=True)(raw)
    with pytest.raises(DeviceError):
        backup(raw.a, ["105a"], label="wanted")
    assert raw.generation("wanted").state is GenerationState.FAILED
    raw.check_at_rest()


@pytest.mark.parametrize("step", [420, 470])
def test_a_path_cut_at_any_step_stops_it_and_resume_ends_it(build: Build, step: int) -> None:
    raw = build()
    raw.pvol.pwrite(b"point 1", 0)
    with pytest.raises(WorkflowError):
        backup(raw.a, ["105a"], label="wanted", progress=at_step(step, raw.path.cut))
    raw.pvol.pwrite(b"point 2", 0)  # hosts go on without the path
    workflow = raw.workflow(raw.a).workflow_id
    with pytest.raises(PathLostError):
        abandon(raw.a, workflow)  # the secondary has volumes leased for it
    with pytest.raises(WorkflowError):
        resume(raw.a, workflow)
    assert raw.workflow(raw.a).state is WorkflowState.STOPPED
    raw.path.connect()
    raw.quiet()
    report = resume(raw.a, workflow)
    point = b"point 1" if step == 470 else b"point 2"
    assert raw.held(report.generations[0])[:7] == point  # type: ignore[union-attr]
    raw.check_at_rest()


def test_a_path_cut_amid_the_hold_lets_hosts_go_on(build: Build) -> None:
    raw = build()
    calls = raw.b.endpoint.calls
    real = calls["backup.split"]

    def cut(peer: Any, body: dict[str, Any]) -> dict[str, Any]:
        raw.path.cut()
        return real(peer, body)

    calls["backup.split"] = cut
    with pytest.raises(WorkflowError):
        backup(raw.a, ["105a"], label="wanted")
    raw.pvol.pwrite(b"goes on", 0)
    assert not any(one.is_complete for one in raw.b.list_generations())
    calls["backup.split"] = real
    raw.path.connect()
    # Where the split that was asked for hasn't ended there, the pair resumes a second later.
    wait_until(lambda: raw.remote().status().status is PairStatus.DUPLEX)
    resume(raw.a, raw.workflow(raw.a).workflow_id)
    assert raw.held(raw.generation("wanted"))[:7] == b"goes on"
    raw.check_at_rest()


def test_a_secondary_that_lost_an_attempt_behind_450_is_asked_for_another(build: Build) -> None:
    """Its flush failed: confirming is refused, and resuming takes another SVOL."""
    raw = build()

    def fail() -> None:
        generation = raw.generation("wanted")
        raw.quiet()
        raw.b.generations.change(generation.generation_id, state=GenerationState.FAILED)

    with pytest.raises(WorkflowError, match="not split"):
        backup(raw.a, ["105a"], label="wanted", progress=at_step(470, fail))
    resume(raw.a, raw.workflow(raw.a).workflow_id)
    assert [one.state for one in raw.b.list_generations()] == [
        GenerationState.FAILED,
        GenerationState.COMPLETE,
    ]
    raw.check_at_rest()


def test_an_attempt_that_is_taken_up_leaves_no_second_claim_on_its_svol(build: Build) -> None:
    """Two rows that both hold 106a: the wrong one would be given up, one day."""
    raw = build(own=1)
    with pytest.raises(WorkflowError):
        backup(raw.a, ["105a"], sides=BackupSides.PRIMARY, progress=at_step(420, boom))
    resume(raw.a, raw.workflow(raw.a).workflow_id)
    assert [one.state for one in raw.a.list_generations()] == [
        GenerationState.FAILED,
        GenerationState.COMPLETE,
    ]
    raw.check_at_rest()


def test_an_svol_that_cant_be_flushed_is_split_with_a_device_error_and_no_backup(
    directory: Any,
) -> None:
    storage = VolatileStorage()

    class Failing(Sites):
        def options_b(self) -> Any:
            return replace(super().options_b(), storage=storage)

    base = directory / "failing"
    base.mkdir()
    raw = Failing(base)
    try:
        taken = storage.doubles["106b"]  # type: ignore[index]
        with pytest.raises(WorkflowError):
            backup(
                raw.a,
                ["105a"],
                label="wanted",
                progress=at_step(420, lambda: taken.fail_after(0, 5)),
            )
        raw.quiet()
        taken.fail_after(0, 0)
        assert raw.generation("wanted").state is not GenerationState.COMPLETE
        local = raw.local("106b").status()
        assert (local.status, local.cause) in {
            (PairStatus.SPLIT, SplitCause.DEVICE_ERROR),
            (PairStatus.DUPLEX, None),  # the failure was on the record's way, before the cut
        }
        resume(raw.a, raw.workflow(raw.a).workflow_id)
        assert raw.generation("wanted").is_complete
        raw.check_at_rest()
    finally:
        raw.close()
