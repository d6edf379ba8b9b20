"""A restore that fails at any step is stopped there, over a reopen too; both ways end it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pyrep import (
    BackupSides,
    Cancel,
    PairStatus,
    Progress,
    ProgressCallback,
    StorageSystem,
    abandon,
    backup,
    list_workflows,
    restore,
    resume,
)
from pyrep.engine import CopyJob, connect
from pyrep.errors import DeviceError, PyrepError, RefusedError, WorkflowError
from pyrep.model import WorkflowState
from pyrep.testing import wait_until
from unit.workflows.sites import MIB, BoomError, Sites, at_step, boom

Build = Callable[..., Sites]
Install = Callable[[Sites], None]


def fail_call(system: str, verb: str, *, behind: bool = False) -> Install:
    """Let a command between the systems fail, before or behind its effect."""

    def install(sites: Sites) -> None:
        endpoint = (sites.a if system == "a" else sites.b).endpoint
        is_long = verb in endpoint.errands
        calls: dict[str, Any] = endpoint.errands if is_long else endpoint.calls
        real = calls[verb]

        def failing(*asked: Any) -> dict[str, Any]:
            if behind:
                real(*asked)
            raise DeviceError(f"{verb} failed")

        calls[verb] = failing

    return install


def fail_agent(what: str) -> Install:
    def install(sites: Sites) -> None:
        sites.agent.fails = what

    return install


@dataclass(frozen=True, slots=True)
class Spot:
    """One place at which something fails.

    Attributes:
        step: at which it is stopped.
        install: what makes it fail, or None: the progress callback does, when the step begins.
        fenced: whether 105a is fenced then.
    """

    name: str
    step: int
    install: Install | None = None
    fenced: bool = True

    def progress(self) -> ProgressCallback | None:
        return at_step(self.step, boom) if self.install is None else None


def _spots(first: int, split: int, copy: list[int]) -> list[Spot]:
    """Return those that both figures have."""
    back = copy[-1]
    return [
        Spot(f"{first} begins", first, fenced=False),
        Spot("stop", first, fail_agent("stop"), fenced=False),
        Spot("unmount", first, fail_agent("unmount"), fenced=False),
        Spot("drain", first, fail_call("a", "restore.drain")),
        Spot(f"{split} begins", split),
        Spot("split", split, fail_call("a", "restore.split")),
        Spot("behind split", split, fail_call("a", "restore.split", behind=True)),
        *(Spot(f"{one} begins", one) for one in copy),
        Spot("reverse", back, fail_call("a", "restore.reverse")),
        Spot("behind reverse", back, fail_call("a", "restore.reverse", behind=True)),
        Spot("560 begins", 560),
        Spot("mount", 560, fail_agent("mount"), fenced=False),
        Spot("start", 560, fail_agent("start"), fenced=False),
        Spot("end", 560, fail_call("a", "restore.end"), fenced=False),
    ]


FILES = _spots(510, 520, [530, 540, 550])
VOLUME = _spots(620, 630, [610, 640, 650, 660, 670])
UP = ["stop", "unmount", "mount", "recover", "start"]
UNDOABLE = {510, 520, 530, 540, 620, 630, 610}

FILE_PATHS = ["/docs/file3", "/docs/deep", "/big"]


def _prepare_files(sites: Sites) -> str:
    generation = sites.take("wanted")
    with sites.edit() as files:
        files.write_difference(b"/docs/file3", b"changed")
        files.remove_tree(b"/docs/deep")
        files.write_difference(b"/big", os.urandom(300_000))
    return generation.generation_id


def _missed(sites: Sites) -> set[bytes]:
    """Return what differs of the files wanted; their directory, which wasn't, has another time."""
    return {one.path for one in sites.differences(sites.generation("wanted"))} - {b"/docs"}


