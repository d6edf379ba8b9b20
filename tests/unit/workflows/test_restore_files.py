from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from pyrep import (
    BackupSides,
    PairStatus,
    abandon,
    backup,
    dry_run_restore,
    list_workflows,
    restore,
    resume,
)
from pyrep.errors import (
    BusyError,
    FencedError,
    HostAgentError,
    RefusedError,
    WorkflowError,
)
from pyrep.fs import Aspect
from pyrep.model import GenerationCause, WorkflowKind, WorkflowState
from unit.workflows.sites import MIB, WAIT_S, Sites, at_step

Build = Callable[..., Sites]


def _spoil(sites: Sites) -> None:
    """Do what a restore undoes: change, delete, add."""
    with sites.edit() as files:
        files.remove_tree(b"/docs/deep")
        files.unlink(b"/docs/file2")
        files.write_difference(b"/docs/file3", b"changed")
        files.unlink(b"/caf\xe9")
        files.create(b"/docs/later")
        files.write_difference(b"/docs/later", b"not in the generation")


def test_only_the_files_chosen_come_back(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    report = restore(sites.b, generation.generation_id, "105a", ["/docs/file2", "docs/deep"])

    assert report.figure == 5
    left = {(str(one), one.aspect) for one in sites.differences(generation)}
    paths = {one.path for one in sites.differences(generation)}
    assert b"/docs/file2" not in paths
    assert b"/docs/deep/note" not in paths
    assert {b"/docs/file3", b"/caf\xe9", b"/docs/later"} <= paths, left
    assert sites.content("105a") == sites.content("105b")
    sites.fsck()
    sites.check_at_rest()


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("volume", ["105a", "105b"])
def test_a_restore_can_be_asked_at_either_side_by_either_name(
    sites: Sites, side: str, volume: str
) -> None:
    generation = sites.take()
    _spoil(sites)
    system = sites.a if side == "a" else sites.b
    report = restore(system, generation.generation_id, volume, ["/docs/file3"])
    assert (report.figure, sites.remote().status().status) == (5, PairStatus.DUPLEX)
    with sites.look() as files:
        assert files.read(b"/docs/file3") == b"D" * 3003
    sites.check_at_rest()


@pytest.mark.parametrize(
    ("paths", "back"),
    [
        (["/docs/file?"], {b"/docs/file2", b"/docs/file3"}),
        (["**/note"], {b"/docs/deep/note"}),
        ([b"/caf\xe9"], {b"/caf\xe9"}),
        (["/docs"], {b"/docs/file2", b"/docs/file3", b"/docs/deep/note"}),
    ],
)
def test_patterns_directories_and_names_that_arent_utf8(
    sites: Sites, paths: list[str | bytes], back: set[bytes]
) -> None:
    generation = sites.take()
    _spoil(sites)
    spoilt = {one.path for one in sites.differences(generation)}
    restore(sites.b, generation.generation_id, "105a", paths)
    left = {one.path for one in sites.differences(generation)}
    assert back <= spoilt
    assert not back & left
    assert b"/docs/later" in left
    sites.fsck()


def test_hard_links_come_back_as_one_file(sites: Sites) -> None:
    generation = sites.take()
    with sites.edit() as files:
        files.unlink(b"/docs/linked")
        files.create(b"/docs/linked")
    restore(sites.b, generation.generation_id, "105a", ["/docs/file0", "/docs/linked"])
    with sites.look() as files:
        assert files.stat(b"/docs/linked").inode == files.stat(b"/docs/file0").inode
        assert files.stat(b"/docs/linked").nlink == 2
    sites.fsck()


@pytest.mark.parametrize("delete_extra", [False, True])
def test_what_the_generation_lacks_is_removed_only_on_request(
    sites: Sites, delete_extra: bool
) -> None:
    generation = sites.take()
    _spoil(sites)
    restore(sites.b, generation.generation_id, "105a", ["/docs"], delete_extra=delete_extra)
    extra = [one for one in sites.differences(generation) if one.aspect is Aspect.EXTRA]
    assert [one.path for one in extra] == ([] if delete_extra else [b"/docs/later"])
    sites.fsck()


def test_steps_hosts_and_fences_are_in_the_order_of_fig_5(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    steps: dict[int | None, tuple[list[str], bool, bool, PairStatus]] = {}
    pair = sites.remote()

    def progress(now: object) -> None:
        step = getattr(now, "step", None)
        if step not in steps:
            steps[step] = (
                list(sites.agent.asked),
                sites.is_fenced("105a"),
                sites.is_fenced("105b"),
                pair.status().status,
            )
            assert list_workflows(sites.b)[-1].step == step

    restore(sites.b, generation.generation_id, "105a", ["/docs"], progress=progress)
    stopped, up = ["stop", "unmount"], ["stop", "unmount", "mount", "recover", "start"]
    assert steps == {
        500: ([], False, True, PairStatus.DUPLEX),
        510: ([], False, True, PairStatus.DUPLEX),
        520: (stopped, True, True, PairStatus.DUPLEX),
        530: (stopped, True, True, PairStatus.SPLIT),
        540: (stopped, True, True, PairStatus.SPLIT),
        550: (stopped, True, True, PairStatus.SPLIT),
        560: (stopped, True, True, PairStatus.DUPLEX),
    }
    assert sites.agent.log == [(what, "105a") for what in up]
    assert not sites.is_fenced("105a")
    here, there = list_workflows(sites.b)[-1], list_workflows(sites.a)[-1]
    assert here.workflow_id == there.workflow_id
    assert (here.kind, here.state) == (WorkflowKind.RESTORE_FILES, WorkflowState.DONE)
    assert there.state is WorkflowState.DONE


def test_the_hosts_io_is_refused_while_the_workflow_writes(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)

    def host() -> None:
        with pytest.raises(FencedError):
            sites.pvol.pwrite(b"host", 0)
        with pytest.raises(FencedError):
            sites.spvol.pwrite(b"host", 0)

    for step in (520, 530, 550):
        restore(
            sites.b, generation.generation_id, "105a", ["/docs/file3"], progress=at_step(step, host)
        )
    assert b"/docs/file3" not in {one.path for one in sites.differences(generation)}


def test_the_generation_is_pinned_while_it_is_read(sites: Sites) -> None:
    generation = sites.take()
    pins: list[tuple[str, ...]] = []
    restore(
        sites.b,
        generation.generation_id,
        "105a",
        ["/docs"],
        progress=at_step(
            520, lambda: pins.append(sites.b.generation(generation.generation_id).pins)
        ),
    )
    (workflow,) = (one.workflow_id for one in list_workflows(sites.b))
    assert pins == [(f"workflow-{workflow}",)]
    sites.check_at_rest()


def test_only_what_differs_is_written_and_crosses(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    estimate = dry_run_restore(sites.b, generation.generation_id, "105a", ["/docs/file3"])
    before = sites.path.frame_bytes
    report = restore(sites.b, generation.generation_id, "105a", ["/docs/file3"])
    assert report.changed_paths == len(estimate.changes) == 1
    assert (report.written_bytes, report.copied_bytes) == (
        estimate.write_bytes,
        estimate.cross_bytes,
    )
    assert 0 < report.copied_bytes <= 64 * 1024
    assert report.crossed_bytes <= sites.path.frame_bytes - before


def test_a_dry_run_changes_nothing_at_either_side(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    sites.quiet()
    before = [sites.content(name) for name in ("105a", "105b", "106b", "107b")]
    rows = [sites.a.table(), sites.b.table()]
    here = dry_run_restore(sites.b, generation.generation_id, "105a", ["/docs", b"/caf\xe9"])
    there = dry_run_restore(sites.a, generation.generation_id, "105a", ["/docs", b"/caf\xe9"])
    assert here == there
    assert (here.figure, here.is_provisional, here.trouble) == (5, True, "")
    assert {b"/caf\xe9", b"/docs/file2"} <= {one.path for one in here.changes}
    assert [sites.content(name) for name in ("105a", "105b", "106b", "107b")] == before
    assert [sites.a.table(), sites.b.table()] == rows
    assert sites.agent.log == []
    assert len(list_workflows(sites.b)) == 0
    sites.check_at_rest()


def test_a_source_that_is_still_duplex_is_split_first_as_a_generation(sites: Sites) -> None:
    """The last paragraph of Fig. 5 in the architecture; the SVOL is named in place of an id."""
    report = restore(sites.b, "106b", "105a", ["/docs/file1"])
    made = sites.generation("before a restore")
    assert report.figure == 5
    assert (made.is_complete, made.members[0].svol) == (True, "106b")
    again = restore(sites.b, "106b", "105a", ["/docs/file1"])
    assert again.changed_paths == 0
    sites.check_at_rest()


# --- 510, 520 ------------------------------------------------------------------------------------


def test_records_queued_behind_a_stalled_peer_are_drained_first(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    written = threading.Event()
    data = b"acknowledged late" * 100

    def write() -> None:
        with sites.edit() as files:
            files.write_difference(b"/big", data)
        written.set()

    sites.path.stall()
    writer = threading.Thread(target=write)
    peer = sites.a.state.peer(sites.b.system_id)
    outlet = peer.known_outlet(sites.remote().group_id)  # type: ignore[arg-type]
    assert outlet is not None
    last = outlet.stream.info().last
    writer.start()
    waiting = threading.Event()
    while outlet.stream.info().last == last:
        waiting.wait(0.001)

    def let_go() -> None:
        sites.path.resume()
        writer.join(WAIT_S)

    sites.agent.then["stop"] = let_go
    restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert written.is_set()
    with sites.look() as files:
        assert files.read(b"/big")[: len(data)] == data  # not back in time
        assert files.read(b"/docs/file3") == b"D" * 3003
    sites.fsck()
    sites.check_at_rest()


def test_pending_chunks_of_105a_refuse_a_restore_of_files_and_name_the_choices(
    sites: Sites,
) -> None:
    generation = sites.take()
    sites.remote().split()
    sites.pvol.pwrite(b"not yet there", 4 * MIB)
    with pytest.raises(RefusedError, match="is SPLIT with 1 chunks pending") as caught:
        restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert "resync the pair forward" in str(caught.value.hint)
    assert "whole=True" in str(caught.value.hint)
    assert "bytes" in str(caught.value) or "files" in str(caught.value)
    assert sites.agent.log == []
    assert sites.remote().status().status is PairStatus.SPLIT
    sites.check_at_rest()


def test_files_with_pending_chunks_are_named_and_go_back_in_time_only_by_name(
    sites: Sites,
) -> None:
    generation = sites.take()
    with sites.edit() as files:
        files.write_difference(b"/docs/file1", b"gone, too")
    sites.remote().split()
    with sites.edit() as files:
        files.write_difference(b"/big", b"written after the split")
    with pytest.raises(RefusedError, match=r"go back in time: files .*/big") as caught:
        restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert "discard_pending=True" in str(caught.value.hint)
    restore(sites.b, generation.generation_id, "105a", ["/docs"], discard_pending=True)
    with sites.look() as files:
        assert files.read(b"/big")[:10] == bytes(range(10))
        assert files.read(b"/docs/file1") == b"B" * 3001
    assert sites.content("105a") == sites.content("105b")
    assert sites.remote().status().status is PairStatus.DUPLEX
    sites.fsck()
    sites.check_at_rest()


def test_a_write_between_500_and_510_is_drained_not_refused(sites: Sites) -> None:
    generation = sites.take()
    sites.agent.then["stop"] = lambda: sites.pvol.pwrite(b"last words", 4 * MIB)
    restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert sites.content("105a")[4 * MIB :][:10] == b"last words"
    assert sites.content("105a") == sites.content("105b")


def test_a_pair_split_for_good_at_510_refuses_with_the_host_running_again(sites: Sites) -> None:
    """Whoever had the lease's id splits the pair; what the host then writes is pending."""
    generation = sites.take()

    def interfere() -> None:
        workflow = list_workflows(sites.b)[-1].workflow_id
        sites.remote().split(lease=workflow)
        sites.pvol.pwrite(b"pending", 4 * MIB)

    sites.agent.then["stop"] = interfere
    with pytest.raises(RefusedError, match="1 chunks pending"):
        restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert sites.agent.asked == ["stop", "unmount", "mount", "recover", "start"]
    assert list_workflows(sites.b)[-1].state is WorkflowState.ABANDONED
    assert sites.content("105a")[4 * MIB :][:7] == b"pending"
    now = sites.remote().status()  # the choice is the user's: nothing was copied either way
    assert (now.status, now.pending_count) == (PairStatus.SPLIT, 1)
    sites.check_at_rest()


def test_a_path_lost_for_a_moment_is_made_up_for_before_520(sites: Sites) -> None:
    generation = sites.take()

    def lose() -> None:
        sites.path.cut()
        sites.pvol.pwrite(b"while it was down", 4 * MIB)
        sites.path.connect()

    restore(sites.b, generation.generation_id, "105a", ["/docs"], progress=at_step(510, lose))
    assert sites.content("105a")[4 * MIB :][:17] == b"while it was down"
    assert sites.content("105a") == sites.content("105b")
    sites.check_at_rest()


def test_a_split_pair_with_nothing_pending_restores_and_ends_duplex(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    sites.remote().split()
    estimate = dry_run_restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert not estimate.is_provisional
    report = restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert report.copied_bytes == estimate.cross_bytes
    assert sites.remote().status().status is PairStatus.DUPLEX
    sites.check_at_rest()


# --- neighbours ----------------------------------------------------------------------------------


def test_duplex_mirrors_of_105a_are_split_before_550_as_a_generation(
    build: Build, image: bytes
) -> None:
    sites = build(content=image, own=1)
    generation = sites.take()
    _spoil(sites)
    before = sites.content("105a")
    restore(sites.b, generation.generation_id, "105a", ["/docs"])
    kept = [one for one in sites.a.list_generations() if one.cause is GenerationCause.PROTECT]
    assert [one.members[0].svol for one in kept] == ["106a"]
    assert kept[0].is_complete
    assert sites.content("106a") == before
    sites.check_at_rest()


def test_a_generation_of_the_primarys_own_mirror_is_restored_there(
    build: Build, image: bytes
) -> None:
    """The volume is no SPVOL: files are written to it, and the remote mirror just follows."""
    sites = build(content=image, own=1)
    generation = backup(sites.a, ["105a"], sides=BackupSides.PRIMARY).generation
    _spoil(sites)
    report = restore(sites.a, generation.generation_id, "105a", ["/docs", "/caf*"])
    assert report.figure == 5
    with sites.look() as files:
        assert files.read(b"/docs/file3") == b"D" * 3003
    sites.quiet()
    assert sites.content("105a") == sites.content("105b")
    assert sites.agent.asked == ["stop", "unmount", "mount", "recover", "start"]
    sites.fsck()
    sites.check_at_rest()


def test_a_failing_agent_stops_the_workflow_and_says_what_to_do(sites: Sites) -> None:
    generation = sites.take()
    _spoil(sites)
    sites.agent.fails = "mount"
    with pytest.raises(WorkflowError, match=r"at step 560.*the host can't mount") as caught:
        restore(sites.b, generation.generation_id, "105a", ["/docs"])
    assert isinstance(caught.value.__cause__, HostAgentError)
    workflow = sites.workflow().workflow_id
    assert f"resume(system, {workflow!r})" in str(caught.value.hint)
    assert "at system 100b" in str(caught.value.hint)
    with pytest.raises(RefusedError, match="is being written"):
        abandon(sites.b, workflow)
    sites.agent.fails = ""
    resume(sites.b, workflow)
    assert sites.agent.asked[-3:] == ["mount", "recover", "start"]
    sites.check_at_rest()


def test_manual_commands_and_other_workflows_are_told_who_holds_the_volumes(sites: Sites) -> None:
    generation = sites.take()

    def others() -> None:
        workflow = list_workflows(sites.b)[-1].workflow_id
        for busy in (
            lambda: sites.remote().split(),
            lambda: sites.remote().resync(),
            lambda: sites.local("106b").resync(),
            lambda: sites.local("107b").split(),
            lambda: backup(sites.a, ["105a"]),
            lambda: restore(sites.b, generation.generation_id, "105a", ["/big"]),
        ):
            with pytest.raises(BusyError, match=workflow) as caught:
                busy()
            assert "resume or abandon" in str(caught.value.hint)

    restore(sites.b, generation.generation_id, "105a", ["/docs"], progress=at_step(530, others))
    sites.check_at_rest()
