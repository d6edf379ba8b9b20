from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pyrep.errors import (
    BusyError,
    ExistsError,
    InvalidArgumentError,
    NotFoundError,
    RefusedError,
)
from pyrep.meta.database import Database
from pyrep.meta.journal import WorkflowJournal
from pyrep.model.ids import VolumeId, WorkflowId
from pyrep.model.workflow import WorkflowKind, WorkflowRecord, WorkflowState

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(minutes=1)
W1, W2 = WorkflowId("w1"), WorkflowId("w2")
A, B, C = VolumeId("a"), VolumeId("b"), VolumeId("c")


def workflow(name: str = "w1", *, after_s: int = 0) -> WorkflowRecord:
    return WorkflowRecord(
        workflow_id=WorkflowId(name),
        kind=WorkflowKind.RESTORE_FILES,
        state=WorkflowState.RUNNING,
        step=500,
        request={"paths": ["/a", "/\udcff"], "dry_run": False},
        started_at=NOON + timedelta(seconds=after_s),
        updated_at=NOON,
    )


@pytest.fixture
def journal(db: Database) -> WorkflowJournal:
    return WorkflowJournal(db)


def test_a_workflow_comes_back_as_it_was_added(journal: WorkflowJournal) -> None:
    added = replace(workflow(), progress={"bytes": 1 << 60}, error="no room for \udcff")
    journal.add(added)
    assert journal.get(W1) == added


def test_workflows_are_listed_in_the_order_in_which_they_began(journal: WorkflowJournal) -> None:
    for name, after_s in (("w3", 2), ("w9", 0), ("w1", 1)):
        journal.add(workflow(name, after_s=after_s))
    assert [one.workflow_id for one in journal.all()] == ["w9", "w1", "w3"]


def test_a_second_workflow_of_an_id_is_refused(journal: WorkflowJournal) -> None:
    journal.add(workflow())
    with pytest.raises(ExistsError, match="w1"):
        journal.add(replace(workflow(), step=550))
    assert journal.get(W1).step == 500


def test_a_step_begun_changes_nothing_else(journal: WorkflowJournal) -> None:
    journal.add(replace(workflow(), progress={"files": 3}))
    returned = journal.update(W1, step=520, updated_at=LATER)
    assert returned == journal.get(W1)
    assert returned == replace(workflow(), progress={"files": 3}, step=520, updated_at=LATER)


def test_progress_is_replaced_as_a_whole(journal: WorkflowJournal) -> None:
    journal.add(replace(workflow(), progress={"files": 3}))
    assert journal.update(W1, progress={"bytes": 4}).progress == {"bytes": 4}


def test_a_stopped_workflow_keeps_its_error_until_its_state_changes(
    journal: WorkflowJournal,
) -> None:
    journal.add(workflow())
    journal.update(W1, state=WorkflowState.STOPPED, error="path lost")
    assert journal.update(W1, progress={"x": 1}).error == "path lost"
    assert journal.update(W1, error="path still lost").error == "path still lost"
    resumed = journal.update(W1, state=WorkflowState.RUNNING)
    assert (resumed.state, resumed.error) == (WorkflowState.RUNNING, None)


def test_of_those_that_have_ended_the_last_are_kept(journal: WorkflowJournal) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "running": {},
        "stopped": {"state": WorkflowState.STOPPED},
        "elsewhere": {"state": WorkflowState.DONE, "request": {"led_elsewhere": True}},
        "untold": {"state": WorkflowState.ABANDONED, "progress": {"untold": "100b"}},
        "oldest": {"state": WorkflowState.DONE},
        "older": {"state": WorkflowState.ABANDONED},
        "old": {"state": WorkflowState.DONE},
        "new": {"state": WorkflowState.ABANDONED},
    }
    for after_s, (name, facts) in enumerate(kinds.items()):
        journal.add(replace(workflow(name, after_s=after_s), **facts))
    journal.forget_ended(keep=2)
    kept = [one.workflow_id for one in journal.all()]
    assert kept == ["running", "stopped", "elsewhere", "untold", "old", "new"]


