from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from pyrep import BackupSides, PairStatus, backup, list_workflows
from pyrep._core import CutItem, CutVerb, group_cut
from pyrep.errors import BusyError, NotFoundError, PathLostError, RefusedError
from pyrep.meta.journal import KEPT
from pyrep.model import GenerationState, WorkflowId, WorkflowState
from pyrep.testing import Content, check_frozen
from unit.workflows.sites import WAIT_S, Sites, at_step

Build = Callable[..., Sites]


@pytest.fixture
def raw(build: Build) -> Sites:
    return build()


def test_a_backup_holds_what_was_written_before_it_and_nothing_after(raw: Sites) -> None:
    raw.pvol.pwrite(b"before", 4096)
    report = backup(raw.a, ["105a"], label="one")
    raw.pvol.pwrite(b"after.", 4096)

    assert raw.held(report.generation)[4096:4102] == b"before"
    assert raw.content("105b")[4096:4102] == b"after."
    raw.check_at_rest()


def test_a_backup_is_recorded_at_both_systems_with_its_hold_and_the_remote_status(
    raw: Sites,
) -> None:
    report = backup(raw.a, ["105a"], label="one")

    there = raw.b.generation(report.generation.generation_id)
    pair = raw.remote().pair_id
    duplex = ((pair, PairStatus.DUPLEX),)
    assert there == report.generation == raw.a.generation(there.generation_id)
    assert (there.state, there.label, there.home) == (GenerationState.COMPLETE, "one", "100b")
    assert (there.remote_before, there.remote_during, there.remote_after) == (duplex,) * 3
    assert there.hold_ms == report.hold_ms > 0
    assert there.queued_max_bytes == report.queued_max_bytes
    assert report.closed_ms <= report.cut_ms
    phases = report.cut_ms + report.drain_ms + report.split_ms + report.uncork_ms
    assert phases == pytest.approx(report.hold_ms)
    assert report.prepare_ms > 0


def test_steps_are_told_and_journalled_by_their_numbers(raw: Sites) -> None:
    steps: list[int | None] = []
    journalled: list[int] = []

    def progress(now: object) -> None:
        steps.append(getattr(now, "step", None))
        journalled.append(list_workflows(raw.a)[-1].step)

    backup(raw.a, ["105a"], progress=progress)
    assert list(dict.fromkeys(steps)) == [400, 420, 410, 430, 470]
    # 410 and 430 stand inside the hold, whose step in the journal is 420.
    assert [420 if step in {410, 430} else step for step in steps] == journalled
    assert raw.workflow(raw.a).state is WorkflowState.DONE


def test_a_backup_can_be_asked_at_the_secondary(raw: Sites) -> None:
    report = backup(raw.b, ["105a"], primary="100a", label="from there")
    assert raw.b.generation(report.generation.generation_id).is_complete
    assert report.hold_ms > 0
    raw.check_at_rest()


@pytest.mark.parametrize(
    ("sides", "homes"),
    [
        (BackupSides.SECONDARY, ["100b"]),
        (BackupSides.PRIMARY, ["100a"]),
        (BackupSides.BOTH, ["100b", "100a"]),
    ],
)
def test_the_sides_asked_for_are_split_at_one_point(
    build: Build, sides: BackupSides, homes: list[str]
) -> None:
    raw = build(own=1)
    raw.pvol.pwrite(b"before", 0)
    report = backup(raw.a, ["105a"], sides=sides)
    raw.pvol.pwrite(b"after.", 0)

    assert [one.home for one in report.generations] == homes
    assert all(one.is_complete for one in report.generations)
    for generation in report.generations:
        system = raw.a if generation.home == "100a" else raw.b
        with system.generations.view(
            generation.generation_id, generation.members[0].source
        ) as view:
            assert view.pread(6, 0) == b"before"
    if sides is BackupSides.BOTH:
        own = report.generations[1]
        assert own.hold_ms == report.hold_ms
        assert own.remote_during == ((raw.remote().pair_id, PairStatus.DUPLEX),)
    raw.check_at_rest()


@pytest.mark.parametrize("groups", [{}, {"105": "g", "205": "h"}], ids=["one group", "two groups"])
def test_volumes_backed_up_together_hold_one_point_while_hosts_write(
    build: Build, groups: dict[str, str]
) -> None:
    """INV-6: a writer counts on both volumes in turn, so that the first is one ahead at most."""
    raw = build(numbers=("105", "205"), groups=groups, own=1)
    stop, begun = threading.Event(), threading.Event()

    def write() -> None:
        count = 0
        while not stop.is_set():
            count += 1
            for number in ("105", "205"):
                raw.a.volume(f"{number}a").pwrite(count.to_bytes(8, "little"), 0)
            begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(WAIT_S)
        reports = [
            backup(raw.a, ["105a", "205a"], sides=BackupSides.BOTH, reuse_last=True)
            for _ in range(3)
        ]
    finally:
        stop.set()
        writer.join()
    for index, report in enumerate(reports):
        counts = []
        for generation in report.generations:
            system = raw.a if generation.home == "100a" else raw.b
            if not system.generation(generation.generation_id).is_complete:
                continue  # given up by a later one
            for member in generation.members:
                with system.generations.view(generation.generation_id, member.source) as view:
                    counts.append(int.from_bytes(view.pread(8, 0), "little"))
        first, second = counts[0::2], counts[1::2]
        assert len(set(first)) <= 1, index
        assert len(set(second)) <= 1, index
        assert all(one - other in {0, 1} for one, other in zip(first, second, strict=True))
    raw.check_at_rest()