def _prepare_volume(sites: Sites) -> str:
    sites.pvol.pwrite(os.urandom(MIB), 0)
    generation = sites.take("wanted")
    sites.pvol.pwrite(os.urandom(MIB), MIB // 2)
    return generation.generation_id


def _stop_at(sites: Sites, spot: Spot, **asked: Any) -> str:
    """Begin a restore that stops at the spot; return the workflow's id."""
    if spot.install:
        spot.install(sites)
    with pytest.raises(WorkflowError) as caught:
        restore(sites.b, progress=spot.progress(), volume="105a", **asked)
    workflow = sites.workflow()
    assert caught.value.step == workflow.step == spot.step
    assert f"step {spot.step}" in str(caught.value)
    assert workflow.workflow_id in str(caught.value.hint)
    assert workflow.error
    return workflow.workflow_id


def _check_stopped(sites: Sites, spot: Spot) -> None:
    workflow = sites.workflow()
    assert (workflow.state, workflow.step) == (WorkflowState.STOPPED, spot.step)
    assert sites.is_fenced("105a") is spot.fenced
    assert sites.is_fenced("105b")
    assert sites.leases()
    assert sites.pins() or spot.name == "end"
    sites.agent.fails = ""


def _asked(spot: Spot) -> list[str]:
    """Return what the host has been asked when a restore is abandoned: nothing but what was due."""
    if spot.step in {510, 620} and spot.install is None:
        return []
    if spot.name == "stop":  # it may have stopped half-way
        return ["stop", "start"]
    if spot.name == "unmount":
        return ["stop", "unmount", "start"]
    return ["stop", "unmount", "mount", "recover", "start"]


def _end(sites: Sites, spot: Spot, workflow: str, *, undo: bool, before: bytes) -> bool:
    """Abandon or resume; return whether the restore came to its end."""
    if undo and spot.step in UNDOABLE:
        abandon(sites.b, workflow)
        assert sites.content("105a") == before
        assert sites.agent.asked == _asked(spot)
        assert sites.workflow().state is WorkflowState.ABANDONED
        return False
    if undo:
        with pytest.raises(RefusedError, match="is being written") as caught:
            abandon(sites.b, workflow)
        assert "resume" in str(caught.value.hint)
    report = resume(sites.b, workflow)
    assert report.workflow_id == workflow
    assert sites.workflow().state is WorkflowState.DONE
    asked = sites.agent.asked
    assert asked[-1] == "start"
    repeated = [spot.name] if spot.name in {"stop", "unmount", "mount", "start"} else []
    assert sorted(asked) == sorted([*UP, *repeated])
    return True


@pytest.mark.parametrize("undo", [False, True], ids=["resume", "abandon"])
@pytest.mark.parametrize("spot", FILES, ids=lambda spot: spot.name)
def test_a_restore_of_files_stops_and_is_ended(sites: Sites, spot: Spot, undo: bool) -> None:
    wanted = _prepare_files(sites)
    before = sites.content("105a")
    workflow = _stop_at(sites, spot, generation=wanted, paths=FILE_PATHS)
    _check_stopped(sites, spot)
    sites.reopen()
    _check_stopped(sites, spot)

    if _end(sites, spot, workflow, undo=undo, before=before):
        assert _missed(sites) == set()
    sites.check_at_rest()
    assert sites.remote().status().status is PairStatus.DUPLEX
    assert sites.content("105a") == sites.content("105b")
    sites.fsck()


@pytest.mark.parametrize("undo", [False, True], ids=["resume", "abandon"])
@pytest.mark.parametrize("spot", VOLUME, ids=lambda spot: spot.name)
def test_a_restore_of_a_volume_stops_and_is_ended(build: Build, spot: Spot, undo: bool) -> None:
    sites = build()
    wanted = _prepare_volume(sites)
    before, held = sites.content("105a"), sites.held(sites.generation("wanted"))
    workflow = _stop_at(sites, spot, generation=wanted, whole=True)
    _check_stopped(sites, spot)
    sites.reopen()
    _check_stopped(sites, spot)

    ended = _end(sites, spot, workflow, undo=undo, before=before)
    assert sites.content("105a") == (held if ended else before)
    sites.check_at_rest()
    assert sites.remote().status().status is PairStatus.DUPLEX
    assert sites.content("105a") == sites.content("105b")
    assert sites.held(sites.generation("wanted")) == held


@pytest.mark.parametrize("reopens", [False, True], ids=["path back", "reopened"])
@pytest.mark.parametrize("step", [510, 520, 530, 540, 550, 560])
def test_a_path_cut_at_any_step_of_fig_5_stops_it_and_resume_ends_it(
    sites: Sites, step: int, reopens: bool
) -> None:
    wanted = _prepare_files(sites)
    with pytest.raises(WorkflowError):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(step, sites.path.cut))
    stopped_at = sites.workflow().step
    assert stopped_at >= step
    if reopens:
        sites.reopen()
    else:
        sites.path.connect()
        sites.quiet()
    assert sites.is_fenced("105a") is (stopped_at > 510)
    resume(sites.b, sites.workflow().workflow_id)
    assert _missed(sites) == set()
    assert sites.content("105a") == sites.content("105b")
    sites.check_at_rest()


