"""What a restore can't do is refused at once: nothing is stopped, split or written for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial

import pytest

from pyrep import (
    PairStatus,
    StorageSystem,
    abandon,
    backup,
    dry_run_restore,
    list_workflows,
    restore,
    resume,
)
from pyrep.engine import connect
from pyrep.errors import (
    DamagedFileSystemError,
    InvalidArgumentError,
    NeedsRecoveryError,
    NoSpaceError,
    NotExtError,
    NotFoundError,
    PathNotInFileSystemError,
    PyrepError,
    RefusedError,
    WorkflowError,
)
from pyrep.model import GenerationState
from unit.workflows.sites import MIB, Sites

Build = Callable[..., Sites]


@pytest.fixture
def sites(sites: Sites) -> Generator[Sites]:
    """Return sites, and check at the end that no application was stopped and nothing is left."""
    yield sites
    assert sites.agent.log == []
    assert sites.remote().status().status is PairStatus.DUPLEX
    sites.check_at_rest()


@pytest.fixture
def stopping(build: Build, image: bytes) -> Sites:
    """Return sites whose application is stopped."""
    return build(content=image)


def _refused(kind: type[PyrepError], match: str, do: Callable[[], object]) -> str:
    with pytest.raises(kind, match=match) as caught:
        do()
    assert not isinstance(caught.value, WorkflowError)
    return str(caught.value.hint)


def test_unknown_generations_volumes_and_workflows_are_named(sites: Sites) -> None:
    generation = sites.take()
    for ask in (restore, dry_run_restore):
        hint = _refused(NotFoundError, "gnone", partial(ask, sites.b, "gnone", "105a", ["/"]))
        assert generation.generation_id in hint
        hint = _refused(
            NotFoundError,
            "no volume 999a",
            partial(ask, sites.b, generation.generation_id, "999a", ["/"]),
        )
        assert "105b" in hint
    for take_up in (resume, abandon):
        hint = _refused(NotFoundError, "wnone", partial(take_up, sites.b, "wnone"))
        assert "workflow" in hint


def test_files_or_the_whole_volume_must_be_named_not_both(sites: Sites) -> None:
    generation = sites.take().generation_id
    _refused(InvalidArgumentError, "not both", lambda: restore(sites.b, generation, "105a"))
    _refused(
        InvalidArgumentError,
        "not both",
        lambda: restore(sites.b, generation, "105a", ["/docs"], whole=True),
    )


@pytest.mark.parametrize(
    ("path", "kind", "match"),
    [
        ("/none", PathNotInFileSystemError, "/none matches nothing"),
        ("/docs/none*", PathNotInFileSystemError, "matches nothing"),
        ("/docs/../big", InvalidArgumentError, r"\.\."),
        ("../etc/passwd", InvalidArgumentError, r"\.\."),
        ("/link/anything", PathNotInFileSystemError, "symbolic link"),
        ("/out/passwd", PathNotInFileSystemError, "symbolic link to /etc"),
    ],
)
def test_paths_that_arent_in_the_generation(
    sites: Sites, path: str, kind: type[PyrepError], match: str
) -> None:
    with sites.edit() as files:
        files.symlink(b"/out", b"/etc")
    generation = sites.take().generation_id
    for system in (sites.a, sites.b):
        for ask in (restore, dry_run_restore):
            _refused(kind, match, partial(ask, system, generation, "105a", ["/big", path]))
    assert len(list_workflows(sites.b)) == 0


def test_a_path_that_is_only_in_the_live_volume(sites: Sites) -> None:
    generation = sites.take().generation_id
    with sites.edit() as files:
        files.create(b"/later")
    _refused(
        PathNotInFileSystemError, "/later", lambda: restore(sites.b, generation, "105a", ["/later"])
    )


def test_no_room_in_the_target_is_found_before_anything_is_stopped(sites: Sites) -> None:
    generation = sites.take().generation_id
    with sites.edit() as files:
        files.unlink(b"/big")
        files.create(b"/fills")
        free = files.free_blocks * files.info.block_bytes
        for offset in range(0, free - 200_000, MIB):
            data = b"\xff" * min(MIB, free - 200_000 - offset)
            files.write_difference(b"/fills", data, offset=offset)
    before = sites.content("105b")
    _refused(NoSpaceError, "105b", lambda: restore(sites.b, generation, "105a", ["/big"]))
    assert sites.content("105b") == before


def test_a_volume_without_a_file_system_has_no_files_to_restore(build: Build) -> None:
    raw = build()
    generation = raw.take().generation_id
    _refused(NotExtError, "generation", lambda: restore(raw.b, generation, "105a", ["/docs"]))
    assert raw.agent.log == []
    restore(raw.b, generation, "105a", whole=True)
    raw.check_at_rest()


def test_a_damaged_generation_is_refused(sites: Sites) -> None:
    good = sites.pvol.pread(4096, 0)
    sites.pvol.pwrite(b"\xff" * 512, 2048)  # group descriptors
    generation = sites.take().generation_id
    sites.pvol.pwrite(good, 0)
    _refused(
        DamagedFileSystemError, "generation", lambda: restore(sites.b, generation, "105a", ["/big"])
    )


def _mark_unclean(sites: Sites, *, flag: bool, is_external: bool = True) -> None:
    """Set needs_recovery as a kernel that has it mounted does, with a journal on another device."""
    sites.pvol.flush()
    path = sites.base / "patch.img"
    path.write_bytes(sites.pvol.pread(sites.pvol.size_bytes, 0))
    commands = [f"feature {'' if flag else '^'}needs_recovery"]
    if is_external:
        commands += [f"ssv journal_inum {0 if flag else 8}", f"ssv journal_dev {int(flag)}"]
    subprocess.run(
        ["/sbin/debugfs", "-w", "-f", "-", str(path)],
        check=True,
        capture_output=True,
        input="\n".join(commands).encode(),
    )
    sites.pvol.pwrite(path.read_bytes()[:8192], 0)


def test_a_generation_that_cant_be_recovered_is_refused_by_name(sites: Sites) -> None:
    _mark_unclean(sites, flag=True)
    generation = sites.take().generation_id
    _mark_unclean(sites, flag=False)
    with pytest.raises(NeedsRecoveryError, match="external journal"):
        restore(sites.b, generation, "105a", ["/big"])
    _refused(
        NeedsRecoveryError, "generation", lambda: restore(sites.b, generation, "105a", ["/big"])
    )


def test_an_spvol_that_cant_be_recovered_behind_520_stops_at_530_and_can_be_abandoned(
    stopping: Sites,
) -> None:
    """If the host left it so, nothing is written to it."""
    generation = stopping.take().generation_id
    _mark_unclean(stopping, flag=True)
    estimate = dry_run_restore(stopping.b, generation, "105a", ["/big"])
    assert "recover" in estimate.trouble
    before = stopping.content("105b")
    with pytest.raises(WorkflowError) as caught:
        restore(stopping.b, generation, "105a", ["/big"])
    assert (caught.value.step, type(caught.value.__cause__)) == (530, NeedsRecoveryError)
    assert stopping.content("105b") == before
    abandon(stopping.b, stopping.workflow().workflow_id)
    stopping.check_at_rest()


def test_a_live_volume_that_its_unmounting_cleans_is_restored(stopping: Sites) -> None:
    generation = stopping.take()
    _mark_unclean(stopping, flag=True)
    stopping.agent.then["unmount"] = lambda: _mark_unclean(stopping, flag=False)
    restore(stopping.b, generation.generation_id, "105a", ["/big"])
    assert stopping.differences(generation) == []


@pytest.mark.parametrize(
    "state",
    [
        GenerationState.TAKING,
        GenerationState.UNCONFIRMED,
        GenerationState.FAILED,
        GenerationState.GIVEN_UP,
    ],
)
def test_only_a_complete_generation_is_restored(sites: Sites, state: GenerationState) -> None:
    generation = sites.take()
    sites.b.generations.change(generation.generation_id, state=state)
    for ask in (restore, dry_run_restore):
        hint = _refused(
            RefusedError,
            f"it is {state}",
            partial(ask, sites.b, generation.generation_id, "105a", ["/big"]),
        )
        assert "complete" in hint


def test_a_local_pair_dissolved_has_given_its_generation_up(sites: Sites) -> None:
    generation = sites.take()
    sites.local("106b").dissolve()
    _refused(
        RefusedError,
        "it is given_up",
        lambda: restore(sites.b, generation.generation_id, "105a", ["/big"]),
    )


def test_a_generation_of_a_system_without_a_path_is_named(sites: Sites) -> None:
    """Its row was heard of here, but its home isn't connected."""
    generation = replace(sites.take(), generation_id="gforeign", home="100c")  # type: ignore[arg-type]
    sites.a.state.catalogue.add(generation)
    hint = _refused(
        NotFoundError, "no path to system 100c", lambda: restore(sites.a, "gforeign", "105a", ["/"])
    )
    assert "connect" in hint
    sites.b.state.catalogue.add(replace(generation, home="100b"))  # type: ignore[arg-type]


