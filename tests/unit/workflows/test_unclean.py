"""Volumes that were mounted when a generation was taken, or weren't unmounted: with a journal."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from pyrep import PairStatus, browse, diff, dry_run_restore, history, restore, resume
from pyrep.errors import DamagedFileSystemError, WorkflowError
from pyrep.fs import ChangeKind
from unit.fs.images import Image
from unit.fs.journals import SUPER, Journal, Kind, Sums, replayed
from unit.workflows.sites import BoomError, Sites, at_step, boom

Build = Callable[..., Sites]

KIND = Kind(features=Sums.V3 | Sums.WIDE)
LOGGED = b"the journal has it" * 50


@pytest.fixture
def stopping(build: Build, image: bytes) -> Sites:
    """Return sites whose file system has an empty journal."""
    return build(content=image)


def _log_a_change(sites: Sites, *, is_damaged: bool = False) -> Journal:
    """Let 105a's host have committed a change of /docs/file0 to the journal, and no further."""
    path = sites.base / "patch.img"
    path.write_bytes(sites.pvol.pread(sites.pvol.size_bytes, 0))
    image = Image(path)
    target = int(image.ask("blocks /docs/file0").split()[0])
    journal = Journal(image, KIND)
    journal.transaction((target, LOGGED))
    if is_damaged:
        journal.put(2, b"another")
    _write_what_differs(sites, journal.save().path.read_bytes())
    return journal


def _write_what_differs(sites: Sites, wanted: bytes) -> None:
    """Mark no chunk that a host wouldn't have written."""
    held = sites.pvol.pread(len(wanted), 0)
    for at in range(0, len(wanted), 4096):
        if held[at : at + 4096] != wanted[at : at + 4096]:
            sites.pvol.pwrite(wanted[at : at + 4096], at)


def _expected() -> bytes:
    return LOGGED.ljust(1024, b"\0") + b"A" * (3000 - 1024)


def test_a_generation_is_recovered_in_its_view_alone(
    stopping: Sites, caplog: pytest.LogCaptureFixture
) -> None:
    sites = stopping
    caplog.set_level(logging.INFO, "pyrep.fs")
    _log_a_change(sites)
    generation = sites.take()
    held = sites.content("106b")
    assert held[SUPER + 96] & 4
    with browse(sites.b, generation.generation_id) as files:
        assert b"".join(files.cat("/docs/file0")) == _expected()
    assert "transactions=1 blocks=1 bytes=1024" in caplog.text
    assert sites.content("106b") == held
    sites.check_at_rest()


def test_a_change_that_only_the_journal_has_is_a_difference(stopping: Sites) -> None:
    sites = stopping
    first = sites.take().generation_id
    _log_a_change(sites)
    second = sites.take().generation_id
    changes = {one.path: one.change for one in diff(sites.b, first, second)}
    assert changes == {b"/docs/file0": ChangeKind.CONTENT, b"/docs/linked": ChangeKind.CONTENT}
    versions = history(sites.b, "105a", "/docs/file0")
    assert [one.content_changed for one in versions] == [None, True]
    sites.check_at_rest()


def test_files_of_an_unclean_generation_are_restored(stopping: Sites) -> None:
    sites = stopping
    clean = sites.pvol.pread(sites.pvol.size_bytes, 0)
    _log_a_change(sites)
    generation = sites.take().generation_id
    sites.pvol.pwrite(clean, 0)
    with sites.edit() as files:
        files.unlink(b"/docs/file0")
    estimate = dry_run_restore(sites.b, generation, "105a", ["/docs"])
    assert b"/docs/file0" in {change.path for change in estimate.changes}
    restore(sites.b, generation, "105a", ["/docs"])
    with sites.look() as files:
        assert files.read(b"/docs/file0") == _expected()
    sites.fsck()
    sites.check_at_rest()


def test_an_unclean_spvol_is_recovered_through_the_tracked_volume(stopping: Sites) -> None:
    """Its host went down: 530 brings the journal's changes to 105b, 550 to 105a."""
    sites = stopping
    generation = sites.take().generation_id
    journal = _log_a_change(sites)
    _, recovered = replayed(journal.image)
    estimate = dry_run_restore(sites.b, generation, "105a", ["/docs/file1"])
    assert (estimate.trouble, estimate.changes) == ("", ())
    assert sites.content("105b")[SUPER + 96] & 4
    report = restore(sites.b, generation, "105a", ["/docs/file1"])
    assert report.copied_bytes > 0
    assert sites.content("105a") == recovered
    assert sites.content("105b") == recovered
    sites.check_at_rest()
    assert sites.remote().status().status is PairStatus.DUPLEX


@pytest.mark.parametrize("step", [530, 540])
def test_a_restore_that_stopped_there_recovers_once(step: int, stopping: Sites) -> None:
    sites = stopping
    generation = sites.take().generation_id
    _, recovered = replayed(_log_a_change(sites).image)
    with pytest.raises((WorkflowError, BoomError)):
        restore(sites.b, generation, "105a", ["/docs/file1"], progress=at_step(step, boom))
    resume(sites.b, sites.workflow().workflow_id)
    assert sites.content("105a") == recovered
    sites.check_at_rest()


def test_a_damaged_journal_is_refused_and_nothing_was_stopped(stopping: Sites) -> None:
    sites = stopping
    clean = sites.pvol.pread(sites.pvol.size_bytes, 0)
    _log_a_change(sites, is_damaged=True)
    generation = sites.take().generation_id
    sites.pvol.pwrite(clean, 0)
    with pytest.raises(DamagedFileSystemError, match="recovery, which failed: journal: wrong"):
        restore(sites.b, generation, "105a", ["/docs"])
    assert sites.agent.log == []
    sites.check_at_rest()