@pytest.mark.parametrize("step", [620, 630, 610, 640, 650, 660, 670, 560])
def test_a_path_cut_at_any_step_of_fig_6_stops_it_and_resume_ends_it(
    build: Build, step: int
) -> None:
    sites = build()
    wanted = _prepare_volume(sites)
    with pytest.raises(WorkflowError):
        restore(sites.b, wanted, "105a", whole=True, progress=at_step(step, sites.path.cut))
    sites.path.connect()
    sites.quiet()
    resume(sites.b, sites.workflow().workflow_id)
    held = sites.held(sites.generation("wanted"))
    assert sites.content("105a") == sites.content("105b") == held
    sites.check_at_rest()


def test_a_crash_of_105as_system_behind_520_leaves_a_restore_of_files_to_be_resumed(
    sites: Sites,
) -> None:
    """What was hot is pending in a pair that the workflow itself has split."""
    wanted = _prepare_files(sites)
    spot = next(one for one in FILES if one.name == "behind split")
    workflow = _stop_at(sites, spot, generation=wanted, paths=FILE_PATHS)
    sites.a.abort()
    sites.a = StorageSystem.open(sites.base / "a", options=sites.options_a())
    sites.reconnect()
    assert sites.remote().status().status is PairStatus.SPLIT
    assert sites.remote().status().pending_count
    assert resume(sites.b, workflow).workflow_id == workflow
    assert _missed(sites) == set()
    assert sites.remote().status().status is PairStatus.DUPLEX
    assert sites.content("105a") == sites.content("105b")
    sites.check_at_rest()


def test_a_restore_that_stopped_at_650_waits_for_a_mirror_that_is_copied_again_after_a_crash(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """650 is refused while a sibling is copied: resuming begins with 640, which waits for it."""
    sites = build()
    wanted = _prepare_volume(sites)
    spot = next(one for one in VOLUME if one.name == "650 begins")
    workflow = _stop_at(sites, spot, generation=wanted, whole=True)
    sites.b.abort()
    held: list[CopyJob] = []

    def hold(job: CopyJob) -> None:
        held.append(job)

    monkeypatch.setattr(CopyJob, "start", hold)
    sites.b = StorageSystem.open(sites.base / "b", options=sites.options_b())
    wait_until(lambda: bool(held))
    assert sites.local("107b").row.status is PairStatus.COPY
    monkeypatch.undo()
    wait = CopyJob.wait

    def start_and_wait(job: CopyJob, *args: Any, **options: Any) -> None:
        if job in held:
            held.remove(job)
            job.start()
        wait(job, *args, **options)

    monkeypatch.setattr(CopyJob, "wait", start_and_wait)
    sites.path = connect(sites.a, sites.b)
    assert held
    resume(sites.b, workflow)
    assert not held
    assert sites.remote().status().status is PairStatus.DUPLEX
    assert sites.content("105a") == sites.content("105b")
    sites.check_at_rest()


def test_a_connection_that_was_given_up_doesnt_close_the_next_one(sites: Sites) -> None:
    """A sender's thread may find out late that its connection is gone."""
    older = sites.a.state.peer(sites.b.system_id).connection()
    sites.path.cut()
    sites.path.connect()
    older.close()
    assert sites.path.is_up
    sites.quiet()
    assert sites.remote().status().status is PairStatus.DUPLEX


def test_a_failure_amid_530_leaves_105a_whole_and_a_second_try_goes_on(sites: Sites) -> None:
    wanted = _prepare_files(sites)
    before = sites.content("105a")

    def progress(now: Progress) -> None:
        if now.step == 530 and now.done_bytes > 0:
            raise BoomError

    for _ in range(2):
        with pytest.raises(WorkflowError):
            restore(sites.b, wanted, "105a", FILE_PATHS, progress=progress)
        assert sites.content("105b") != before
        assert sites.content("105a") == before
        abandon(sites.b, sites.workflow().workflow_id)
        assert sites.content("105b") == before
    with pytest.raises(WorkflowError):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=progress)
    resume(sites.b, sites.workflow().workflow_id)
    assert _missed(sites) == set()
    sites.fsck()
    sites.check_at_rest()


