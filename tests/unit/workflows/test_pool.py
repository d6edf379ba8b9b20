"""Which SVOL a backup takes, and what is done with generations once they are complete."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyrep.engine.activity import make_source_durable
from pyrep.engine.state import SystemState
from pyrep.errors import RefusedError
from pyrep.model import (
    GenerationState,
    NextSvol,
    PairId,
    PairStatus,
    RetentionPolicy,
    VolumeId,
    WorkflowId,
)
from pyrep.testing import wait_until
from pyrep.workflows import backup
from unit.workflows.conftest import Build
from unit.workflows.sites import WAIT_S


def test_a_volume_that_cannot_be_backed_up_costs_the_others_no_generation(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in the way of 205a comes up after the choice, before anything is given up."""
    raw = build(numbers=("105", "205"), svols=2)
    for label in ("one", "two"):
        backup(raw.a, ["105a"], label=label)
        backup(raw.a, ["205a"], label=label)
    before = raw.b.list_generations()
    choose = raw.b.reuse.choose

    def then_pin(volume: VolumeId, together: Sequence[VolumeId], *, reuse_last: bool) -> PairId:
        chosen = choose(volume, together, reuse_last=reuse_last)
        if volume == "205b":
            svol = raw.b.state.sides(chosen)[1].row.volume_id
            held = raw.b.generations.on_svol(svol)
            assert held is not None
            raw.b.kept(held.generation_id).pin("auditor")
        return chosen

    monkeypatch.setattr(raw.b.reuse, "choose", then_pin)
    with pytest.raises(RefusedError, match="in use by auditor"):
        backup(raw.a, ["105a", "205a"], label="both")
    assert [one.state for one in raw.b.list_generations()] == [one.state for one in before]
    assert raw.leases() == []


def test_with_always_the_next_backup_finds_its_mirror_in_duplex(build: Build) -> None:
    raw = build(svols=3)
    raw.b.set_policy("105b", next_svol=NextSvol.ALWAYS)
    for label in ("one", "two"):
        raw.take(label)
    third = raw.take("three")

    def next_ones() -> list[str]:
        rows = [one.row for one in raw.b.state.local_svol_mirrors(VolumeId("105b"))]
        return [row.mirror_volume_id for row in rows if row.status is PairStatus.DUPLEX]

    wait_until(lambda: next_ones() == ["106b"])
    states = {one.label: one.state for one in raw.b.list_generations()}
    assert states == {
        "one": GenerationState.GIVEN_UP,
        "two": GenerationState.COMPLETE,
        "three": GenerationState.COMPLETE,
    }
    raw.pvol.pwrite(b"later", 0)
    fourth = raw.take("four")
    assert fourth.members[0].svol == "106b"
    assert raw.held(fourth)[:5] == b"later"
    assert raw.held(third)[:5] != b"later"


def test_a_backup_waits_for_the_next_svol_that_is_just_being_made(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has asked for that command, and nobody could know of it: it isn't in the way."""
    raw = build(svols=2)
    raw.take("one")
    raw.take("two")
    begun, go = threading.Event(), threading.Event()

    def held(state: SystemState, volume_id: VolumeId) -> None:
        if threading.current_thread().name.startswith("watch"):
            begun.set()
            assert go.wait(WAIT_S)
        make_source_durable(state, volume_id)

    monkeypatch.setattr("pyrep.engine.local_copies.make_source_durable", held)
    raw.b.set_policy("105b", next_svol=NextSvol.ALWAYS)
    raw.b.next_svols.want(VolumeId("105b"))
    assert begun.wait(WAIT_S)
    control = raw.b.state.control
    wait_for = control.wait_for

    def let_go(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread().name.startswith("errand backup.prepare"):
            go.set()  # it has the lock, and looks who has the pair
        return wait_for(*args, **kwargs)

    monkeypatch.setattr(control, "wait_for", let_go)
    try:
        assert raw.take("three").is_complete
    finally:
        go.set()
    states = {one.label: one.state for one in raw.b.list_generations()}
    assert states["one"] is GenerationState.GIVEN_UP
    assert states["two"] is GenerationState.COMPLETE


def test_a_next_svol_leaves_volumes_alone_that_a_workflow_has_leased(build: Build) -> None:
    raw = build(svols=2)
    raw.take("one")
    raw.take("two")
    raw.b.state.journal.acquire(WorkflowId("w1"), [VolumeId("105b")])
    raw.b.set_policy("105b", next_svol=NextSvol.ALWAYS)
    raw.b.next_svols.want(VolumeId("105b"))
    raw.b.next_svols.look()
    assert all(one.is_complete for one in raw.b.list_generations())
    raw.b.state.journal.release(WorkflowId("w1"))
    wait_until(lambda: any(not one.is_complete for one in raw.b.list_generations()))


def test_a_backup_keeps_the_minimum_unless_asked_otherwise(build: Build) -> None:
    raw = build(svols=2)
    raw.b.set_policy("105b", retention=RetentionPolicy(keep_last=2, minimum=2))
    one = raw.take("one")
    raw.take("two")
    with pytest.raises(RefusedError, match="of which 2 are kept"):
        raw.take("three")
    assert raw.b.generation(one.generation_id).is_complete
    raw.take("three", reuse_last=True)
    assert raw.b.generation(one.generation_id).state is GenerationState.GIVEN_UP


def test_the_minimum_of_a_volume_not_backed_up_now_is_kept(build: Build) -> None:
    raw = build(numbers=("105", "205"), svols=2)
    raw.b.set_policy("205b", retention=RetentionPolicy(keep_last=2, minimum=2))
    first = backup(raw.a, ["105a", "205a"], label="first").generation
    backup(raw.a, ["105a", "205a"], label="second")
    with pytest.raises(RefusedError, match=first.generation_id):
        raw.take("alone")
    assert raw.b.generation(first.generation_id).is_complete


def test_backups_get_digests_by_themselves_and_are_sound(build: Build) -> None:
    raw = build(svols=2)
    raw.pvol.pwrite(b"content", 12345)
    raw.take("one")
    raw.pvol.pwrite(b"more", 54321)
    generation = raw.take("two")
    raw.quiet()

    known = {one.label: raw.b.kept(one.generation_id) for one in raw.b.list_generations()}
    assert all(one.verify().is_sound for one in known.values())
    (member,) = generation.members
    raw.b.state.live[member.svol].io.pwrite(b"!", 12345)
    assert [one.offset for one in known["two"].verify().damaged] == [0]
    assert known["one"].verify().is_sound
    with pytest.raises(RefusedError, match="system 100b holds it"):
        raw.a.kept(generation.generation_id).verify()
    with pytest.raises(RefusedError, match="system 100b holds it"):
        raw.a.protect_generation(generation.generation_id)


def test_a_close_doesnt_wait_for_digests_that_are_held_back_and_the_next_open_goes_on(
    build: Build,
) -> None:
    """At a byte a second the second span would be due in twelve days."""
    raw = build(svols=2)
    raw.b.state.options = replace(raw.b.state.options, digest_rate_bytes_s=1)
    for span in range(3):
        raw.pvol.pwrite(b"content", span << 20)
    generation = raw.take("one")
    wait_until(lambda: [one.name for one in raw.b.state.threads if "digest" in one.name] != [])
    raw.reopen()
    raw.quiet()
    assert raw.b.kept(generation.generation_id).verify().is_sound
