"""A stopped workflow is taken up by one client; whoever else asks meanwhile is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pyrep import BackupSides, StorageSystem, abandon, backup, restore, resume
from pyrep.errors import PyrepError, RefusedError, WorkflowError
from pyrep.meta.journal import WorkflowJournal
from pyrep.model import VolumeId, WorkflowId, WorkflowState
from pyrep.workflows.backup import Backup
from pyrep.workflows.restore import Restore
from pyrep.workflows.site import RemoteSite
from unit.workflows.sites import WAIT_S, Sites, at_step, boom

Build = Callable[..., Sites]
Act = Callable[[StorageSystem, str], object]

FIRST = "first"


class First:
    """A client in a thread of its own, held where it enters a function."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]
    ) -> None:
        self.held, self._go = threading.Event(), threading.Event()
        self.entered: list[str] = []
        self.outcome: object = None
        real = getattr(owner, name)

        def entered(*args: Any, **facts: Any) -> Any:
            self.entered.append(threading.current_thread().name)
            if threading.current_thread().name == FIRST and self.entered.count(FIRST) == 1:
                self.held.set()
                assert self._go.wait(WAIT_S)
            return real(*args, **facts)

        is_static = isinstance(vars(owner)[name], staticmethod)
        monkeypatch.setattr(owner, name, staticmethod(entered) if is_static else entered)

        def run() -> None:
            try:
                self.outcome = act()
            except PyrepError as error:
                self.outcome = error

        self._thread = threading.Thread(target=run, name=FIRST)
        self._thread.start()
        assert self.held.wait(WAIT_S)

    def go_on(self) -> object:
        self._go.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        assert set(self.entered) == {FIRST}
        return self.outcome


def _stopped_backup(raw: Sites) -> str:
    with pytest.raises(WorkflowError):
        backup(raw.a, ["105a"], sides=BackupSides.BOTH, progress=at_step(420, boom))
    return raw.workflow(raw.a).workflow_id


def _stopped_restore(sites: Sites, step: int) -> str:
    generation = sites.take("wanted").generation_id
    with sites.edit() as files:
        files.write_difference(b"/docs/file3", b"changed")
    with pytest.raises(WorkflowError):
        restore(sites.b, generation, "105a", ["/docs/file3"], progress=at_step(step, boom))
    return sites.workflow().workflow_id


def _check_refused(system: StorageSystem, workflow: str, act: Act) -> None:
    with pytest.raises(RefusedError, match="it is running"):
        act(system, workflow)


@pytest.mark.parametrize("second", [resume, abandon])
def test_a_backup_resumed_and_still_preparing_isnt_taken_up_again(
    build: Build, monkeypatch: pytest.MonkeyPatch, second: Act
) -> None:
    raw = build(own=1)
    workflow = _stopped_backup(raw)
    first = First(monkeypatch, Backup, "_drain_backlog", lambda: resume(raw.a, workflow))
    _check_refused(raw.a, workflow, second)
    assert raw.leases()
    assert not isinstance(first.go_on(), PyrepError)
    assert raw.workflow(raw.a).state is WorkflowState.DONE
    raw.check_at_rest()


@pytest.mark.parametrize("second", [resume, abandon])
def test_two_that_take_up_a_restore_at_530_dont_both_write(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, second: Act
) -> None:
    workflow = _stopped_restore(sites, 530)
    # Where it has been read, and no step has begun.
    first = First(monkeypatch, Restore, "resume_step", lambda: resume(sites.b, workflow))
    _check_refused(sites.b, workflow, second)
    assert not isinstance(first.go_on(), PyrepError)
    assert sites.workflow().state is WorkflowState.DONE
    sites.check_at_rest()


@pytest.mark.parametrize("second", [resume, abandon])
def test_a_restore_thats_being_abandoned_is_neither_resumed_nor_abandoned_again(
    sites: Sites, monkeypatch: pytest.MonkeyPatch, second: Act
) -> None:
    workflow = _stopped_restore(sites, 540)
    before = sites.content("105a")
    first = First(monkeypatch, RemoteSite, "forward", lambda: abandon(sites.b, workflow))
    assert sites.workflow().state is WorkflowState.RUNNING
    _check_refused(sites.b, workflow, second)
    assert sites.is_fenced()
    assert first.go_on() is None
    assert sites.workflow().state is WorkflowState.ABANDONED
    assert sites.content("105a") == sites.content("105b") == before
    sites.check_at_rest()


