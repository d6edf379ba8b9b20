from __future__ import annotations

from collections.abc import Callable

import pytest

from pyrep import backup, browse, changed_files, diff, history, pending_files
from pyrep.errors import InvalidArgumentError, NotFoundError, RefusedError
from pyrep.fs import ChangeKind
from pyrep.fs.ext_delta import Delta
from unit.workflows.sites import Sites

Build = Callable[..., Sites]


def test_a_generation_is_browsed_and_pinned_meanwhile(sites: Sites) -> None:
    generation = sites.take()
    with sites.edit() as files:
        files.unlink(b"/docs/file0")
    held = sites.held(generation)
    with browse(sites.b, generation.generation_id) as files:
        assert sites.pins()
        assert b"/docs/file0" in {stat.path for stat in files.ls("/docs")}
        assert b"".join(files.cat("/docs/file0")) == b"A" * 3000
        assert {stat.path for stat in files.find(b"/caf*")} == {b"/caf\xe9"}
    assert sites.held(generation) == held
    sites.check_at_rest()


def test_a_generation_is_browsed_where_it_is_held(sites: Sites) -> None:
    generation = sites.take()
    with (
        pytest.raises((RefusedError, NotFoundError)),
        browse(sites.a, generation.generation_id),
    ):
        pass
    with (
        pytest.raises(NotFoundError, match="no volume 777"),
        browse(sites.b, generation.generation_id, "777"),
    ):
        pass


def test_of_several_volumes_one_has_to_be_named(build: Build) -> None:
    sites = build(numbers=("105", "205"), svols=1)
    generation = backup(sites.a, ["105a", "205a"]).generation
    with (
        pytest.raises(InvalidArgumentError, match="several volumes"),
        browse(sites.b, generation.generation_id),
    ):
        pass


def test_the_history_of_a_volume_that_nobody_has_is_refused(sites: Sites) -> None:
    with pytest.raises(NotFoundError, match="999z"):
        history(sites.b, "999z", "/a")


def test_a_path_has_its_history(sites: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sites.take()
    with sites.edit() as files:
        files.write_difference(b"/docs/file1", b"changed")
        files.create(b"/later")
    second = sites.take()
    versions = history(sites.b, "105a", "/docs/file1")
    assert [one.generation_id for one in versions] == [first.generation_id, second.generation_id]
    assert [one.content_changed for one in versions] == [None, True]
    assert [one.is_present for one in history(sites.b, "105b", b"later")] == [False, True]
    # What didn't change isn't read to say so: the marks tell.
    monkeypatch.setattr(Delta, "compare", None)
    assert [one.content_changed for one in history(sites.b, "105b", "/big")] == [None, False]
    sites.check_at_rest()


def test_two_generations_differ_in_what_changed_between_them(sites: Sites) -> None:
    first = sites.take()
    with sites.edit() as files:
        files.write_difference(b"/docs/file1", b"changed")
        files.unlink(b"/docs/file2")
        files.create(b"/later")
    second = sites.take()
    found = {
        one.path: one.change for one in diff(sites.b, first.generation_id, second.generation_id)
    }
    assert found.pop(b"/docs") is ChangeKind.ATTRIBUTES  # its time
    assert found == {
        b"/docs/file1": ChangeKind.CONTENT,
        b"/docs/file2": ChangeKind.REMOVE,
        b"/later": ChangeKind.CREATE,
    }
    names = changed_files(sites.b, second.generation_id, first.generation_id)
    assert b"/docs/file1" in names.files  # a chunk holds several small files
    assert b"/later" not in names.files
    assert b"/docs" in names.directories
    assert names.free_bytes > 0
    sites.check_at_rest()


def test_pending_chunks_have_names(sites: Sites) -> None:
    sites.take()
    with sites.edit() as files:
        files.write_difference(b"/docs/file4", b"changed")
    sites.quiet()
    split = next(one for one in sites.b.pairs() if not one.row.is_remote and one.pending_extents())
    found = pending_files(sites.b, split.pair_id)
    assert found.is_estimate
    assert b"/docs/file4" in found.files
    sites.check_at_rest()
