from __future__ import annotations

import importlib
import struct
import sys
from collections.abc import Callable

import pytest

from pyrep._core import FileIo
from pyrep.errors import (
    DamagedFileSystemError,
    MissingLibraryError,
    NeedsRecoveryError,
    NotExtError,
    UnsupportedFeatureError,
    format_error,
)
from pyrep.fs import Access, ExtFileSystem, ext_library
from unit.fs.images import MIB, Image, ImageMaker

SUPER = 1024
STATE, COMPAT, INCOMPAT, RO_COMPAT, LAST_ORPHAN = 0x3A, 0x5C, 0x60, 0x64, 0xE8
both_ways = pytest.mark.parametrize("access", list(Access), ids=lambda access: access.value)


def change_super(image: Image, offset: int, change: Callable[[int], int], size: str = "I") -> None:
    """Change a field of the superblock; without checksums, so that only the field is wrong."""
    image.is_sound = False
    with image.path.open("rb") as file:
        file.seek(SUPER + offset)
        (value,) = struct.unpack(f"<{size}", file.read(struct.calcsize(size)))
    image.patch(SUPER + offset, struct.pack(f"<{size}", change(value)))


def make_without_checksums(images: ImageMaker, kind: str = "ext4") -> Image:
    return images.make(kind, ("-O", "^metadata_csum") if kind == "ext4" else ())


def open_it(image: Image, access: Access) -> None:
    before = image.path.read_bytes()
    try:
        with image.opened(access):
            pass
    finally:
        assert image.path.read_bytes() == before


@both_ways
@pytest.mark.parametrize("content", [b"\0", b"\xa5", b"random text, no superblock. "])
def test_a_volume_without_a_superblock_is_no_ext(
    content: bytes, access: Access, images: ImageMaker
) -> None:
    image = images.make()
    image.is_sound = False
    image.path.write_bytes((content * MIB)[:MIB])
    with pytest.raises(NotExtError, match="volume holds no ext2, ext3 or ext4") as caught:
        open_it(image, access)
    assert "restore the whole volume" in format_error(caught.value)


def test_a_volume_too_small_for_a_superblock_is_no_ext(images: ImageMaker) -> None:
    image = images.make()
    image.is_sound = False
    image.path.write_bytes(b"\0" * 1500)
    with pytest.raises(NotExtError, match="too small"):
        open_it(image, Access.READ_ONLY)


@both_ways
def test_an_image_cut_short_is_damaged(access: Access, images: ImageMaker) -> None:
    image = images.make()
    image.is_sound = False
    with image.path.open("r+b") as file:
        file.truncate(20 * MIB)
    with pytest.raises(DamagedFileSystemError, match="cut short"):
        open_it(image, access)


@both_ways
@pytest.mark.parametrize("kind", ["ext4", "ext3", "ext2"])
def test_wrecked_group_descriptors_are_found(kind: str, access: Access, images: ImageMaker) -> None:
    image = images.make(kind)
    image.is_sound = False
    image.patch(2048, b"\x5a" * 256)
    with pytest.raises(DamagedFileSystemError, match="group descriptors"):
        open_it(image, access)


def test_a_wrong_checksum_of_the_superblock_is_found(images: ImageMaker) -> None:
    image = images.make()
    change_super(image, 0x78, lambda _: 77)
    with pytest.raises(DamagedFileSystemError, match="superblock"):
        open_it(image, Access.READ_ONLY)


def test_a_wrong_checksum_of_a_bitmap_is_found_before_the_first_change(images: ImageMaker) -> None:
    image = images.make(options=("-b", "4096"))
    image.is_sound = False
    block = int(image.ask("stats").split("block bitmap at ")[1].split(",")[0])
    image.patch(block * 4096 + 2000, b"\x99" * 40)
    with pytest.raises(DamagedFileSystemError, match="bitmaps"):
        open_it(image, Access.READ_WRITE)


@both_ways
def test_a_journal_to_be_replayed_is_refused_by_name(access: Access, images: ImageMaker) -> None:
    image = make_without_checksums(images)
    change_super(image, INCOMPAT, lambda bits: bits | 4)
    with pytest.raises(NeedsRecoveryError, match="journal") as caught:
        open_it(image, access)
    assert "e2fsck -fy -E journal_only" in format_error(caught.value)


@both_ways
def test_an_ext2_that_is_mounted_is_refused(access: Access, images: ImageMaker) -> None:
    image = make_without_checksums(images, "ext2")
    change_super(image, STATE, lambda state: state & ~1, "H")
    with pytest.raises(NeedsRecoveryError, match="mounted"):
        open_it(image, access)


