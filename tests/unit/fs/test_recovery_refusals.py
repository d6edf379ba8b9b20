"""What a replay refuses: features by name, contradictions before the first write."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pyrep._core import JournalRefusal
from unit.fs.images import Image, ImageMaker
from unit.fs.journals import (
    MAGIC,
    Commit,
    Journal,
    Kind,
    Sums,
    check_as_e2fsck,
    make_journal,
    replayed,
)

V3 = Kind(features=Sums.V3 | Sums.WIDE)
PLAIN = Kind(features=Sums.NONE, type="ext3")


def _check_refused(image: Image, refusal: JournalRefusal, text: str) -> None:
    report, content = replayed(image)
    assert (report.refusal, report.recovered) == (refusal, False)
    assert text in report.text
    assert content == image.path.read_bytes()


def _logged(images: ImageMaker, kind: Kind = V3) -> Journal:
    journal = make_journal(images, kind)
    journal.transaction((journal.spare, b"one"), (journal.spare + 1, b"two"))
    return journal


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda j: j.set_fs(224, bytes(4) + b"\x01\x08\0\0"),
            "external journal: s_journal_dev=0x801",
        ),
        (lambda j: j.set_super(40, 0x40 | 18), "unknown feature of the journal: incompat=0x40"),
        (lambda j: j.set_super(44, 2), "ro_compat=0x2"),
        (lambda j: j.set_super(64, 2), "shared by several file systems: users=2"),
    ],
)
def test_features_that_arent_handled_are_named(
    change: Callable[[Journal], None], text: str, images: ImageMaker
) -> None:
    journal = _logged(images)
    change(journal)
    _check_refused(journal.save(), JournalRefusal.UNSUPPORTED, text)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda j: j.set_super(0, MAGIC ^ 1), "magic"),
        (lambda j: j.set_super(4, 1), "neither version"),
        (lambda j: j.set_super(12, 4096), "size of blocks"),
        (lambda j: j.set_super(16, 1025), "length"),
        (lambda j: j.set_super(16, 1023), "length"),
        (lambda j: j.set_super(20, 0), "first block"),
        (lambda j: j.set_super(20, 1024), "first block"),
        (lambda j: j.set_super(28, 1024), "start of the log"),
        (lambda j: j.set_super(36, 1), "two kinds of checksums"),
        (lambda j: j.set_super(40, 26), "two kinds of checksums"),
        (lambda j: j.set_super(80, 1 << 24), "wrong checksum"),
        (lambda j: j.put(0, j.read(0)[:999] + b"x"), "wrong checksum"),
        (lambda j: j.set_super(40, 50), "fast commit blocks"),
    ],
)
def test_a_journal_superblock_that_contradicts_itself(
    change: Callable[[Journal], None], text: str, images: ImageMaker
) -> None:
    journal = _logged(images)
    change(journal)
    _check_refused(journal.save(), JournalRefusal.DAMAGED, text)


@pytest.mark.parametrize(
    ("offset", "data", "text"),
    [
        (24, b"\x07", "size of blocks"),
        (4, b"\xff\xff\xff\xff", "count of blocks"),
        (32, bytes(4), "size of groups"),
        (40, bytes(4), "size of groups"),
        (88, b"\x81\0", "size of inodes"),
        (254, b"\x10\0", "size of group descriptors"),
        (92, bytes(4), "no journal"),
        (224, b"\xff\xff\xff\0", "number: value=16777215"),
        (224, b"\x02\0\0\0", "not a file"),
    ],
)
def test_a_superblock_that_contradicts_itself(
    offset: int, data: bytes, text: str, images: ImageMaker
) -> None:
    journal = _logged(images)
    journal.set_fs(253, b"\0")  # no copy of the inode to fall back to
    journal.set_fs(offset, data)
    _check_refused(journal.save(), JournalRefusal.DAMAGED, text)


def test_a_superblock_without_its_checksum_is_refused(images: ImageMaker) -> None:
    image = _logged(images).save()
    image.patch(1024 + 120, b"x")
    _check_refused(image, JournalRefusal.DAMAGED, "superblock: wrong checksum")


def test_a_descriptor_with_a_wrong_checksum_is_refused(images: ImageMaker) -> None:
    journal = _logged(images)
    journal.put(1, journal.read(1)[:-5] + b"x" + journal.read(1)[-4:])
    _check_refused(journal.save(), JournalRefusal.DAMAGED, "of a descriptor: transaction=7")


def test_one_that_an_earlier_round_of_the_log_has_left_only_ends_it(images: ImageMaker) -> None:
    journal = _logged(images)
    stale = journal.at
    journal.transaction((journal.spare, b"stale"), time_s=1)
    journal.put(stale, journal.read(stale)[:-5] + b"x" + journal.read(stale)[-4:])
    report, _ = check_as_e2fsck(journal.save())
    assert report.transactions == 1


@pytest.mark.parametrize("kind", [V3, Kind(features=Sums.V2)], ids=["V3", "V2"])
def test_a_copy_with_a_wrong_checksum_is_refused(kind: Kind, images: ImageMaker) -> None:
    journal = _logged(images, kind)
    journal.put(3, b"other")
    journal.transaction((journal.spare + 1, b"a later copy doesn't heal it"))
    _check_refused(journal.save(), JournalRefusal.DAMAGED, f"of a copy: block={journal.spare + 1}")


def test_a_revoked_copy_needs_no_checksum(images: ImageMaker) -> None:
    journal = _logged(images)
    journal.put(3, b"other")
    journal.transaction((journal.spare, b"one"), revokes=[journal.spare + 1])
    report, _ = check_as_e2fsck(journal.save())
    assert report.revoked == 1


@pytest.mark.parametrize("kind", [V3, PLAIN], ids=["V3", "plain"])
@pytest.mark.parametrize(
    ("target", "text"),
    [
        (lambda _: 4096, "past the file system's end"),
        (lambda _: 0xFFFFFFFF, "past the file system's end"),
        (lambda j: j.blocks[0], "of the journal itself"),
        (lambda j: j.blocks[-1], "of the journal itself"),
        (lambda _: 1, "no superblock for its block"),
    ],
)
def test_copies_of_blocks_that_arent_the_file_systems_are_refused(
    target: Callable[[Journal], int], text: str, kind: Kind, images: ImageMaker
) -> None:
    journal = _logged(images, kind)
    journal.transaction((journal.spare + 2, b"not written either"), (target(journal), b"no"))
    _check_refused(journal.save(), JournalRefusal.DAMAGED, text)


def test_a_wide_number_is_taken_whole(images: ImageMaker) -> None:
    journal = _logged(images)
    journal.transaction((journal.spare | 1 << 32, b"far away"))
    _check_refused(journal.save(), JournalRefusal.DAMAGED, f"block={journal.spare | 1 << 32}")


def test_a_revoke_block_longer_than_a_block_is_refused(images: ImageMaker) -> None:
    journal = _logged(images)
    journal.revoke(journal.spare, count=1021)
    journal.commit([])
    _check_refused(journal.save(), JournalRefusal.DAMAGED, "revoke block: bytes=1021")


def test_a_revoke_record_of_any_block_is_harmless(images: ImageMaker) -> None:
    journal = _logged(images)
    journal.transaction((journal.spare, b"x"), revokes=[0, 1, 2**64 - 1, 4096])
    report, _ = check_as_e2fsck(journal.save())
    assert report.revoked == 0


def test_a_log_of_descriptors_without_end_ends(images: ImageMaker) -> None:
    """Every block is one, of the transaction that is due, with a single tag: e2fsck goes round
    for ever."""
    journal = make_journal(images, PLAIN)
    journal.descriptor([(journal.spare, b"x")])
    descriptor = journal.read(1)
    for block in range(1, journal.last):
        journal.put(block, descriptor)
    report, _ = replayed(journal.save())
    assert (report.recovered, report.transactions, report.blocks) == (True, 0, 0)


def test_a_whole_log_of_transactions_is_walked_once(images: ImageMaker) -> None:
    journal = make_journal(images, PLAIN)
    for index in range(341):
        journal.transaction((journal.spare + index % 7, b"%d" % index))
    assert journal.at == 1
    report, content = replayed(journal.save())
    assert (report.transactions, report.blocks) == (341, 7)
    assert content[(journal.spare + 340 % 7) * 1024 :].startswith(b"340\0")


def test_the_oldest_block_of_a_torn_end_is_not_taken_for_new(images: ImageMaker) -> None:
    journal = _logged(images)
    journal.transaction((journal.spare, b"torn"), end=Commit.MISSING)
    journal.sequence -= 1
    journal.transaction((journal.spare, b"of another round"))
    report, _ = check_as_e2fsck(journal.save())
    assert report.transactions == 1


# --- the journal's inode -------------------------------------------------------------------------


def _patch_map(journal: Journal, offset: int, *words: int) -> Image:
    """Change words of the inode's map, of a file system without checksums, and of its copy."""
    journal.set_fs(253, b"\0")
    image = journal.save()
    journal.patch_inode(40 + offset, struct.pack(f"<{len(words)}I", *words))
    journal.save()
    return image


