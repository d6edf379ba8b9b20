"""What another system does and takes long: followed and cancelled, also over a lost path."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pyrep import (
    Cancel,
    CopyRate,
    Progress,
    StorageSystem,
    abandon,
    backup,
    connect,
    list_workflows,
    restore,
    resume,
)
from pyrep.engine.peer import Peer
from pyrep.engine.state import SystemState
from pyrep.errors import (
    BusyError,
    CancelledError,
    NotFoundError,
    PathLostError,
    RefusedError,
    WireError,
    WorkflowError,
)
from pyrep.model import SystemId, WorkflowId, WorkflowState
from pyrep.testing import wait_until
from pyrep.workflows.errands import Errands
from pyrep.workflows.restore import Restore
from pyrep.workflows.run import Run
from pyrep.workflows.sending import send
from unit.workflows.sites import MIB, WAIT_S, Sites, at_step, boom

Build = Callable[..., Sites]

STEPS = [600, 620, 630, 610, 640, 650, 660, 670, 560]
THERE = SystemId("100b")


def pace(system: StorageSystem, ceiling_bytes_s: int | None) -> None:
    """Bound the copies that a system leads from now on."""
    rate = CopyRate(ceiling_bytes_s=ceiling_bytes_s)
    system.state.options = replace(system.state.options, copy_rate=rate)


@pytest.fixture
def raw(build: Build) -> Sites:
    """Return sites with a generation, "wanted", and 4 regions of 105a written since."""
    sites = build()
    sites.pvol.pwrite(b"then" * MIB, 0)
    sites.take("wanted")
    sites.pvol.pwrite(b"now!" * MIB, 0)
    return sites


def wanted(sites: Sites) -> str:
    return sites.generation("wanted").generation_id


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return what 650 waits for."""
    event = threading.Event()
    copy = Restore.copy_local

    def held(self: Restore, run: Run) -> None:
        assert event.wait(WAIT_S)
        copy(self, run)

    monkeypatch.setattr(Restore, "copy_local", held)
    return event


def errands_of(system: StorageSystem) -> Errands:
    return system.endpoint.calls["errand.poll"].__self__  # type: ignore[attr-defined, no-any-return]


# --- progress and cancel --------------------------------------------------------------------------


def test_a_restore_that_another_system_leads_tells_every_step(raw: Sites) -> None:
    seen: list[Progress] = []
    report = restore(raw.a, wanted(raw), "105a", whole=True, progress=seen.append)
    assert list(dict.fromkeys(one.step for one in seen)) == STEPS
    assert {one.step for one in seen if one.final} == {560}
    assert report.figure == 6
    assert raw.workflow(raw.b).workflow_id == report.workflow_id
    raw.check_at_rest()


@pytest.mark.parametrize("asked", ["100a", "100b"])
def test_a_cancel_amid_670_stops_the_copy_that_the_primary_follows(raw: Sites, asked: str) -> None:
    """Asked at 100a it goes to 100b and back: the copy is ordered by 100a."""
    pace(raw.a, 64 << 10)
    cancel, seen = Cancel(), list[Progress]()

    def progress(now: Progress) -> None:
        seen.append(now)
        if now.step == 670 and now.total_bytes:
            cancel.cancel()

    system = raw.a if asked == "100a" else raw.b
    with pytest.raises(WorkflowError, match="cancelled") as caught:
        restore(system, wanted(raw), "105a", whole=True, progress=progress, cancel=cancel)
    assert (caught.value.step, seen[-1].total_bytes) == (670, 4 * MIB)
    assert isinstance(caught.value.__cause__, CancelledError)
    assert raw.remote().status().stopped
    assert raw.remote().job is None
    workflow = raw.workflow(raw.b)
    assert (workflow.state, workflow.step) == (WorkflowState.STOPPED, 670)
    pace(raw.a, None)
    resume(raw.b, workflow.workflow_id)
    assert raw.content("105a") == raw.held(raw.generation("wanted"))
    raw.check_at_rest()


