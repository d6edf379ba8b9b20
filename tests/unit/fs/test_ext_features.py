"""Every feature of the ext family: written by us, read by others; written by others, read by us."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyrep.errors import (
    NeedsRecoveryError,
    UnsupportedFeatureError,
)
from pyrep.fs import (
    Access,
    Selection,
    Storage,
    apply_restore,
    compare_trees,
    plan_restore,
)
from unit.fs.images import MIB, Image, ImageMaker

INODE_FLAGS = {"encrypt": 0x800, "verity": 0x100000, "casefold": 0x40000000}
ACL = bytes.fromhex("01000000 01000600 02000400e8030000 04000400 10000400 20000000")


def restore_everything(generation: Image, volume: Image) -> None:
    with generation.opened(Access.READ_ONLY) as source, volume.opened() as target:
        apply_restore(
            plan_restore(source, target, Selection(("/",)), delete_extra=True), source, target
        )
        assert compare_trees(source, target) == []


def set_flag(image: Image, path: str, name: str, kept: int = 0x80000) -> None:
    image.debugfs(f"sif {path} flags {INODE_FLAGS[name] | kept:#x}")


@contextmanager
def mounted(image: Image, where: Path) -> Generator[Path]:
    """Mount it, as root, with a kernel that can; else skip."""
    where.mkdir(exist_ok=True)
    command = ["mount", "-o", "loop", str(image.path), str(where)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting needs root and a kernel that can: {done.stderr.strip()}")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


# --- inline_data ------------------------------------------------------------------------------


@pytest.mark.parametrize("inode_bytes", ["256", "1024"])
def test_a_file_stays_in_its_inode_as_long_as_it_fits(
    inode_bytes: str, images: ImageMaker, tmp_path: Path
) -> None:
    image = images.make(options=("-b", "4096", "-O", "inline_data", "-I", inode_bytes))
    sizes = [0, 1, 59, 60, 61, 100, 128, 129, 800, 896, 897, 1200, 4096, 4097]
    data = os.urandom(5000)
    with image.opened() as fs:
        for size in sizes:
            fs.create(f"/f{size}")
            fs.write_difference(f"/f{size}", data[:size])
        kept = {size for size in sizes if fs.stat(f"/f{size}").storage & Storage.INLINE}
    limit = {"256": 128, "1024": 896}[inode_bytes]
    assert kept == {size for size in sizes if size <= limit}
    with image.opened(Access.READ_ONLY) as fs:
        assert all(fs.read(f"/f{size}") == data[:size] for size in sizes)
    assert image.dump("/f100", tmp_path) == data[:100]
    assert image.dump("/f4097", tmp_path) == data[:4097]


def test_a_file_grows_out_of_its_inode_by_a_write_far_behind(images: ImageMaker) -> None:
    image = images.make(options=("-O", "inline_data"))
    with image.opened() as fs:
        for name in ("/far", "/cut", "/grown"):
            fs.create(name)
            fs.write_difference(name, b"inside")
        fs.write_difference("/far", b"end", offset=3 * MIB)
        fs.truncate("/cut", 3)
        fs.truncate("/grown", MIB)
        assert fs.read("/far", 0, 10) == b"inside\0\0\0\0"
        assert fs.read("/far", 3 * MIB) == b"end"
        assert fs.stat("/far").blocks < 10
        assert fs.read("/cut") == b"ins"
        assert fs.stat("/cut").storage is Storage.INLINE
        assert fs.read("/grown") == b"inside" + bytes(MIB - 6)


def test_what_is_the_same_inside_an_inode_is_not_written(images: ImageMaker) -> None:
    image = images.make(options=("-O", "inline_data"))
    with image.opened() as fs:
        fs.create("/f")
        assert fs.write_difference("/f", b"inside") > 0
        assert fs.write_difference("/f", b"side", offset=2) == 0
        assert fs.write_difference("/f", b"inside") == 0


def test_attributes_leave_a_file_in_its_inode_alone(images: ImageMaker) -> None:
    image = images.make(options=("-O", "inline_data"))
    with image.opened() as fs:
        fs.create("/f")
        fs.write_difference("/f", b"x" * 150)
        attributes = {b"user.%d" % number: b"v" * 60 for number in range(5)}
        fs.set_xattrs("/f", attributes)
        assert fs.xattrs("/f") == attributes
        assert fs.read("/f") == b"x" * 150
        fs.set_xattrs("/f", {})
        assert fs.read("/f") == b"x" * 150


@pytest.mark.parametrize("later", [b"", b"short", b"y" * 120, b"z" * 9000])
@pytest.mark.parametrize("earlier", [b"", b"tiny", b"x" * 120, b"z" * 8000])
def test_a_file_is_restored_into_and_out_of_its_inode(
    earlier: bytes, later: bytes, images: ImageMaker
) -> None:
    volume = images.make(options=("-O", "inline_data"), size_bytes=8 * MIB)
    with volume.opened() as fs:
        fs.create("/f")
        fs.write_difference("/f", earlier)
        fs.create("/gone")
        fs.write_difference("/gone", earlier)
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        fs.truncate("/f", 0)
        fs.write_difference("/f", later)
        fs.unlink("/gone")
    restore_everything(generation, volume)
    with volume.opened(Access.READ_ONLY) as a, generation.opened(Access.READ_ONLY) as b:
        assert a.stat("/f").storage == b.stat("/f").storage
        assert a.stat("/gone").storage == b.stat("/gone").storage


# --- bigalloc ---------------------------------------------------------------------------------


def test_blocks_of_one_cluster_are_written_in_any_order(images: ImageMaker, tmp_path: Path) -> None:
    image = images.make(options=("-b", "1024", "-O", "bigalloc", "-C", "16384"))
    rng = random.Random(5)
    held = bytearray(400 * 1024)
    with image.opened() as fs:
        before = fs.free_blocks
        fs.create("/f")
        fs.truncate("/f", len(held))
        for block in rng.sample(range(400), 250):
            data = rng.randbytes(1024)
            fs.write_difference("/f", data, offset=block * 1024)
            held[block * 1024 : (block + 1) * 1024] = data
        assert fs.read("/f") == held
        stat = fs.stat("/f")
        assert stat.blocks % 16 == 0
        assert stat.blocks == before - fs.free_blocks
    assert image.dump("/f", tmp_path) == held
    with image.opened() as fs:
        fs.truncate("/f", 200 * 1024 + 7)
        fs.truncate("/f", 0)
        assert fs.free_blocks == before


# --- ea_inode ---------------------------------------------------------------------------------


def test_large_values_get_inodes_that_go_with_them(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096", "-O", "ea_inode"))
    value = os.urandom(60_000)
    with image.opened() as fs:
        fs.create("/f")
        before = (fs.free_blocks, fs.free_inodes)
        fs.set_xattrs("/f", {b"user.large": value, b"user.small": b"v"})
        assert fs.xattrs("/f")[b"user.large"] == value
        assert fs.free_inodes == before[1] - 1
        assert fs.stat("/f").blocks >= 15
    image.check()
    with image.opened() as fs:
        fs.set_xattrs("/f", {b"user.large": value[:30_000]})
        fs.unlink("/f")
        assert (fs.free_blocks, fs.free_inodes) == (before[0], before[1] + 1)


# --- attributes -------------------------------------------------------------------------------


def test_access_lists_are_restored_with_directories_and_files(images: ImageMaker) -> None:
    volume = images.make()
    with volume.opened() as fs:
        fs.mkdir("/d")
        fs.create("/d/f")
        fs.set_xattrs("/d", {b"system.posix_acl_default": ACL, b"system.posix_acl_access": ACL})
        fs.set_xattrs("/d/f", {b"system.posix_acl_access": ACL})
    generation = images.watch(volume.copy("generation"))
    with volume.opened() as fs:
        fs.set_xattrs("/d", {})
        fs.unlink("/d/f")
    restore_everything(generation, volume)
    with volume.opened(Access.READ_ONLY) as fs:
        assert set(fs.xattrs("/d")) == {b"system.posix_acl_default", b"system.posix_acl_access"}


def test_the_project_of_a_file_is_restored(images: ImageMaker) -> None:
    volume = images.make(options=("-O", "project"))
    with volume.opened() as fs:
        fs.create("/f")
        fs.create("/gone")
    volume.debugfs("sif /f projid 77", "sif /gone projid 77")
    generation = images.watch(volume.copy("generation"))
    volume.debugfs("sif /f projid 5")
    with volume.opened() as fs:
        fs.unlink("/gone")
    restore_everything(generation, volume)
    assert "Project:    77" in volume.ask("stat /f")
    assert "Project:    77" in volume.ask("stat /gone")


# --- large ------------------------------------------------------------------------------------


def test_an_index_of_three_levels_takes_and_loses_names(images: ImageMaker) -> None:
    count = 20_000
    image = images.make(
        options=("-O", "large_dir,^has_journal", "-b", "1024", "-N", "64"), size_bytes=96 * MIB
    )

    def name(number: int) -> bytes:
        return b"%05d" % number + b"x" * 250

    with image.opened() as fs:
        fs.mkdir("/d")
        fs.create("/f")
        directory, inode = fs.stat("/d").inode, fs.stat("/f").inode
        for number in range(count):
            fs.handle.link(directory, name(number), inode, name_is_new=True)
        for number in range(0, count, 3):
            fs.handle.unlink(directory, name(number))
    levels = re.search(r"Indirect levels: (\d)", image.ask("htree /d"))
    assert levels is not None
    assert int(levels[1]) >= 1
    with image.opened(Access.READ_ONLY) as fs:
        for number in range(0, count, 97):
            found = fs.handle.lookup(directory, name(number))
            assert found == (None if number % 3 == 0 else inode)
        assert len(fs.list("/d")) == count - len(range(0, count, 3))


def test_a_sparse_file_reaches_far_behind_two_tebibytes(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    far = 9 << 40
    with image.opened() as fs:
        fs.create("/f")
        fs.write_difference("/f", b"start")
        fs.write_difference("/f", b"end", offset=far)
    image.check()
    with image.opened() as fs:
        assert fs.stat("/f").size == far + 3
        assert fs.read("/f", far - 2, 10) == b"\0\0end"
        assert fs.stat("/f").blocks < 5


# --- the file system in use elsewhere ---------------------------------------------------------


def test_a_file_system_in_use_by_mmp_is_read_and_not_written(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096", "-O", "mmp,^metadata_csum"))
    with image.opened() as fs:
        fs.create("/f")
    with image.path.open("rb") as file:
        file.seek(1024 + 0x168)
        (block,) = struct.unpack("<Q", file.read(8))
    image.patch(block * 4096 + 4, struct.pack("<I", 77))
    image.patch(block * 4096 + 16, b"otherhost\0")
    image.is_sound = False
    with image.opened(Access.READ_ONLY) as fs:
        assert fs.exists("/f")
    with pytest.raises(NeedsRecoveryError, match=r"mmp.*otherhost"), image.opened():
        pass


def test_an_external_journal_is_no_file_system_but_one_that_has_it_is(images: ImageMaker) -> None:
    journal = images.make(options=("-O", "journal_dev", "-b", "1024"), name="journal")
    journal.is_sound = False
    with (
        pytest.raises(UnsupportedFeatureError, match="journal_dev"),
        journal.opened(Access.READ_ONLY),
    ):
        pass
    image = images.make(options=("-O", "^has_journal"))
    image.is_sound = False  # e2fsck asks for the journal
    image.debugfs("feature has_journal", "ssv journal_dev 0x701", "ssv journal_inum 0")
    with image.opened() as fs:
        fs.create("/f")
        assert fs.exists("/f")


# --- the kernel -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "features", ["inline_data", "bigalloc", "ea_inode", "inline_data,ea_inode,bigalloc"]
)
def test_the_kernel_reads_what_we_write_and_we_what_it_writes(
    features: str, images: ImageMaker, tmp_path: Path
) -> None:
    image = images.make(options=("-b", "4096", "-O", features), size_bytes=64 * MIB)
    sizes = (0, 1, 60, 100, 150, 5000, 300_000)
    data = os.urandom(300_000)

    def names(who: str) -> dict[str, bytes]:
        return {f"{who}{size}": data[:size] for size in sizes}

    with image.opened() as fs:
        for name, content in names("ours").items():
            fs.create(f"/{name}")
            fs.write_difference(f"/{name}", content)
            fs.set_xattrs(f"/{name}", {b"user.small": b"v", b"user.large": data[:3500]})
    with mounted(image, tmp_path / "mnt") as where:
        for name, content in names("ours").items():
            assert (where / name).read_bytes() == content
            assert os.getxattr(where / name, "user.large") == data[:3500]
            (where / name).write_bytes(content + b"more")
        for name, content in names("kernels").items():
            (where / name).write_bytes(content)
            os.setxattr(where / name, "user.small", b"kernel")
            os.setxattr(where / name, "user.large", data[:3000])
        (where / "sub").mkdir()
        (where / "sub/link").symlink_to("t" * 100)
    image.check()
    generation = images.watch(image.copy("generation"))
    with image.opened() as fs:
        for name, content in names("kernels").items():
            assert fs.read(f"/{name}") == content
            assert fs.xattrs(f"/{name}")[b"user.large"] == data[:3000]
            fs.write_difference(f"/{name}", b"ours now", offset=len(content))
        for name, content in names("ours").items():
            assert fs.read(f"/{name}") == content + b"more"
            fs.unlink(f"/{name}")
        assert fs.readlink("/sub/link") == b"t" * 100
        fs.create("/sub/new")
        fs.write_difference("/sub/new", b"x" * 100)
    image.check()
    restore_everything(generation, image)
    with mounted(image, tmp_path / "mnt") as where:
        for name, content in names("kernels").items():
            assert (where / name).read_bytes() == content
        for name, content in names("ours").items():
            assert (where / name).read_bytes() == content + b"more"