EXTENTS = Kind(features=Sums.NONE, options=("-O", "^metadata_csum"))


@pytest.mark.parametrize(
    ("offset", "words", "text"),
    [
        (0, (0xF30B,), "header"),
        (0, (0xF30A,), "header"),
        (0, (0x0005F30A,), "header"),
        (4, (0x00060004,), "depth"),
        (12, (1,), "hole or overlap"),
        (16, (0,), "length"),
        (16, (1024 + 32768,), "length"),
        (20, (0,), "outside the file system"),
        (20, (4096,), "outside the file system"),
        (20, (0xFFFFFFFF,), "outside the file system"),
        (0, (0x0002F30A, 4, 0, 0, 512, 2000, 512, 512, 2100), "there twice"),
        (4, (0x00010004, 0, 0, 5000), "a block past the file system's end"),
    ],
)
def test_extents_that_cant_be_are_refused(
    offset: int, words: tuple[int, ...], text: str, images: ImageMaker
) -> None:
    image = _patch_map(_logged(images, EXTENTS), offset, *words)
    _check_refused(image, JournalRefusal.DAMAGED, text)


@pytest.mark.parametrize(
    ("offset", "words", "text"),
    [
        (0, (0,), "outside the file system"),
        (48, (5000,), "a block past the file system's end"),
        (48, (1000,), ""),
        (0, (1000, 1000), "there twice"),
    ],
)
def test_indirect_blocks_that_cant_be_are_refused(
    offset: int, words: tuple[int, ...], text: str, images: ImageMaker
) -> None:
    image = _patch_map(_logged(images, PLAIN), offset, *words)
    _check_refused(image, JournalRefusal.DAMAGED, text)


@pytest.mark.parametrize("size", [0, 1023 * 1024, 2**31])
def test_a_journal_of_another_size_than_it_can_have_is_refused(
    size: int, images: ImageMaker
) -> None:
    journal = _logged(images, EXTENTS)
    journal.set_fs(253, b"\0")
    journal.patch_inode(4, struct.pack("<I", size))
    _check_refused(journal.save(), JournalRefusal.DAMAGED, f"inode: size: value={size}")