@pytest.mark.parametrize("acts", [(resume, resume), (resume, abandon), (abandon, abandon)])
def test_of_two_that_ask_at_the_same_moment_one_gets_it(
    build: Build, monkeypatch: pytest.MonkeyPatch, acts: tuple[Act, Act]
) -> None:
    raw = build(own=1)
    workflow = _stopped_backup(raw)
    both = threading.Barrier(2, timeout=WAIT_S)
    claim = WorkflowJournal.claim
    claimed: list[str] = []

    def met(self: WorkflowJournal, workflow_id: Any) -> Any:
        both.wait()
        found = claim(self, workflow_id)
        claimed.append(threading.current_thread().name)
        both.wait()  # the other one has been refused
        return found

    def refused(act: Act) -> None:
        try:
            act(raw.a, workflow)
        except RefusedError:
            both.wait()

    monkeypatch.setattr(WorkflowJournal, "claim", met)
    threads = [threading.Thread(target=refused, args=(act,)) for act in acts]
    for one in threads:
        one.start()
    for one in threads:
        one.join(WAIT_S)
        assert not one.is_alive()
    assert len(claimed) == 1
    assert raw.workflow(raw.a).state.has_ended
    raw.check_at_rest()


def test_a_crash_of_who_has_taken_it_up_leaves_it_stopped(sites: Sites) -> None:
    workflow = _stopped_restore(sites, 540)
    sites.b.state.journal.claim(sites.workflow().workflow_id)
    sites.b.abort()
    sites.b = StorageSystem.open(sites.base / "b", options=sites.options_b())
    sites.reconnect()
    assert (sites.workflow().state, sites.workflow().step) == (WorkflowState.STOPPED, 540)
    resume(sites.b, workflow)
    sites.check_at_rest()


def test_what_is_refused_is_stopped_as_it_was(sites: Sites) -> None:
    workflow = _stopped_restore(sites, 550)
    before = sites.workflow()
    with pytest.raises(RefusedError, match="is being written"):
        abandon(sites.b, workflow)
    after = sites.workflow()
    assert (after.state, after.step, after.error) == (before.state, before.step, before.error)
    resume(sites.b, workflow)
    sites.check_at_rest()


def test_one_whose_undoing_at_500_has_begun_isnt_resumed(sites: Sites) -> None:
    """The other system may have freed its volume: what 510 then fences, nobody would unfence."""
    generation = sites.take("wanted").generation_id
    calls = sites.a.endpoint.calls
    facts, end = calls["restore.facts"], calls["restore.end"]

    def fail(*_args: Any) -> dict[str, Any]:
        raise RefusedError("not now")

    calls["restore.facts"] = calls["restore.end"] = fail
    with pytest.raises(WorkflowError, match="stopped at step 500"):
        restore(sites.b, generation, "105a", ["/docs/file3"])
    calls["restore.facts"], calls["restore.end"] = facts, end
    workflow = sites.workflow().workflow_id
    with pytest.raises(RefusedError, match="abandoning it has begun"):
        resume(sites.b, workflow)
    abandon(sites.b, workflow)
    assert sites.agent.log == []
    sites.check_at_rest()


def test_a_step_doesnt_begin_behind_the_back_of_who_has_the_volumes(build: Build) -> None:
    raw = build()

    def free() -> None:
        raw.a.state.journal.release(raw.workflow(raw.a).workflow_id)

    with pytest.raises(WorkflowError, match="its volumes are free"):
        backup(raw.a, ["105a"], progress=at_step(420, free))
    abandon(raw.a, raw.workflow(raw.a).workflow_id)
    raw.check_at_rest()


def test_one_whose_lease_was_lost_takes_it_again_unless_another_has_it(sites: Sites) -> None:
    """Tables that were damaged and rebuilt may lack it; at 550 only going on is left."""
    workflow = _stopped_restore(sites, 550)
    journal = sites.b.state.journal
    journal.release(sites.workflow().workflow_id)
    journal.acquire(WorkflowId("another"), [VolumeId("105b")])
    with pytest.raises(WorkflowError, match="in use by workflow another"):
        resume(sites.b, workflow)
    assert sites.workflow().state is WorkflowState.STOPPED
    journal.release(WorkflowId("another"))
    resume(sites.b, workflow)
    sites.check_at_rest()
