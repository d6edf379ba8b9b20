from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pyrep import (
    BackupSides,
    Direction,
    PairStatus,
    abandon,
    backup,
    dry_run_restore,
    restore,
)
from pyrep.engine import Pair
from pyrep.engine.state import ANY_LEASE
from pyrep.errors import FencedError, RefusedError, WorkflowError
from pyrep.model import (
    CopyPace,
    CopyRate,
    GenerationCause,
    WorkflowKind,
    WorkflowState,
)
from unit.workflows.sites import MIB, SIZE, Sites, at_step

Build = Callable[..., Sites]

EVERYTHING: list[str | bytes] = ["/docs", "/big", "/link", b"/caf\xe9"]


def _random(mib: int) -> bytes:
    return os.urandom(mib * MIB)


@pytest.fixture
def raw(build: Build) -> Sites:
    made = build()
    made.pvol.pwrite(_random(2), 0)
    return made


def test_a_volume_comes_back_whole_at_both_sites(raw: Sites) -> None:
    generation = raw.take()
    before = raw.held(generation)
    raw.pvol.pwrite(_random(1), MIB)
    report = restore(raw.b, generation.generation_id, "105a", whole=True)

    assert (report.figure, report.copied_bytes) == (6, MIB)
    for name in ("105a", "105b", "106b"):
        assert raw.content(name) == before, name
    assert raw.remote().status().status is PairStatus.DUPLEX
    assert raw.local("106b").status().status is PairStatus.SPLIT
    assert raw.local("106b").status().pending_count == 0
    raw.check_at_rest()


def test_steps_and_hosts_are_in_the_order_of_fig_6(raw: Sites) -> None:
    generation = raw.take()
    raw.pvol.pwrite(_random(1), 0)
    steps: dict[int | None, tuple[int, bool, PairStatus]] = {}
    pair = raw.remote()

    def progress(now: object) -> None:
        step = getattr(now, "step", None)
        steps.setdefault(step, (len(raw.agent.log), raw.is_fenced("105a"), pair.status().status))

    restore(raw.b, generation.generation_id, "105a", whole=True, progress=progress)
    assert list(steps) == [600, 620, 630, 610, 640, 650, 660, 670, 560]
    assert steps[600] == steps[620] == (0, False, PairStatus.DUPLEX)
    assert steps[630] == (2, True, PairStatus.DUPLEX)
    assert {steps[one] for one in (610, 640, 650, 660, 670)} == {(2, True, PairStatus.SPLIT)}
    assert steps[560] == (2, True, PairStatus.DUPLEX)
    assert raw.agent.asked == ["stop", "unmount", "mount", "recover", "start"]
    assert raw.workflow().kind is WorkflowKind.RESTORE_VOLUME


def test_a_generation_can_be_restored_again_and_again(raw: Sites) -> None:
    """INV-4: 650 ends in SPLIT, so that what hosts write next doesn't reach the generation."""
    generation = raw.take()
    before = raw.held(generation)
    for _ in range(2):
        raw.pvol.pwrite(_random(1), 3 * MIB)
        restore(raw.a, generation.generation_id, "105a", whole=True)
        assert raw.held(generation) == raw.content("105a") == before
    raw.check_at_rest()


def test_pending_chunks_on_both_sides_of_both_pairs_are_reverted(raw: Sites) -> None:
    """105a, 105b and 106b were all written since the split; the generation's own bytes win."""
    generation = raw.take()
    before = raw.held(generation)
    raw.pvol.pwrite(_random(1), 0)
    raw.remote().split()
    raw.pvol.pwrite(_random(1), 2 * MIB)
    raw.spvol.pwrite(_random(1), 4 * MIB)
    assert raw.remote().status().pending_count == 128

    estimate = dry_run_restore(raw.b, generation.generation_id, "105a", whole=True)
    assert estimate.revert_bytes == MIB
    assert estimate.write_bytes == 2 * MIB  # what 105b got since, from 105a and from its own host
    assert estimate.cross_bytes == 3 * MIB
    assert not estimate.is_provisional
    report = restore(raw.b, generation.generation_id, "105a", whole=True)
    assert (report.written_bytes, report.copied_bytes) == (2 * MIB, 3 * MIB)
    for name in ("105a", "105b", "106b"):
        assert raw.content(name) == before, name
    raw.check_at_rest()