@pytest.mark.parametrize("step", [510, 530, 550])
def test_cancel_stops_between_steps(sites: Sites, step: int) -> None:
    wanted = _prepare_files(sites)
    cancel = Cancel()
    with pytest.raises(WorkflowError, match="cancelled"):
        restore(
            sites.b,
            wanted,
            "105a",
            FILE_PATHS,
            cancel=cancel,
            progress=at_step(step, cancel.cancel),
        )
    assert sites.workflow().step == step
    resume(sites.b, sites.workflow().workflow_id)
    assert _missed(sites) == set()
    sites.check_at_rest()


def test_cancel_amid_650_stops_the_copy_and_resume_ends_it(build: Build) -> None:
    sites = build()
    wanted = _prepare_volume(sites)
    cancel = Cancel()

    def progress(now: Progress) -> None:
        if now.step == 650 and now.total_bytes:
            cancel.cancel()

    try:
        restore(sites.b, wanted, "105a", whole=True, cancel=cancel, progress=progress)
    except WorkflowError as error:
        assert error.step in {650, 660}  # noqa: PT017 (the copy may have been done before)
        resume(sites.b, sites.workflow().workflow_id)
    assert sites.content("105a") == sites.held(sites.generation("wanted"))
    sites.check_at_rest()


def test_an_interrupt_stays_one_and_the_workflow_can_be_resumed(sites: Sites) -> None:
    wanted = _prepare_files(sites)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(540, interrupt))
    assert sites.workflow().state is WorkflowState.STOPPED
    resume(sites.b, sites.workflow().workflow_id)
    sites.check_at_rest()


@pytest.mark.parametrize("whole", [False, True])
def test_an_exception_at_500_or_600_comes_as_it_is_and_nothing_is_left(
    sites: Sites, whole: bool
) -> None:
    wanted = _prepare_files(sites)
    step, paths = (600, []) if whole else (500, FILE_PATHS)
    with pytest.raises(BoomError):
        restore(sites.b, wanted, "105a", paths, whole=whole, progress=at_step(step, boom))
    assert sites.workflow().state is WorkflowState.ABANDONED
    assert sites.agent.log == []
    sites.check_at_rest()


def test_what_cant_be_freed_over_a_lost_path_stays_stopped_to_be_abandoned(sites: Sites) -> None:
    wanted = _prepare_files(sites)
    fail_call("a", "restore.facts")(sites)
    real = sites.a.endpoint.calls["restore.facts"]

    def cut(peer: Any, body: dict[str, Any]) -> dict[str, Any]:
        sites.path.cut()
        return real(peer, body)

    sites.a.endpoint.calls["restore.facts"] = cut
    with pytest.raises(WorkflowError, match="stopped at step 500"):
        restore(sites.b, wanted, "105a", FILE_PATHS)
    assert sites.workflow().state is WorkflowState.STOPPED
    with pytest.raises(PyrepError, match="path"):
        abandon(sites.b, sites.workflow().workflow_id)
    sites.path.connect()
    abandon(sites.b, sites.workflow().workflow_id)
    sites.check_at_rest()