@pytest.mark.parametrize("asked", ["100a", "100b"])
def test_a_cancel_at_560_comes_too_late(raw: Sites, asked: str) -> None:
    """The volume is whole: stopping there would only keep its hosts off."""
    cancel = Cancel()
    system = raw.a if asked == "100a" else raw.b
    progress = at_step(560, cancel.cancel)
    restore(system, wanted(raw), "105a", whole=True, progress=progress, cancel=cancel)
    assert raw.workflow(raw.b).state is WorkflowState.DONE
    raw.check_at_rest()


@pytest.mark.parametrize("asked", ["100a", "100b"])
def test_a_backup_is_cancelled_while_a_mirror_there_is_brought_to_duplex(
    build: Build, asked: str
) -> None:
    sites = build(svols=1)
    sites.take()
    sites.pvol.pwrite(b"more" * MIB, 0)
    sites.quiet()
    pace(sites.b, 64 << 10)
    cancel, seen = Cancel(), list[Progress]()

    def progress(now: Progress) -> None:
        seen.append(now)
        if now.total_bytes:
            cancel.cancel()

    system = sites.a if asked == "100a" else sites.b
    with pytest.raises(CancelledError):
        backup(system, ["105a"], primary="100a", reuse_last=True, progress=progress, cancel=cancel)
    assert {one.step for one in seen} == {400}
    assert sites.workflow(sites.a).state is WorkflowState.ABANDONED
    assert not sites.leases()


def test_a_backup_that_another_system_leads_tells_every_step(raw: Sites) -> None:
    seen: list[int | None] = []
    backup(raw.b, ["105a"], primary="100a", progress=lambda now: seen.append(now.step))
    assert list(dict.fromkeys(seen)) == [400, 420, 410, 430, 470]


def test_undoing_a_restore_tells_how_far_it_is_and_may_be_stopped(raw: Sites) -> None:
    with pytest.raises(WorkflowError):
        restore(raw.b, wanted(raw), "105a", whole=True, progress=at_step(610, boom))
    workflow = raw.workflow().workflow_id
    for index in range(0, 512, 64):  # as after a crash of 100a: in each region something is
        raw.a.state.mirror(raw.remote().pair_id).link.pending.set(index)
    pace(raw.a, 64 << 10)
    cancel = Cancel()

    def progress(now: Progress) -> None:
        if now.total_bytes:
            cancel.cancel()

    with pytest.raises(CancelledError):
        abandon(raw.b, workflow, progress=progress, cancel=cancel)
    assert raw.workflow().state is WorkflowState.STOPPED
    with pytest.raises(RefusedError, match="abandoning it has begun"):
        resume(raw.b, workflow)
    pace(raw.a, None)
    abandon(raw.b, workflow)
    assert raw.content("105a") == raw.content("105b")
    assert raw.pvol.pread(4, 0) == b"now!"
    raw.check_at_rest()


# --- the host's commands --------------------------------------------------------------------------


UP = ["stop", "unmount", "mount", "recover", "start"]


@pytest.mark.parametrize("asked", ["100a", "100b"])
def test_a_host_that_stops_for_long_is_told_of_and_a_cancel_ends_it_between_two_actions(
    raw: Sites, asked: str
) -> None:
    told, cancel = threading.Event(), Cancel()

    def progress(now: Progress) -> None:
        if "stopping the application at its host" in now.what:
            assert now.step == 620
            cancel.cancel()
            told.set()

    def stops() -> None:
        assert told.wait(WAIT_S)
        wait_until(lambda: all(one.cancel.is_cancelled for one in under_way(raw)))

    raw.agent.then["stop"] = stops
    system = raw.a if asked == "100a" else raw.b
    with pytest.raises(WorkflowError, match="cancelled") as caught:
        restore(system, wanted(raw), "105a", whole=True, progress=progress, cancel=cancel)
    assert caught.value.step == 620
    assert isinstance(caught.value.__cause__, CancelledError)
    assert raw.agent.asked == ["stop"]
    del raw.agent.then["stop"]
    seen: list[str] = []
    abandon(raw.b, raw.workflow().workflow_id, progress=lambda now: seen.append(now.what))
    assert any("starting the application at its host" in one for one in seen)
    assert raw.agent.asked == ["stop", "start"]
    raw.check_at_rest()


def under_way(sites: Sites) -> list[Any]:
    """Return the errands that the primary hasn't ended."""
    return [one for one in errands_of(sites.a)._errands.values() if not one.is_over]