def test_marks_of_an_svol_whose_generation_was_given_up_count_in_the_union(raw: Sites) -> None:
    """106b takes host writes once its generation is given up; its marks are resynced over."""
    generation = raw.take()
    raw.take("second")
    raw.pvol.pwrite(_random(1), 0)
    second = raw.generation("second")
    before = raw.held(second)
    restore(raw.b, second.generation_id, "105a", whole=True)
    assert raw.content("105a") == raw.content("105b") == before
    assert raw.b.generation(generation.generation_id).is_complete
    raw.check_at_rest()


def test_a_dry_run_tells_exactly_what_then_happens(build: Build) -> None:
    sites = build(size=SIZE + 4096 + 512)  # the last chunk is partial
    sites.pvol.pwrite(_random(1), 0)
    generation = sites.take()
    sites.pvol.pwrite(b"end", SIZE + 4096)
    sites.pvol.pwrite(_random(1), 12345)
    before = [sites.content(name) for name in ("105a", "105b", "106b", "107b")]
    estimate = dry_run_restore(sites.b, generation.generation_id, "105a", whole=True)
    assert estimate == dry_run_restore(sites.a, generation.generation_id, "105a", whole=True)
    assert [sites.content(name) for name in ("105a", "105b", "106b", "107b")] == before
    report = restore(sites.b, generation.generation_id, "105a", whole=True)
    assert (report.written_bytes, report.copied_bytes) == (
        estimate.write_bytes,
        estimate.cross_bytes,
    )


def test_sibling_mirrors_are_split_before_640_as_one_generation(build: Build) -> None:
    sites = build(svols=3)
    generation = sites.take()
    sites.pvol.pwrite(_random(1), 0)
    before = sites.content("105a")
    restore(sites.b, generation.generation_id, "105a", whole=True)
    kept = [one for one in sites.b.list_generations() if one.cause is GenerationCause.PROTECT]
    assert {one.svol for one in kept[0].members} == {"107b", "108b"}
    assert len(kept) == 1
    assert sites.content("107b") == sites.content("108b") == before
    # It may be restored in its turn: nothing is lost by a restore.
    restore(sites.b, kept[0].generation_id, "105a", whole=True)
    assert sites.content("105a") == before
    sites.check_at_rest()


def test_mirrors_of_105a_are_split_before_670(build: Build) -> None:
    sites = build(own=1)
    generation = sites.take()
    sites.pvol.pwrite(_random(1), 0)
    before = sites.content("105a")
    restore(sites.b, generation.generation_id, "105a", whole=True)
    (kept,) = [one for one in sites.a.list_generations() if one.cause is GenerationCause.PROTECT]
    assert kept.is_complete
    assert sites.content("106a") == before
    sites.check_at_rest()


def test_hosts_are_kept_off_both_volumes_until_560(raw: Sites) -> None:
    generation = raw.take()
    raw.pvol.pwrite(_random(1), 0)

    def host() -> None:
        for volume in (raw.pvol, raw.spvol):
            with pytest.raises(FencedError):
                volume.pwrite(b"host", 0)

    for step in (630, 640, 660, 560):
        restore(raw.b, generation.generation_id, "105a", whole=True, progress=at_step(step, host))
    raw.pvol.pwrite(b"host", 0)
    raw.check_at_rest()


# --- 610 -----------------------------------------------------------------------------------------


def test_all_files_of_the_generation_are_the_whole_volume(sites: Sites) -> None:
    generation = sites.take()
    with sites.edit() as files:
        files.unlink(b"/big")
        files.write_difference(b"/docs/file3", b"changed")
    assert dry_run_restore(sites.b, generation.generation_id, "105a", EVERYTHING).figure == 6
    report = restore(sites.b, generation.generation_id, "105a", EVERYTHING)
    assert report.figure == 6
    assert sites.differences(generation) == []
    assert sites.content("105a") == sites.held(generation)
    sites.fsck()
    sites.check_at_rest()