ORPHANS = pytest.mark.parametrize(
    ("offset", "bits"), [(LAST_ORPHAN, 12), (RO_COMPAT, 0x10000)], ids=["list", "file"]
)


@ORPHANS
def test_orphans_are_a_need_of_recovery_before_writing(
    offset: int, bits: int, images: ImageMaker
) -> None:
    image = make_without_checksums(images)
    change_super(image, offset, lambda old: old | bits)
    with pytest.raises(NeedsRecoveryError, match="deleted while open"):
        open_it(image, Access.READ_WRITE)


@ORPHANS
def test_orphans_dont_concern_who_only_reads(offset: int, bits: int, images: ImageMaker) -> None:
    """Every mounted file system with an orphan file has the mark of it, every generation too."""
    image = make_without_checksums(images)
    change_super(image, offset, lambda old: old | bits)
    open_it(image, Access.READ_ONLY)


def test_a_file_system_marked_as_having_errors_is_damaged(images: ImageMaker) -> None:
    image = make_without_checksums(images)
    change_super(image, STATE, lambda state: state | 2, "H")
    with pytest.raises(DamagedFileSystemError, match="errors"):
        open_it(image, Access.READ_ONLY)


@both_ways
@pytest.mark.parametrize(
    ("field", "bit", "name"),
    [
        (INCOMPAT, 0x1, "compression"),
        (INCOMPAT, 0x8, "journal_dev"),
        (INCOMPAT, 0x1000, "dirdata"),
        (INCOMPAT, 0x400000, "unknown incompatible feature 0x400000"),
        (RO_COMPAT, 0x80, "snapshot"),
        (RO_COMPAT, 0x800, "replica"),
        (RO_COMPAT, 0x800000, "unknown read-only compatible feature 0x800000"),
    ],
)
def test_a_feature_that_is_not_handled_is_named(
    field: int, bit: int, name: str, access: Access, images: ImageMaker
) -> None:
    image = make_without_checksums(images)
    change_super(image, field, lambda bits: bits | bit)
    with pytest.raises(UnsupportedFeatureError, match=name):
        open_it(image, access)


@pytest.mark.parametrize(
    ("field", "bit", "name"),
    [
        (RO_COMPAT, 0x1000, "read-only"),
        (RO_COMPAT, 0x4000, "shared_blocks"),
    ],
)
def test_a_feature_that_only_reading_handles_is_named_for_writing(
    field: int, bit: int, name: str, images: ImageMaker
) -> None:
    image = make_without_checksums(images)
    change_super(image, field, lambda bits: bits | bit)
    open_it(image, Access.READ_ONLY)
    with pytest.raises(UnsupportedFeatureError, match=name):
        open_it(image, Access.READ_WRITE)


def test_all_that_is_not_handled_is_named_at_once(images: ImageMaker) -> None:
    image = make_without_checksums(images)
    change_super(image, INCOMPAT, lambda bits: bits | 0x1001)
    change_super(image, RO_COMPAT, lambda bits: bits | 0x80)
    with pytest.raises(UnsupportedFeatureError, match="compression, dirdata, snapshot"):
        open_it(image, Access.READ_ONLY)


def test_a_feature_that_is_harmless_by_definition_is_not_refused(images: ImageMaker) -> None:
    image = make_without_checksums(images)
    change_super(image, COMPAT, lambda bits: bits | 0x4000_0000)
    open_it(image, Access.READ_WRITE)


def test_a_directory_that_leads_to_itself_is_damage_not_a_loop(images: ImageMaker) -> None:
    image = images.make()
    image.is_sound = False
    image.debugfs("mkdir /d", "mkdir /d/e", "link /d /d/e/again")
    with (
        image.opened(Access.READ_ONLY) as fs,
        pytest.raises(DamagedFileSystemError, match="two names lead to directory"),
    ):
        fs.walk()


def test_a_name_of_a_free_inode_is_damage(images: ImageMaker) -> None:
    image = images.make()
    image.is_sound = False
    image.debugfs("mknod pipe p", "clri pipe")
    with (
        image.opened(Access.READ_ONLY) as fs,
        pytest.raises(DamagedFileSystemError, match="free inode"),
    ):
        fs.list("/")


def test_without_the_extension_the_library_is_named(
    images: ImageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images.make()
    monkeypatch.setattr(ext_library, "_native", None)
    monkeypatch.setitem(sys.modules, "pyrep._ext_native", None)
    assert importlib.import_module("pyrep.fs") is not None
    with FileIo(image.path) as io, pytest.raises(MissingLibraryError) as caught:
        ExtFileSystem.open(io.address, access=Access.READ_ONLY, name="volume")
    assert "libext2fs" in format_error(caught.value)