def test_what_was_asked_of_a_host_over_a_lost_path_ends_before_what_is_asked_next(
    raw: Sites,
) -> None:
    """The stop goes on at the primary; beside a start, its fence would stay for ever."""
    go, is_asked = threading.Event(), threading.Event()

    def stops() -> None:
        is_asked.set()
        assert go.wait(WAIT_S)

    def lose_path(waits_for: str) -> Callable[[Progress], None]:
        def progress(now: Progress) -> None:
            if waits_for in now.what:
                assert is_asked.wait(WAIT_S)
                raw.path.cut()

        return progress

    raw.agent.then["stop"] = stops
    stopping = lose_path("stopping the application")
    with pytest.raises(WorkflowError):
        restore(raw.b, wanted(raw), "105a", whole=True, progress=stopping)
    workflow = raw.workflow().workflow_id
    raw.path.connect()
    with pytest.raises(WorkflowError):
        resume(raw.b, workflow, progress=lose_path("what was asked of the host before"))
    raw.path.connect()
    stop, resumed = under_way(raw)

    def release(now: Progress) -> None:
        if "what was asked of the host before" in now.what:
            go.set()

    abandon(raw.b, workflow, progress=release)
    assert raw.agent.asked == UP
    assert [one.look(0)["end"].get("answer") for one in (stop, resumed)] == [{}, None]
    assert "asked something else" in str(resumed.look(0)["end"]["failed"])
    raw.check_at_rest()


def test_a_host_isnt_stopped_for_a_workflow_that_is_being_abandoned_there(raw: Sites) -> None:
    raw.agent.fails = "stop"
    with pytest.raises(WorkflowError):
        restore(raw.b, wanted(raw), "105a", whole=True)
    workflow = raw.workflow().workflow_id
    raw.agent.log.clear()
    raw.a.state.ending.add(WorkflowId(workflow))
    with pytest.raises(WorkflowError, match="was ended at system 100a"):
        resume(raw.b, workflow)
    assert raw.agent.asked == []


# --- the path -------------------------------------------------------------------------------------


def test_a_path_that_breaks_and_returns_is_no_end_of_what_is_followed(
    raw: Sites, go: threading.Event
) -> None:
    def flap() -> None:
        raw.path.cut()
        raw.path.connect()
        go.set()

    seen: list[int | None] = []
    flap_at_650 = at_step(650, flap)

    def progress(now: Progress) -> None:
        seen.append(now.step)
        flap_at_650(now)

    report = restore(raw.a, wanted(raw), "105a", whole=True, progress=progress)
    assert (report.figure, list(dict.fromkeys(seen))) == (6, STEPS)
    raw.check_at_rest()


def test_a_cancel_while_the_path_is_down_says_that_nobody_there_knows(
    raw: Sites, go: threading.Event
) -> None:
    cancel = Cancel()

    def part() -> None:
        raw.path.cut()
        cancel.cancel()

    with pytest.raises(CancelledError, match="system 100b, to which the path is down") as caught:
        restore(raw.a, wanted(raw), "105a", whole=True, progress=at_step(650, part), cancel=cancel)
    assert "list_workflows" in str(caught.value.hint)
    (running,) = list_workflows(raw.b)[-1:]
    assert (running.state, running.step) == (WorkflowState.RUNNING, 650)
    raw.path.connect()
    go.set()
    wait_until(lambda: raw.workflow(raw.b).state is WorkflowState.DONE)
    assert raw.content("105a") == raw.held(raw.generation("wanted"))


def test_a_leader_that_was_started_anew_is_not_asked_to_do_it_again(
    raw: Sites, go: threading.Event
) -> None:
    forget = at_step(650, errands_of(raw.b)._errands.clear)
    with pytest.raises(PathLostError, match="started anew meanwhile"):
        restore(raw.a, wanted(raw), "105a", whole=True, progress=forget)
    go.set()
    wait_until(lambda: raw.workflow(raw.b).state is WorkflowState.DONE)
    assert len([one for one in list_workflows(raw.b) if one.kind == "restore_volume"]) == 1