def test_a_file_more_in_105b_or_one_not_chosen_makes_it_fig_5(sites: Sites) -> None:
    generation = sites.take()
    some = dry_run_restore(sites.b, generation.generation_id, "105a", EVERYTHING[:-1])
    assert (some.figure, "aren't chosen" in some.reason) == (5, True)
    with sites.edit() as files:
        files.create(b"/more")
    more = dry_run_restore(sites.b, generation.generation_id, "105a", EVERYTHING)
    assert (more.figure, "/more" in more.reason) == (5, True)
    report = restore(sites.b, generation.generation_id, "105a", EVERYTHING)
    assert report.figure == 5
    with sites.look() as files:
        assert files.exists(b"/more")


def test_an_answer_changed_behind_630_stops_with_the_choices(sites: Sites) -> None:
    """A file comes up while the application is being stopped: Fig. 6 would lose it."""
    generation = sites.take()

    def more() -> None:
        with sites.edit() as files:
            files.create(b"/saved at the last moment")

    sites.agent.then["stop"] = more
    with pytest.raises(WorkflowError, match=r"Fig\. 5 is due") as caught:
        restore(sites.b, generation.generation_id, "105a", EVERYTHING)
    assert caught.value.step == 610
    assert "whole=True" in str(caught.value.hint)
    assert sites.workflow().state is WorkflowState.STOPPED
    assert sites.is_fenced("105a")

    sites.agent.then.clear()
    abandon(sites.b, sites.workflow().workflow_id)
    with sites.look() as files:
        assert files.exists(b"/saved at the last moment")
    assert sites.remote().status().status is PairStatus.DUPLEX
    sites.check_at_rest()
    assert restore(sites.b, generation.generation_id, "105a", EVERYTHING).figure == 5
    assert restore(sites.b, generation.generation_id, "105a", whole=True).figure == 6


def test_files_that_cant_be_read_behind_630_stop_it_too(sites: Sites) -> None:
    generation = sites.take()
    sites.agent.then["stop"] = lambda: sites.pvol.pwrite(bytes(64 * 1024), 0)
    with pytest.raises(WorkflowError, match="can't be read"):
        restore(sites.b, generation.generation_id, "105a", EVERYTHING)
    sites.agent.then.clear()
    abandon(sites.b, sites.workflow().workflow_id)
    restore(sites.b, generation.generation_id, "105a", whole=True)
    assert sites.differences(generation) == []


# --- a remote copy that was broken off -----------------------------------------------------------


@pytest.mark.parametrize("files", [["/docs"], []])
def test_a_primary_that_missed_the_end_of_a_copy_is_copied_back_to(
    sites: Sites, files: list[str | bytes]
) -> None:
    """105b is whole, as its own system knows; 670 was refused for ever, with hosts stopped."""
    generation = sites.take()
    with sites.edit() as fs:
        fs.unlink(b"/docs/file0")
    sites.quiet()
    pair = sites.remote()
    pair.split()
    sites.a.state.change(sites.a.state.mirror(pair.pair_id), target_consistent=False)
    restore(sites.b, generation.generation_id, "105a", files, whole=not files)
    assert pair.status().status is PairStatus.DUPLEX
    assert sites.differences(generation) == []
    sites.check_at_rest()


