"""What a backup's hold does to hosts, and what becomes of one that goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pyrep import BackupSides, HoldAck, PairStatus, abandon, backup, resume
from pyrep._core import Stream
from pyrep.errors import WorkflowError
from pyrep.model import GenerationState
from pyrep.workflows import backup_secondary
from pyrep.workflows.pool import Pool
from unit.workflows.sites import NO_HURRY_MS, WAIT_S, BoomError, Sites, at_step, boom

Build = Callable[..., Sites]


@pytest.fixture
def raw(build: Build) -> Sites:
    return build()


def _during_430(sites: Sites, do: Callable[[], None]) -> None:
    """Do something when 430 has come to the secondary, before it splits."""
    calls = sites.b.endpoint.calls
    split = calls["backup.split"]

    def late(peer: object, body: dict[str, object]) -> dict[str, object]:
        do()
        return split(peer, body)  # type: ignore[arg-type]

    calls["backup.split"] = late


def _stream(sites: Sites) -> Stream:
    peer = sites.a.state.peer(sites.b.system_id)
    outlet = peer.known_outlet(sites.remote().group_id)  # type: ignore[arg-type]
    assert outlet is not None
    return outlet.stream


def _until_uncorked(sites: Sites) -> None:
    waiting = threading.Event()
    while _stream(sites).info().corked:
        waiting.wait(0.001)


def test_a_hold_without_an_answer_is_ended_and_a_late_430_has_no_effect(build: Build) -> None:
    raw = build(svols=2)
    kept = raw.take("kept")

    def late() -> None:
        _until_uncorked(raw)
        raw.pvol.pwrite(b"went on", 0)  # hosts go on before the command is performed

    _during_430(raw, late)
    with pytest.raises(WorkflowError) as caught:
        backup(raw.a, ["105a"], label="late", hold_max_ms=1000)

    assert caught.value.step == 430
    assert raw.generation("late").state is GenerationState.TAKING
    assert raw.content("105b")[:7] == b"went on"
    assert raw.local("107b").status().status is PairStatus.DUPLEX  # the late split did nothing
    abandon(raw.a, raw.workflow(raw.a).workflow_id)
    assert raw.generation("late").state is GenerationState.FAILED
    assert [one.label for one in raw.b.list_generations() if one.is_complete] == [kept.label]
    raw.check_at_rest()


def test_a_late_split_at_the_point_is_unconfirmed_and_has_failed_when_it_is_abandoned(
    build: Build,
) -> None:
    """Nothing was written meanwhile, so the secondary still split at the point; too late."""
    raw = build(svols=2)
    raw.take("kept")
    _during_430(raw, lambda: _until_uncorked(raw))
    with pytest.raises(WorkflowError, match="no answer within 1000 ms"):
        backup(raw.a, ["105a"], label="late", hold_max_ms=1000)
    raw.quiet()
    assert raw.generation("late").state is GenerationState.UNCONFIRMED
    assert not raw.generation("late").is_complete

    abandon(raw.a, raw.workflow(raw.a).workflow_id)
    raw.b.endpoint.calls.pop("backup.split")
    assert raw.generation("late").state is GenerationState.FAILED
    raw.reopen()
    assert raw.generation("late").state is GenerationState.FAILED
    assert raw.take("next").is_complete  # in its SVOL, though `kept` is older
    assert raw.generation("kept").is_complete
    raw.check_at_rest()


@pytest.mark.parametrize("sides", BackupSides)
def test_what_was_split_and_never_confirmed_has_failed_when_its_backup_is_abandoned(
    build: Build, sides: BackupSides
) -> None:
    raw = build(svols=2, own=1)
    with pytest.raises((WorkflowError, BoomError)):
        backup(raw.a, ["105a"], label="stopped", sides=sides, progress=at_step(470, boom))
    workflow = raw.workflow(raw.a).workflow_id
    made = [one for system in (raw.a, raw.b) for one in system.list_generations()]
    assert {one.state for one in made} <= {GenerationState.TAKING, GenerationState.UNCONFIRMED}
    abandon(raw.a, workflow)
    made = [one for system in (raw.a, raw.b) for one in system.list_generations()]
    assert {one.state for one in made} == {GenerationState.FAILED}
    for one in made:
        svol = (raw.a if one.home == raw.a.system_id else raw.b).volume(one.members[0].svol)
        svol.pwrite(b"a host's again", 0)
    raw.check_at_rest()


def test_a_backup_is_abandoned_after_what_it_split_was_flushed(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the flush, which is no part of the hold, would call it unconfirmed again."""
    raw = build(svols=1)
    awaited = threading.Event()
    flush = Pool.finish

    class Awaited(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            awaited.set()
            return super().wait(timeout)

    def slowly(pool: Pool, *split: Any) -> None:
        assert awaited.wait(WAIT_S)
        flush(pool, *split)

    monkeypatch.setattr(Pool, "finish", slowly)
    monkeypatch.setattr(backup_secondary, "threading", SimpleNamespace(Event=Awaited))
    with pytest.raises((WorkflowError, BoomError)):
        backup(raw.a, ["105a"], label="stopped", progress=at_step(470, boom))
    assert raw.generation("stopped").state is GenerationState.TAKING
    abandon(raw.a, raw.workflow(raw.a).workflow_id)
    awaited.set()
    raw.quiet()
    assert raw.generation("stopped").state is GenerationState.FAILED
    raw.check_at_rest()


def test_an_attempt_that_failed_does_not_cost_the_newest_backup_its_mirror(build: Build) -> None:
    raw = build(svols=2)
    with pytest.raises((WorkflowError, BoomError)):
        backup(raw.a, ["105a"], label="failed", progress=at_step(470, boom))
    abandon(raw.a, raw.workflow(raw.a).workflow_id)
    raw.take("older")
    raw.take("newest")  # where the failed one was
    raw.take("next")
    assert raw.generation("older").state is GenerationState.GIVEN_UP
    assert raw.generation("newest").is_complete


def test_a_stalled_path_ends_the_hold_and_hosts_go_on(build: Build) -> None:
    """410 doesn't come to its end: a record is on its way when the path stalls."""
    raw = build()
    written = threading.Event()

    def write() -> None:
        raw.pvol.pwrite(b"held", 0)
        written.set()

    writer = threading.Thread(target=write)

    def stall() -> None:
        raw.path.stall()
        last = _stream(raw).info().last
        writer.start()
        waiting = threading.Event()
        while _stream(raw).info().last == last:
            waiting.wait(0.001)

    with pytest.raises(WorkflowError, match="didn't reach the secondary within 1000") as caught:
        backup(raw.a, ["105a"], label="stalled", hold_max_ms=1000, progress=at_step(420, stall))
    assert caught.value.step == 410
    assert not _stream(raw).info().corked
    raw.path.resume()
    writer.join(WAIT_S)
    assert written.is_set()
    assert raw.generation("stalled").state is GenerationState.TAKING

    resume(raw.a, raw.workflow(raw.a).workflow_id)
    assert raw.generation("stalled").is_complete
    assert raw.held(raw.generation("stalled"))[:4] == b"held"
    raw.check_at_rest()


@pytest.mark.parametrize("hold_ack", list(HoldAck))
def test_a_writer_in_the_hold_waits_or_is_acknowledged_marked(
    build: Build, hold_ack: HoldAck
) -> None:
    raw = build()
    written = threading.Event()

    def write() -> None:
        raw.pvol.pwrite(b"in the hold", 0)
        written.set()

    writer = threading.Thread(target=write)
    was_written: list[bool] = []

    def hold() -> None:
        last = _stream(raw).info().last
        writer.start()
        waiting = threading.Event()
        while _stream(raw).info().last == last:
            waiting.wait(0.001)
        if hold_ack is HoldAck.MARK:
            assert written.wait(WAIT_S)
        was_written.append(written.is_set())

    _during_430(raw, hold)
    report = backup(raw.a, ["105a"], hold_ack=hold_ack, hold_max_ms=NO_HURRY_MS)
    writer.join(WAIT_S)
    assert was_written == [hold_ack is HoldAck.MARK]
    assert raw.held(report.generation)[:4] == bytes(4)
    raw.quiet()
    assert raw.content("105b")[:11] == b"in the hold"
    assert report.queued_max_bytes > 0
    raw.check_at_rest()