def test_those_that_a_system_hasnt_heard_of_are_found_among_many(
    journal: WorkflowJournal,
) -> None:
    journal.add(replace(workflow("w1"), progress={"untold": "100b"}))
    journal.add(replace(workflow("w2"), request={"label": '"untold": yes'}))
    journal.add(replace(workflow("w3"), progress={"x": {"untold": "100b"}}))
    assert [one.workflow_id for one in journal.untold()] == ["w1"]


def test_a_hint_names_no_more_than_the_last_workflows(journal: WorkflowJournal) -> None:
    for number in range(100):
        journal.add(workflow(f"w{number:03}"))
    with pytest.raises(NotFoundError) as caught:
        journal.get(WorkflowId("nix"))
    hint = str(caught.value.hint)
    assert hint.startswith("known workflows: w080, ")
    assert hint.endswith("w099 and 80 before them")


@pytest.mark.parametrize("end", [WorkflowState.DONE, WorkflowState.ABANDONED])
def test_what_has_ended_never_leaves_that_state(
    journal: WorkflowJournal, end: WorkflowState
) -> None:
    journal.add(workflow())
    journal.update(W1, state=end)
    for state in set(WorkflowState) - {end}:
        with pytest.raises(RefusedError, match=f"is {end}"):
            journal.update(W1, state=state, progress={"lost": True})
    assert journal.update(W1, state=end, progress={"x": 1}).progress == {"x": 1}
    assert journal.get(W1).state is end


def test_a_stopped_workflow_is_claimed_once(journal: WorkflowJournal) -> None:
    journal.add(workflow())
    with pytest.raises(RefusedError, match="it is running"):
        journal.claim(W1)
    journal.update(W1, state=WorkflowState.STOPPED, error="path lost")
    claimed = journal.claim(W1)
    assert (claimed.state, claimed.error) == (WorkflowState.STOPPED, "path lost")
    assert journal.get(W1).state is WorkflowState.RUNNING
    with pytest.raises(RefusedError, match="it is running"):
        journal.claim(W1)


def test_an_update_without_a_time_is_timed_now(journal: WorkflowJournal) -> None:
    journal.add(workflow())
    assert journal.update(W1, step=510).updated_at > NOON


def test_what_json_cannot_hold_is_refused_and_nothing_changes(journal: WorkflowJournal) -> None:
    with pytest.raises(InvalidArgumentError, match="can't be stored"):
        journal.add(replace(workflow(), request={"path": b"/a"}))
    journal.add(workflow())
    with pytest.raises(InvalidArgumentError):
        journal.update(W1, progress={"rate": float("nan")})
    assert journal.all() == (workflow(),)


def test_an_unknown_workflow_is_an_error_that_names_the_known_ones(
    journal: WorkflowJournal,
) -> None:
    journal.add(workflow())
    with pytest.raises(NotFoundError, match="no workflow w2") as caught:
        journal.update(W2, step=1)
    assert caught.value.hint == "known workflows: w1"


def test_a_leased_tree_is_refused_to_another_workflow_by_name(journal: WorkflowJournal) -> None:
    journal.acquire(W1, [A, B])
    with pytest.raises(BusyError, match="volume b is in use by workflow w1") as caught:
        journal.acquire(W2, [C, B])
    assert "resume or abandon" in str(caught.value.hint)
    assert [journal.holder(root) for root in (A, B, C)] == [W1, W1, None]


def test_a_resumed_workflow_has_its_leases_still_and_may_take_more(
    journal: WorkflowJournal, db: Database
) -> None:
    journal.acquire(W1, [A])
    WorkflowJournal(db).acquire(W1, iter([A, C, C]))
    assert [journal.holder(root) for root in (A, B, C)] == [W1, None, W1]


def test_released_trees_are_free_for_others(journal: WorkflowJournal) -> None:
    journal.acquire(W1, [A, B])
    journal.acquire(W2, [C])
    journal.release(W1)
    journal.release(W1)
    journal.acquire(W2, [A])
    assert [journal.holder(root) for root in (A, B, C)] == [W2, None, W2]