def test_a_third_system_can_ask_and_is_refused_what_isnt_its_own(
    build: Build, image: bytes
) -> None:
    """100c has pairs with 100b, too: each restores its own volumes from there."""
    sites = build(content=image)
    with StorageSystem.create(sites.base / "c", "100c") as third:
        third.create_volume("305c", sites.pvol.size_bytes)
        sites.b.create_volume("305b", sites.pvol.size_bytes)
        sites.b.create_volume("306b", sites.pvol.size_bytes)
        connect(third, sites.b)
        third.volume("305c").pwrite(b"third", 0)
        third.create_remote_pair("305c", "100b", "305b").wait(timeout_s=30)
        sites.b.create_local_pair("305b", "306b").wait(timeout_s=30)
        theirs = backup(third, ["305c"]).generation
        ours = sites.take()
        _refused(
            NotFoundError,
            ours.generation_id,
            lambda: restore(third, ours.generation_id, "105a", whole=True),
        )
        third.volume("305c").pwrite(b"other", 0)
        assert restore(third, theirs.generation_id, "305c", whole=True).figure == 6
        assert third.volume("305c").pread(5, 0) == b"third"
    sites.check_at_rest()


def test_one_path_without_a_list_is_refused_and_not_taken_for_all_files(sites: Sites) -> None:
    generation = sites.take()
    for ask in (restore, dry_run_restore):
        for path in ("/a", b"/a", ""):
            do = partial(ask, sites.b, generation.generation_id, "105a", path)  # type: ignore[arg-type]
            assert (
                _refused(InvalidArgumentError, "paths are named as a list", do)
                == f"a list: [{path!r}]"
            )


def test_backups_that_cannot_be_are_refused_before_a_generation_is_given_up(sites: Sites) -> None:
    kept = sites.take()
    _refused(InvalidArgumentError, "volumes are named as a list", partial(backup, sites.a, "105a"))
    _refused(InvalidArgumentError, "twice", partial(backup, sites.a, ["105a", "105a"]))
    for hold_max_ms in (0, -1, float("nan")):
        ask = partial(backup, sites.a, ["105a"], hold_max_ms=hold_max_ms)
        _refused(InvalidArgumentError, "at most", ask)
    assert sites.b.list_generations() == (kept,)
