"""A system that is closed in another thread while a workflow runs in it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from pyrep import ProgressCallback, StorageSystem, backup, restore, resume
from pyrep.errors import InvalidArgumentError, WorkflowError
from pyrep.model import WorkflowState
from unit.workflows.sites import WAIT_S, Sites, at_step

Build = Callable[..., Sites]
HEAD_START_S = 0.5


@contextlib.contextmanager
def closed_at(system: StorageSystem, step: int) -> Iterator[ProgressCallback]:
    """Give a callback that lets another thread begin to close the system when a step begins."""
    closer = threading.Thread(target=system.close, name="close")

    def begin() -> None:
        closer.start()
        with system.state.control:
            assert system.state.control.wait_for(lambda: system.state.closing, WAIT_S)
        # Time enough for a close that doesn't wait; one that does is never through before us.
        closer.join(HEAD_START_S)
        assert closer.is_alive(), "the system was freed below a workflow"

    yield at_step(step, begin)
    closer.join(WAIT_S)
    assert not closer.is_alive()


@pytest.mark.parametrize("step", [420, 410, 430, 470])
def test_a_backup_amid_a_close_stops_and_goes_on_after_a_reopen(build: Build, step: int) -> None:
    raw = build()
    raw.pvol.pwrite(b"point", 0)
    with closed_at(raw.a, step) as progress, pytest.raises(WorkflowError) as caught:
        backup(raw.a, ["105a"], progress=progress)
    assert not isinstance(caught.value.__cause__, AssertionError), caught.value
    raw.reopen()
    workflow = raw.workflow(raw.a)
    assert workflow.state is WorkflowState.STOPPED
    resume(raw.a, workflow.workflow_id)
    raw.check_at_rest()


@pytest.mark.parametrize("step", [620, 630, 610, 640, 650, 660, 670, 560])
def test_a_restore_amid_a_close_stops_and_goes_on_after_a_reopen(build: Build, step: int) -> None:
    raw = build()
    raw.pvol.pwrite(b"then", 0)
    generation = backup(raw.a, ["105a"]).generation
    raw.pvol.pwrite(b"now!", 0)
    with closed_at(raw.b, step) as progress, pytest.raises(WorkflowError) as caught:
        restore(raw.b, generation.generation_id, "105a", whole=True, progress=progress)
    assert not isinstance(caught.value.__cause__, AssertionError), caught.value
    raw.reopen()
    workflow = raw.workflow(raw.b)
    assert workflow.state is WorkflowState.STOPPED
    resume(raw.b, workflow.workflow_id)
    assert raw.pvol.pread(4, 0) == b"then"
    raw.check_at_rest()


def test_no_workflow_begins_in_a_closed_system(build: Build) -> None:
    raw = build()
    raw.a.close()
    with pytest.raises(InvalidArgumentError, match="closed"):
        backup(raw.a, ["105a"])