def test_an_abandoning_that_fails_is_repeated_never_resumed(sites: Sites) -> None:
    """105a was resynced forward meanwhile: a resume would take it for restored."""
    wanted = _prepare_files(sites)
    before = sites.content("105a")
    with pytest.raises(WorkflowError):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(540, boom))
    workflow = sites.workflow().workflow_id
    sites.agent.fails = "mount"
    with pytest.raises(PyrepError, match="can't mount"):
        abandon(sites.b, workflow)
    sites.agent.fails = ""
    with pytest.raises(RefusedError, match="abandoning it has begun") as caught:
        resume(sites.b, workflow)
    assert "abandon" in str(caught.value.hint)
    abandon(sites.b, workflow)
    assert sites.content("105a") == sites.content("105b") == before
    sites.check_at_rest()


def test_a_refusal_at_520_that_cant_be_undone_stops_the_application_again_at_resume(
    sites: Sites,
) -> None:
    """105a was unfenced for the application: going on at 520 would lose what it writes."""
    wanted = _prepare_files(sites)

    def interfere() -> None:
        workflow = list_workflows(sites.b)[-1].workflow_id
        sites.remote().split(lease=workflow)
        sites.a.state.mirror(sites.remote().pair_id).link.pending.set(0)
        sites.agent.fails = "recover"

    with pytest.raises(WorkflowError, match="can't recover"):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(520, interfere))
    assert sites.workflow().step == 520
    assert not sites.is_fenced("105a")
    sites.agent.fails = ""
    sites.pvol.pwrite(b"written meanwhile", 7 * MIB)

    resume(sites.b, sites.workflow().workflow_id)
    again = ["unmount", "mount", "recover"]  # the application wasn't started
    assert sites.agent.asked == ["stop", *again, *again, "start"]
    assert sites.content("105a")[7 * MIB :][:17] == b"written meanwhile"
    assert _missed(sites) == set()
    sites.check_at_rest()


def test_a_restore_at_the_primary_alone_cant_be_abandoned_once_it_writes(
    build: Build, image: bytes
) -> None:
    sites = build(content=image, own=1)
    generation = backup(sites.a, ["105a"], sides=BackupSides.PRIMARY).generation
    with sites.edit() as files:
        files.write_difference(b"/docs/file3", b"changed")
    with pytest.raises(WorkflowError):
        restore(sites.a, generation.generation_id, "105a", FILE_PATHS, progress=at_step(530, boom))
    workflow = sites.workflow(sites.a).workflow_id
    assert sites.is_fenced("105a")
    with pytest.raises(RefusedError, match="is being written"):
        abandon(sites.a, workflow)
    sites.reopen()
    assert sites.is_fenced("105a")
    resume(sites.a, workflow)
    with sites.look() as files:
        assert files.read(b"/docs/file3") == b"D" * 3003
    sites.check_at_rest()


def test_a_workflow_that_runs_or_has_ended_or_is_led_elsewhere_isnt_taken_up(
    sites: Sites,
) -> None:
    wanted = _prepare_files(sites)

    def running() -> None:
        for take_up in (resume, abandon):
            with pytest.raises(RefusedError, match="it is running"):
                take_up(sites.b, list_workflows(sites.b)[-1].workflow_id)

    restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(530, running))
    with pytest.raises(RefusedError, match="it is done"):
        resume(sites.b, sites.workflow().workflow_id)

    with pytest.raises(WorkflowError):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(520, boom))
    sites.reopen()
    workflow = sites.workflow().workflow_id
    for take_up in (resume, abandon):
        with pytest.raises(RefusedError, match="another system leads it"):
            take_up(sites.a, workflow)
    abandon(sites.b, workflow)
    sites.check_at_rest()


def test_a_system_that_ends_without_a_close_finds_the_workflow_stopped_and_the_fence_up(
    sites: Sites,
) -> None:
    wanted = _prepare_files(sites)
    with pytest.raises(WorkflowError):
        restore(sites.b, wanted, "105a", FILE_PATHS, progress=at_step(530, boom))
    sites.a.abort()
    sites.b.abort()
    sites.a = StorageSystem.open(sites.base / "a", options=sites.options_a())
    sites.b = StorageSystem.open(sites.base / "b", options=sites.options_b())
    assert sites.workflow().state is WorkflowState.STOPPED
    assert sites.is_fenced("105a")
    assert sites.is_fenced("105b")
    sites.reconnect()
    resume(sites.b, sites.workflow().workflow_id)
    assert sites.content("105a") == sites.content("105b")
    sites.check_at_rest()
