"""Hosts whose umount and mount fail when there is nothing left to do: nothing is asked twice."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pyrep import BackupSides, Progress, StorageSystem, abandon, backup, restore, resume
from pyrep.errors import DeviceError, HostAgentError, WorkflowError
from pyrep.model import VolumeId, WorkflowId, WorkflowState
from pyrep.workflows.host_actions import HostActions
from pyrep.workflows.production import ProductionSide
from unit.workflows.conftest import Build
from unit.workflows.sites import BoomError, RecordingAgent, Sites, boom

UP = ["stop", "unmount", "mount", "recover", "start"]


@dataclasses.dataclass(slots=True)
class PlainHost(RecordingAgent):
    """A host with plain `umount` and `mount`, and an application that needs its volume."""

    is_mounted: bool = True
    is_running: bool = True
    succeeds_idly: bool = False

    def _do(self, what: str, volume_id: str) -> None:
        if what == self.fails:
            self.log.append((what, volume_id))
            raise HostAgentError(f"the host can't {what}", step=what)
        if what in {"unmount", "mount"}:
            if self.is_mounted == (what == "mount") and not self.succeeds_idly:
                raise HostAgentError(f"{what}: it is so already", step=what)
            self.is_mounted = what == "mount"
        elif what == "recover" and not self.is_mounted:
            raise HostAgentError("recover: not mounted", step=what)
        elif what in {"start", "stop"}:
            self.is_running = what == "start"
        self.log.append((what, volume_id))
        if what in self.then:
            self.then.pop(what)()

    @property
    def is_up(self) -> bool:
        return self.is_mounted and self.is_running


@pytest.fixture
def host(sites: Sites) -> PlainHost:
    found = PlainHost()
    sites.agent = found
    sites.a.state.options.host_agents[VolumeId("105a")] = found
    return found


def _stop(sites: Sites) -> str:
    generation = sites.take("wanted").generation_id
    with sites.edit() as files:
        files.write_difference(b"/docs/file3", b"changed")
    with pytest.raises(WorkflowError):
        restore(sites.b, generation, "105a", ["/docs/file3"])
    return sites.workflow().workflow_id


def _fail_drain(sites: Sites) -> None:
    calls = sites.a.endpoint.errands
    real = calls["restore.drain"]

    def failing(*_asked: Any) -> dict[str, Any]:
        calls["restore.drain"] = real
        raise DeviceError("drain failed")

    calls["restore.drain"] = failing


@pytest.mark.parametrize("action", UP)
def test_a_restore_whose_host_failed_once_is_resumed_with_that_action(
    sites: Sites, host: PlainHost, action: str
) -> None:
    host.fails = action
    workflow = _stop(sites)
    sites.reopen()
    host.fails = ""
    resume(sites.b, workflow)
    at = UP.index(action)
    assert host.asked == [*UP[: at + 1], *UP[at:]]
    assert host.is_up
    sites.check_at_rest()


@pytest.mark.parametrize("action", ["stop", "unmount", "drain"])
def test_a_restore_whose_host_failed_in_510_is_abandoned_with_what_is_down(
    sites: Sites, host: PlainHost, action: str
) -> None:
    if action == "drain":
        _fail_drain(sites)
    host.fails = action
    workflow = _stop(sites)
    sites.reopen()
    host.fails = ""
    abandon(sites.b, workflow)
    assert (
        host.asked
        == {
            "stop": ["stop", "start"],  # it may be half stopped
            "unmount": ["stop", "unmount", "start"],
            "drain": UP,
        }[action]
    )
    assert host.is_up
    sites.check_at_rest()


def test_a_stop_behind_the_unmounting_is_resumed_without_another(
    sites: Sites, host: PlainHost
) -> None:
    _fail_drain(sites)
    workflow = _stop(sites)
    sites.reopen()
    resume(sites.b, workflow)
    assert host.asked == UP
    sites.check_at_rest()


@pytest.mark.parametrize("action", UP)
def test_an_action_that_a_crash_came_amid_is_asked_for_again(
    sites: Sites, host: PlainHost, action: str
) -> None:
    host.succeeds_idly = True
    host.then[action] = boom  # behind its effect; nobody has noted it
    workflow = _stop(sites)
    sites.a.abort()
    sites.a = StorageSystem.open(sites.base / "a", options=sites.options_a())
    sites.reconnect()
    resume(sites.b, workflow)
    assert sorted(host.asked) == sorted([*UP, action])
    assert host.is_up
    sites.check_at_rest()


@pytest.mark.parametrize("action", ["stop", "unmount"])
def test_an_action_that_a_crash_came_amid_is_undone_by_abandoning(
    sites: Sites, host: PlainHost, action: str
) -> None:
    host.then[action] = boom
    workflow = _stop(sites)
    abandon(sites.b, workflow)
    assert host.is_up
    assert sites.workflow().state is WorkflowState.ABANDONED
    sites.check_at_rest()


def test_a_repeated_action_that_fails_says_that_it_must_succeed_when_nothing_is_left(
    sites: Sites, host: PlainHost
) -> None:
    host.then["mount"] = boom
    workflow = _stop(sites)
    with pytest.raises(WorkflowError, match="it is so already") as caught:
        resume(sites.b, workflow)
    assert "mount must succeed when nothing is left to do" in str(caught.value.hint)
    host.is_mounted = False  # somebody has unmounted it by hand
    resume(sites.b, workflow)
    assert host.is_up
    sites.check_at_rest()


def test_what_a_primary_ends_alone_behind_the_stop_is_started_again(
    sites: Sites, host: PlainHost
) -> None:
    host.fails = "unmount"
    workflow = _stop(sites)
    host.fails = ""
    sites.path.cut()
    abandon(sites.a, workflow, without_peer=True)
    assert host.asked == ["stop", "unmount", "start"]
    assert host.is_up


def test_what_a_resumed_run_at_the_primary_itself_writes_down_keeps_what_the_site_has(
    build: Build, image: bytes
) -> None:
    """One record holds both: a run that had read it before would fence again what is free."""
    sites = build(content=image, own=1)
    generation = backup(sites.a, ["105a"], sides=BackupSides.PRIMARY).generation
    sites.agent.fails = "recover"
    with pytest.raises(WorkflowError):
        restore(sites.a, generation.generation_id, "105a", ["/docs/file3"])
    sites.agent.fails = "start"
    workflow = sites.workflow(sites.a).workflow_id
    with pytest.raises(WorkflowError):
        resume(sites.a, workflow)
    progress = sites.workflow(sites.a).progress
    assert (progress["down"], progress["doing"]) == (["stop"], "")
    assert "fenced" not in progress
    sites.agent.fails = ""
    resume(sites.a, workflow)
    assert sites.agent.asked == [*UP[:4], "recover", "start", "start"]
    sites.check_at_rest()


@pytest.mark.parametrize("is_fenced", [False, True])
def test_a_workflow_of_a_version_that_noted_no_actions_is_brought_up_whole_if_it_was_fenced(
    sites: Sites, host: PlainHost, is_fenced: bool
) -> None:
    _fail_drain(sites)
    workflow = WorkflowId(_stop(sites))
    journal = sites.a.state.journal
    journal.update(workflow, progress={"fenced": "105a"} if is_fenced else {})
    host.log.clear()
    actions = HostActions(journal, workflow, VolumeId("105a"), host)
    actions.bring_up()
    assert host.asked == (UP[2:] if is_fenced else [])


def test_an_error_that_isnt_the_hosts_leaves_the_action_under_way(
    sites: Sites, host: PlainHost
) -> None:
    _fail_drain(sites)
    workflow = WorkflowId(_stop(sites))
    host.then["mount"] = boom
    actions = HostActions(sites.a.state.journal, workflow, VolumeId("105a"), host)
    with pytest.raises(BoomError):
        actions.bring_up()
    assert sites.a.state.journal.get(workflow).progress["doing"] == "mount"


def test_a_callback_that_raises_before_an_action_leaves_it_unasked(
    sites: Sites, host: PlainHost
) -> None:
    def progress(now: Progress) -> None:
        if "unmounting" in now.what:
            boom()

    side = ProductionSide(sites.a)
    workflow = WorkflowId("w1")
    side.begin(workflow, "restore_files", "105a", leads=False)
    with pytest.raises(BoomError):
        side.stop(workflow, "105a", progress)
    journalled = sites.a.state.journal.get(workflow).progress
    assert (journalled["down"], journalled["doing"]) == (["stop"], "")
    side.start(workflow, "105a")
    side.end(workflow, "abandoned")
    assert host.asked == ["stop", "start"]
    sites.check_at_rest()
