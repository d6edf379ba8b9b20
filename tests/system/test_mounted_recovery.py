"""File systems copied while the kernel has them mounted: recovered as e2fsck recovers them."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest

from pyrep import browse, dry_run_restore, restore
from pyrep._core import FileIo, JournalRefusal, replay_journal
from pyrep.errors import NeedsRecoveryError
from pyrep.fs import Access, ExtFileSystem, recover
from pyrep.model import VolumeId
from system.mounting import Writer, mounted
from unit.fs.images import MIB, Image, ImageMaker
from unit.fs.journals import (
    MAGIC,
    NEEDS_RECOVERY,
    SUPER,
    blocks_of_journal,
    check_as_e2fsck,
    replayed,
)
from unit.workflows.sites import Sites

LAST_ORPHAN = 232

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")

KINDS = {
    "ordered": ("ext4", ("-b", "4096", "-J", "size=4"), "data=ordered"),
    "all-data": ("ext4", ("-b", "1024", "-J", "size=1"), "data=journal"),
    "ext3": ("ext3", ("-b", "1024", "-J", "size=1"), "data=ordered"),
    "ext3-all-data": ("ext3", ("-b", "4096", "-J", "size=4"), "data=journal"),
    "v1": (
        "ext4",
        ("-b", "1024", "-J", "size=1", "-O", "^metadata_csum,^64bit"),
        "journal_checksum",
    ),
    "v1-async": (
        "ext4",
        ("-b", "4096", "-J", "size=4", "-O", "^metadata_csum,64bit"),
        "journal_async_commit,data=writeback",
    ),
    "v3-async": (
        "ext4",
        ("-b", "1024", "-J", "size=1", "-O", "^64bit"),
        "journal_async_commit,data=writeback",
    ),
    "wide-all-data": (
        "ext4",
        ("-b", "1024", "-J", "size=1", "-O", "^metadata_csum,64bit"),
        "data=journal",
    ),
}


@pytest.fixture
def directory(tmp_path: Path) -> Generator[Path]:
    """Return a directory in memory, where durable costs nothing."""
    memory = Path("/dev/shm")  # noqa: S108
    if not os.access(memory, os.W_OK) or shutil.disk_usage(memory).free < 512 * MIB:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def _goes_round(image: Image, block_bytes: int) -> bool:
    """Whether the log's first block is newer than its start: it was written in its next round."""
    content = image.path.read_bytes()
    blocks = blocks_of_journal(image)
    start = struct.unpack_from(">I", content, blocks[0] * block_bytes + 28)[0]
    oldest = struct.unpack_from(">I", content, blocks[0] * block_bytes + 24)[0]
    for log_block in range(1, start):
        magic, _, sequence = struct.unpack_from(">III", content, blocks[log_block] * block_bytes)
        if magic == MAGIC and sequence >= oldest:
            return True
    return False


def _check_files(image: Image, writer: Writer) -> None:
    with (
        FileIo(image.path) as io,
        ExtFileSystem.open(io.address, access=Access.READ_ONLY, name="image") as files,
    ):
        for name, data in writer.durable.items():
            assert files.read(f"/{name}") == data, name
        assert not {os.fsdecode(stat.path[1:]) for stat in files.list("/")} & writer.gone


@pytest.mark.parametrize("kind", KINDS)
def test_a_mounted_file_system_is_recovered_as_e2fsck_does(kind: str, directory: Path) -> None:
    type_, options, mount_options = KINDS[kind]
    block_bytes = int(options[1])
    image = ImageMaker(directory).make(type_, options, size_bytes=24 * MIB)
    revoked, round_trips = 0, 0
    copy, content = image, b""
    with mounted(image, directory / "mnt", mount_options) as root:
        writer = Writer(root, block_bytes)
        for _ in range(20):
            writer.work()
            copy = image.copy("copy")
            report, content = check_as_e2fsck(copy)
            assert report.recovered
            revoked += report.revoked
            round_trips += _goes_round(copy, block_bytes)
            if round_trips and (revoked or "all-data" in kind):
                break
    copy.path.write_bytes(content)
    copy.check()
    _check_files(copy, writer)
    assert round_trips
    assert revoked or "all-data" in kind


def test_fast_commits_are_refused_until_a_whole_commit_has_them(directory: Path) -> None:
    image = ImageMaker(directory).make(
        "ext4", ("-b", "1024", "-J", "size=2", "-O", "fast_commit"), size_bytes=24 * MIB
    )
    with mounted(image, directory / "mnt", "data=ordered") as root:
        writer = Writer(root, 1024)
        writer.work()
        (root / "later").write_bytes(b"later")
        handle = os.open(root / "later", os.O_RDONLY)
        os.fsync(handle)
        copy = image.copy("fast")
        os.close(handle)
        os.sync()  # a whole commit
        whole = image.copy("whole")
    with FileIo(copy.path) as io:
        if replay_journal(io).refusal is not JournalRefusal.UNSUPPORTED:
            pytest.skip("this kernel makes no fast commit of an fsync")
        with pytest.raises(NeedsRecoveryError, match="fast_commit"):
            recover(io, "copy")
    report, content = replayed(whole)
    assert report.recovered
    whole.path.write_bytes(content)
    whole.check()
    _check_files(whole, writer)


def test_files_of_a_generation_of_a_mounted_volume_are_restored(directory: Path) -> None:
    image = ImageMaker(directory).make(size_bytes=16 * MIB)
    sites = Sites(directory, size=16 * MIB)
    try:
        with mounted(image, directory / "mnt", "data=ordered") as root:
            writer = Writer(root, 1024)
            writer.work()
            deleted = (root / "deleted").open("wb")  # on the list of orphans from here on
            deleted.write(b"x" * 10000)
            (root / "deleted").unlink()
            (root / "synced").write_bytes(b"synced")
            os.sync()
            sites.pvol.pwrite(image.path.read_bytes(), 0)
            deleted.close()
        generation = sites.take().generation_id
        assert sites.content("106b")[SUPER + 96] & NEEDS_RECOVERY
        with sites.b.generations.view(generation, VolumeId("105b")) as view:
            assert recover(view, "view") is not None
            assert any(view.pread(4, SUPER + LAST_ORPHAN))
        with browse(sites.b, generation) as files:
            for name, data in writer.durable.items():
                assert b"".join(files.cat(f"/{name}")) == data
        sites.pvol.pwrite(image.path.read_bytes(), 0)  # unmounted meanwhile
        with sites.edit() as target:
            target.unlink(b"/synced")
            target.write_difference(b"/big1", b"changed")
        assert dry_run_restore(sites.b, generation, "105a", ["/synced", "/big1"]).trouble == ""
        restore(sites.b, generation, "105a", ["/synced", "/big1"])
        with sites.look() as target:
            assert target.read(b"/synced") == b"synced"
            assert target.read(b"/big1") == writer.durable["big1"]
        sites.fsck()
    finally:
        sites.close()