@pytest.mark.parametrize("arrives", [True, False])
def test_whether_what_was_begun_over_a_lost_path_was_heard_of_is_asked_not_assumed(
    raw: Sites, arrives: bool
) -> None:
    calls = raw.b.endpoint.calls
    begin = calls["errand.begin"]
    returns: list[threading.Thread] = []

    def losing(peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        calls["errand.begin"] = begin
        if arrives:
            begin(peer, body)
        returns.append(threading.Thread(target=raw.path.connect))
        raw.path.cut()
        returns[0].start()
        raise PathLostError("lost")

    calls["errand.begin"] = losing
    paths = {"whole": True, "discard_pending": False}
    try:
        if arrives:
            # Its leader needs the path, too, and the pair: it stops or is refused, unless both are
            # back by then.
            with contextlib.suppress(WorkflowError, PathLostError, RefusedError):
                restore(raw.a, wanted(raw), "105a", **paths)  # type: ignore[arg-type]
        else:
            with pytest.raises(PathLostError, match="may not have heard of it"):
                restore(raw.a, wanted(raw), "105a", **paths)  # type: ignore[arg-type]
    finally:
        returns[0].join()
    begun = [one for one in list_workflows(raw.b) if one.kind == "restore_volume"]
    assert len(begun) == (1 if arrives else 0)


# --- whose, and how many -------------------------------------------------------------------------


def test_errands_are_bounded_and_one_systems_own(raw: Sites) -> None:
    let = threading.Event()

    def waits(_peer: Peer, _body: dict[str, Any], _tell: Any, _cancel: Cancel) -> dict[str, Any]:
        assert let.wait(WAIT_S)
        return {"done": True}

    raw.b.endpoint.errands["test.waits"] = waits

    def ask(system: StorageSystem, verb: str, errand: str) -> dict[str, Any]:
        body = {"errand": errand, "verb": "test.waits", "body": {}, "seen": 0, "cancel": False}
        return system.ask(THERE, f"errand.{verb}", body)

    try:
        for number in range(64):
            ask(raw.a, "begin", f"e{number}")
        with pytest.raises(BusyError, match="64 errands"):
            ask(raw.a, "begin", "e64")
        ask(raw.a, "begin", "e0")  # it is known: told twice is the same
        with StorageSystem.create(raw.base / "c", "100c") as other:
            connect(other, raw.b)
            with pytest.raises(NotFoundError):
                ask(other, "poll", "e0")
            ask(other, "begin", "e0")
    finally:
        let.set()
    done = {"answer": {"done": True}}

    def all_done() -> bool:
        return all(ask(raw.a, "poll", f"e{number}")["end"] == done for number in range(64))

    wait_until(all_done)
    ask(raw.a, "begin", "e64")
    with pytest.raises(NotFoundError):
        ask(raw.a, "poll", "e0")  # the oldest one is forgotten


def test_what_cannot_be_done_is_told_in_its_class_and_costs_no_path(raw: Sites) -> None:
    with pytest.raises(NotFoundError, match="does no errand"):
        send(raw.a, THERE, "nothing", {})
    with pytest.raises(WireError, match="can't do this"):
        send(raw.a, THERE, "restore.run", {"request": 7})
    assert raw.path.is_up


def test_a_system_that_is_closed_waits_for_the_errands_under_way(
    raw: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one is about is freed behind it, not below it."""
    let, ended = threading.Event(), threading.Event()
    counted: list[int] = []
    state = raw.b.state
    wait_idle = SystemState.wait_idle

    def waits(_peer: Peer, _body: dict[str, Any], _tell: Any, _cancel: Cancel) -> dict[str, Any]:
        assert let.wait(WAIT_S)
        ended.set()
        return {}

    def watched(self: SystemState) -> None:
        counted.append(self.serving)  # the path is cut: nothing else is done for other systems
        let.set()
        wait_idle(self)
        assert ended.is_set()

    raw.b.endpoint.errands["test.waits"] = waits
    raw.a.ask(THERE, "errand.begin", {"errand": "e", "verb": "test.waits", "body": {}})
    monkeypatch.setattr(SystemState, "wait_idle", watched)
    raw.b.close()
    assert counted == [1]
    assert state.serving == 0
