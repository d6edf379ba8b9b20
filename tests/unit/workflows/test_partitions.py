"""Files of one partition: what is around it stays as it is."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep import browse, changed_files, diff, dry_run_restore, history, pending_files, restore
from pyrep.errors import InvalidArgumentError, NotFoundError, RefusedError
from pyrep.fs import Access, ExtFileSystem, find_partition, open_partition
from unit.workflows.sites import MIB, SIZE, Sites

Build = Callable[..., Sites]
DISK = SIZE + 8 * MIB
_TOOL = shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin:/bin")


def _partitioned(path: Path, script: str) -> None:
    if _TOOL is None:
        pytest.skip("sfdisk is missing (Debian: fdisk)")
    subprocess.run([_TOOL, "-q", path], input=script, text=True, check=True, capture_output=True)


@pytest.fixture
def disks(build: Build, image: bytes, tmp_path: Path) -> Sites:
    """Return sites whose 105a has a GPT: raw bytes in partition 1, the file system in 2."""
    path = tmp_path / "disk"
    path.write_bytes(os.urandom(DISK))
    _partitioned(path, f"label: gpt\nsize=2M\nsize={SIZE // MIB}M\n")
    disk = bytearray(path.read_bytes())
    disk[3 * MIB : 3 * MIB + len(image)] = image
    return build(content=bytes(disk), size=DISK)


@contextlib.contextmanager
def _edit(sites: Sites) -> Iterator[ExtFileSystem]:
    with (
        sites.pvol.io() as io,
        open_partition(io, 2) as part,
        ExtFileSystem.open(part.address, access=Access.READ_WRITE, name="105a") as files,
    ):
        yield files


def test_files_of_a_partition_come_back_and_nothing_else_does(disks: Sites) -> None:
    generation = disks.take()
    with _edit(disks) as files:
        files.unlink(b"/docs/file2")
        files.write_difference(b"/docs/file3", b"changed")
    disks.pvol.pwrite(b"written to partition 1 since", MIB + 100)
    estimate = dry_run_restore(
        disks.b, generation.generation_id, "105a", ["/docs/file2"], partition=2
    )
    assert estimate.figure == 5
    assert [one.path for one in estimate.changes if one.path == b"/docs/file2"]
    report = restore(disks.b, generation.generation_id, "105a", ["/docs/file2"], partition=2)

    assert report.figure == 5
    with _edit(disks) as files:
        assert files.read(b"/docs/file2") == b"C" * 3002
        assert files.read(b"/docs/file3").startswith(b"changed")
    assert disks.pvol.pread(28, MIB + 100) == b"written to partition 1 since"
    assert disks.content("105a") == disks.content("105b")
    disks.check_at_rest()


def test_all_files_of_a_partition_are_still_no_whole_volume(disks: Sites) -> None:
    """610 would say Fig. 6, which would take the other partitions back in time as well."""
    generation = disks.take()
    with _edit(disks) as files:
        files.unlink(b"/docs/file2")
    disks.pvol.pwrite(b"since", MIB)
    report = restore(disks.b, generation.generation_id, "105a", ["/"], partition=2)
    assert (report.figure, "partition" in report.reason) == (5, True)
    assert disks.pvol.pread(5, MIB) == b"since"
    disks.check_at_rest()


def test_a_generations_partition_is_browsed(disks: Sites) -> None:
    first = disks.take()
    with _edit(disks) as files:
        files.write_difference(b"/docs/file1", b"changed")
    disks.pvol.pwrite(b"since", MIB)
    pair = disks.remote().pair_id
    second = disks.take()
    one, other = first.generation_id, second.generation_id
    with browse(disks.b, other, partition=2) as seen:
        assert b"".join(seen.cat("/docs/file1")).startswith(b"changed")
    assert {each.path for each in diff(disks.b, one, other, partition=2)} == {b"/docs/file1"}
    versions = history(disks.b, "105a", "/docs/file1", partition=2)
    assert [each.content_changed for each in versions] == [None, True]
    changed = changed_files(disks.b, other, one, partition=2)
    assert b"/docs/file1" in changed.paths
    assert pending_files(disks.a, pair, partition=2).paths == ()
    disks.check_at_rest()


def test_what_names_no_partition_is_refused_before_anything_is_touched(disks: Sites) -> None:
    generation = disks.take().generation_id
    with pytest.raises(NotFoundError, match="no partition 3") as caught:
        restore(disks.b, generation, "105a", ["/docs"], partition=3)
    assert caught.value.hint == "it has: 1, 2"
    with pytest.raises(InvalidArgumentError, match="all of its partitions"):
        restore(disks.b, generation, "105a", whole=True, partition=2)
    disks.check_at_rest()


def test_a_volume_that_was_partitioned_anew_takes_back_no_files(
    disks: Sites, tmp_path: Path
) -> None:
    generation = disks.take().generation_id
    path = tmp_path / "anew"
    path.write_bytes(bytes(DISK))
    _partitioned(path, "label: gpt\nsize=3M\nsize=8M\n")
    table = path.read_bytes()
    disks.pvol.pwrite(table[:MIB], 0)
    disks.pvol.pwrite(table[-34 * 512 :], DISK - 34 * 512)
    with disks.pvol.io() as io:
        assert find_partition(io, 2).offset == 4 * MIB
    with pytest.raises(RefusedError, match="partitioned anew"):
        restore(disks.b, generation, "105a", ["/docs/file2"], partition=2)
    disks.check_at_rest()