def test_the_cut_of_420_closes_the_gate_of_every_volume(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streams of two groups are corked at one point only behind closed gates."""
    raw = build(numbers=("105", "205"), groups={"105": "g", "205": "h"})
    module = importlib.import_module("pyrep.workflows.backup")
    cuts: list[Sequence[CutItem]] = []

    def recorded(items: Sequence[CutItem], **facts: Any) -> tuple[list[int], float]:
        cuts.append(items)
        return group_cut(items, **facts)

    monkeypatch.setattr(module, "group_cut", recorded)
    backup(raw.a, ["105a", "205a"])
    ((*items,),) = cuts
    gated = {getattr(one.on, "name", "") for one in items if one.verb is CutVerb.GATE}
    assert gated == {"105a", "205a"}
    assert [one.verb for one in items].count(CutVerb.CORK) == 2


def test_the_remote_mirror_stays_duplex_throughout(raw: Sites) -> None:
    seen: list[PairStatus] = []
    pair = raw.remote()
    backup(raw.a, ["105a"], progress=lambda _: seen.append(pair.status().status))
    assert set(seen) == {PairStatus.DUPLEX}


# --- the pool ------------------------------------------------------------------------------------


def test_the_oldest_generation_is_given_up_for_the_next_backup(raw: Sites) -> None:
    for label in ("one", "two", "three"):
        raw.take(label)
    states = {one.label: one.state for one in raw.b.list_generations()}
    assert states == {
        "one": GenerationState.GIVEN_UP,
        "two": GenerationState.COMPLETE,
        "three": GenerationState.COMPLETE,
    }


def test_a_protected_or_pinned_generation_isnt_given_up(build: Build) -> None:
    raw = build(svols=3)
    one, two, three = (raw.take(label) for label in ("one", "two", "three"))
    raw.b.protect_generation(one.generation_id)
    with (
        raw.b.generations.view(two.generation_id, two.members[0].source),
        pytest.raises(RefusedError, match=f"{three.generation_id}, the last complete one"),
    ):
        raw.take("four")
    raw.take("four")
    assert raw.b.generation(one.generation_id).is_complete
    assert raw.b.generation(two.generation_id).state is GenerationState.GIVEN_UP
    raw.check_at_rest()


def test_the_last_complete_generation_is_kept_unless_asked_otherwise(build: Build) -> None:
    raw = build(svols=1)
    one = raw.take("one")
    with pytest.raises(RefusedError, match="the last complete one") as caught:
        raw.take("two")
    assert "reuse_last=True" in str(caught.value.hint)
    assert raw.b.generation(one.generation_id).is_complete
    assert raw.take("two", reuse_last=True).is_complete
    assert raw.b.generation(one.generation_id).state is GenerationState.GIVEN_UP
    raw.check_at_rest()


def test_the_last_generation_of_a_volume_not_backed_up_now_is_kept(build: Build) -> None:
    """Both volumes are in generation `both`; another of 105a alone must not cost 205a its last."""
    raw = build(numbers=("105", "205"))
    both = backup(raw.a, ["105a", "205a"], label="both").generation
    alone = raw.take("alone")
    with pytest.raises(RefusedError, match=f"{both.generation_id} is protected|the last complete"):
        raw.take("again")
    assert raw.b.generation(both.generation_id).is_complete
    assert raw.b.generation(alone.generation_id).is_complete
    assert backup(raw.a, ["105a", "205a"]).generation.is_complete


def test_a_generation_on_two_svols_gives_one_to_the_next_backup_and_stays(build: Build) -> None:
    """A path that was lost costs a protective split of all mirrors; backups go on behind it."""
    raw = build()
    raw.pvol.pwrite(b"before", 0)
    raw.path.cut()
    raw.pvol.pwrite(b"lost..", 0)
    raw.path.connect()
    raw.quiet()
    (kept,) = raw.b.list_generations()
    assert {one.svol for one in kept.members} == {"106b", "107b"}

    assert raw.held(raw.take("next"))[:6] == b"lost.."
    left = raw.b.generation(kept.generation_id)
    assert (left.is_complete, len(left.members)) == (True, 1)
    assert raw.held(left)[:6] == b"before"
    raw.take("one more")
    assert raw.b.generation(kept.generation_id).state is GenerationState.GIVEN_UP
    raw.check_at_rest()


def test_a_volume_of_the_same_name_elsewhere_has_a_pool_of_its_own(build: Build) -> None:
    """The primary keeps copies of the secondary's generations: they are no places for backups."""
    raw = build(own=2)
    raw.b.create_volume("105a", raw.pvol.size_bytes)  # 100b has a 105a, too
    for _ in range(3):
        report = backup(raw.a, ["105a"], sides=BackupSides.BOTH)
        assert [one.home for one in report.generations] == ["100b", "100a"]
    raw.check_at_rest()


# --- steps ---------------------------------------------------------------------------------------


def test_an_out_of_sync_mirror_is_resynced_at_460(raw: Sites) -> None:
    """440: somebody split the mirror between 400 and 430; the lease keeps people from it."""
    local = raw.local("106b")

    def split() -> None:
        raw.b.local_pairs.splits.split([local.pair_id], lease=raw.workflow(raw.a).workflow_id)

    generation = backup(raw.a, ["105a"], label="late", progress=at_step(420, split)).generation
    assert generation.is_complete
    raw.check_at_rest()


# --- refusals ------------------------------------------------------------------------------------


def test_what_cant_be_backed_up_is_refused_and_nothing_is_begun(build: Build) -> None:
    raw = build(svols=0)
    raw.a.create_volume("300a", 8192)
    with pytest.raises(NotFoundError, match="999a") as caught:
        backup(raw.a, ["999a"])
    assert "105a" in str(caught.value.hint)
    with pytest.raises(RefusedError, match="no remote pair as PVOL"):
        backup(raw.a, ["300a"])
    with pytest.raises(RefusedError, match="no remote pair as PVOL"):
        backup(raw.b, ["105b"])
    with pytest.raises(RefusedError, match="cannot back up nothing"):
        backup(raw.a, [])
    assert list_workflows(raw.a) == ()
    with pytest.raises(RefusedError, match="105b: it has no local mirror in system 100b"):
        backup(raw.a, ["105a"])
    with pytest.raises(RefusedError, match="105a: it has no local mirror in system 100a"):
        backup(raw.a, ["105a"], sides=BackupSides.PRIMARY)
    raw.check_at_rest()


def test_a_remote_pair_that_isnt_duplex_is_no_source_of_backups(raw: Sites) -> None:
    raw.remote().split()
    with pytest.raises(RefusedError, match="is SPLIT") as caught:
        backup(raw.a, ["105a"])
    assert "resync" in str(caught.value.hint)
    raw.check_at_rest()


def test_a_lost_path_is_refused_at_400(raw: Sites) -> None:
    raw.path.cut()
    with pytest.raises((RefusedError, PathLostError)):
        backup(raw.a, ["105a"])
    assert raw.leases() == []
    raw.path.connect()
    raw.quiet()
    raw.check_at_rest()


def test_a_second_workflow_is_told_which_one_has_the_volume(raw: Sites) -> None:
    caught: list[BusyError] = []

    def second() -> None:
        with pytest.raises(BusyError) as busy:
            backup(raw.a, ["105a"])
        caught.append(busy.value)
        with pytest.raises(BusyError, match=holder()):
            raw.remote().split()
        with pytest.raises(BusyError, match=holder()):
            raw.local("107b").split()
        with pytest.raises(BusyError, match=holder()):
            raw.local("107b").dissolve()

    def holder() -> str:
        return next(one.workflow_id for one in list_workflows(raw.a))

    report = backup(raw.a, ["105a"], progress=at_step(420, second))
    assert report.workflow_id in str(caught[0])
    assert "abandon" in str(caught[0].hint)
    raw.check_at_rest()


def test_a_generation_stays_as_it_was_split(raw: Sites) -> None:
    raw.pvol.pwrite(b"frozen", 0)
    generation = raw.take("one")
    before = raw.held(generation)
    raw.pvol.pwrite(b"warmed", 0)
    raw.take("two")
    assert raw.held(generation) == before
    frozen = {str(generation.generation_id): {("100b", "106b"): Content.of(before)}}
    check_frozen(frozen, raw.b)


def test_a_backup_that_ends_lets_the_journal_forget_all_but_the_last_1000(raw: Sites) -> None:
    raw.take("first")
    journal = raw.a.state.journal
    first = raw.workflow(raw.a)
    with raw.a.state.db.transaction():
        for number in range(KEPT + 10):
            began = first.started_at + timedelta(microseconds=number + 1)
            name = WorkflowId(f"w{number}")
            journal.add(replace(first, workflow_id=name, started_at=began))
    assert len(journal.all()) == KEPT + 11
    raw.take("second")
    kept = [one.workflow_id for one in journal.all()]
    assert len(kept) == KEPT
    assert (kept[0], kept[-2]) == ("w11", f"w{KEPT + 9}")