def test_a_copy_back_that_ends_just_as_it_is_asked_for_is_done(
    sites: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on by itself when the path came back; the resume was refused, and the abandoning."""
    generation = sites.take()
    status, endpoint = Pair.status, sites.a.endpoint
    reverse = endpoint.errands["restore.reverse"]

    def late(*asked: Any) -> dict[str, Any]:
        """The copy has gone on, and is looked at in its last moment."""
        reverse(*asked)
        looks = [
            replace(sites.remote().status(), status=PairStatus.COPY, direction=Direction.REVERSE)
        ]
        with monkeypatch.context() as once:
            once.setattr(Pair, "status", lambda one: looks.pop() if looks else status(one))
            return reverse(*asked)

    endpoint.errands["restore.reverse"] = late
    restore(sites.b, generation.generation_id, "105a", whole=True)
    assert sites.remote().status().status is PairStatus.DUPLEX
    assert sites.differences(generation) == []
    sites.check_at_rest()


# --- refusals before anything is stopped ---------------------------------------------------------


def test_a_copy_that_was_broken_off_must_go_on_first(raw: Sites) -> None:
    """105b is inconsistent: 660 would be refused, with the application down."""
    generation = raw.take()
    raw.remote().split()
    raw.pvol.pwrite(_random(1), 0)
    mirror = raw.b.state.mirror(raw.remote().pair_id)
    raw.b.state.change(mirror, target_consistent=False)
    with pytest.raises(RefusedError, match="broken off") as caught:
        restore(raw.b, generation.generation_id, "105a", whole=True)
    assert "forward first" in str(caught.value.hint)
    assert raw.agent.log == []
    raw.b.state.change(mirror, target_consistent=True)
    raw.check_at_rest()


def test_a_pvol_in_a_running_remote_pair_isnt_overwritten_from_its_own_mirror(
    build: Build,
) -> None:
    sites = build(own=1)
    generation = backup(sites.a, ["105a"], sides=BackupSides.PRIMARY).generation
    before = sites.content("105a")
    sites.pvol.pwrite(_random(1), 0)
    with pytest.raises(RefusedError, match="which is DUPLEX") as caught:
        restore(sites.a, generation.generation_id, "105a", whole=True)
    assert "split the remote pair first" in str(caught.value.hint)
    assert sites.agent.log == []

    sites.remote().split()
    report = restore(sites.a, generation.generation_id, "105a", whole=True)
    assert (report.figure, report.written_bytes) == (6, MIB)
    assert sites.content("105a") == before
    sites.remote().resync(direction=Direction.FORWARD)
    sites.quiet()
    assert sites.content("105b") == before
    sites.check_at_rest()


def test_a_remote_pair_that_is_gone_isnt_taken_for_the_volume_itself(raw: Sites) -> None:
    generation = raw.take()
    before = raw.held(generation)
    raw.remote().dissolve()
    raw.spvol.pwrite(_random(1), 0)
    with pytest.raises(RefusedError, match="in no remote pair with it any more"):
        restore(raw.b, generation.generation_id, "105a", whole=True)
    report = restore(raw.b, generation.generation_id, "105b", whole=True)
    assert report.crossed_bytes == 0
    assert raw.content("105b") == before
    assert raw.agent.log[0] == ("stop", "105b")
    assert raw.leases() == []


def test_a_mirror_that_begins_to_follow_between_640_and_650_is_waited_for(raw: Sites) -> None:
    """The watch resumes what an unclean end has split, whenever it may."""
    generation = raw.take()
    before = raw.held(generation)
    sibling = raw.local("107b")
    sibling.split()
    for offset in range(0, SIZE, MIB):  # a copy rests between pieces of 4 MiB
        raw.pvol.pwrite(os.urandom(8192), offset)

    def follow() -> None:
        copies = raw.b.local_pairs.copies
        slow = CopyPace(rate=CopyRate(ceiling_bytes_s=1))
        job = copies.resync_forward(sibling.pair_id, lease=ANY_LEASE, pace=slow)
        assert job is not None
        assert sibling.status().status is PairStatus.COPY
        fast = CopyRate(ceiling_bytes_s=1 << 30)
        threading.Timer(0.3, lambda: setattr(job, "rate", fast)).start()  # 650 has met it by then

    held = generation.generation_id
    report = restore(raw.b, held, "105a", whole=True, progress=at_step(650, follow))
    assert report.figure == 6
    assert raw.content("105a") == raw.content("105b") == before
    assert sibling.status().status is PairStatus.SPLIT
    raw.check_at_rest()
