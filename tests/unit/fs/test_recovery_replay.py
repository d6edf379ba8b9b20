"""The replay of a journal beside e2fsck's, over journals written here and by debugfs."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pyrep._core import (
    FileIo,
    JournalRefusal,
    LinkCore,
    MemoryIo,
    OverlayIo,
    SliceIo,
    Tree,
    VolatileIo,
    VolumeCore,
    VolumeIo,
    Wake,
    replay_journal,
)
from unit.fs.images import MIB, Image, ImageMaker
from unit.fs.journals import (
    MAGIC,
    SUPER,
    Commit,
    Journal,
    Kind,
    Sums,
    check_as_e2fsck,
    differing,
    make_journal,
    replayed,
    replayed_by_e2fsck,
)

CHUNK = 8192
WITHOUT_SUMS = ("-O", "^metadata_csum")
KINDS = [
    Kind(features=Sums.NONE, type="ext3"),
    Kind(features=Sums.WIDE, block_bytes=4096, options=WITHOUT_SUMS),
    Kind(features=Sums.V1, options=WITHOUT_SUMS),
    Kind(features=Sums.V1 | Sums.WIDE | Sums.ASYNC),
    Kind(features=Sums.V2),
    Kind(features=Sums.V2 | Sums.WIDE, block_bytes=4096),
    Kind(features=Sums.V3),
    Kind(features=Sums.V3 | Sums.WIDE, block_bytes=4096),
    Kind(features=Sums.V3 | Sums.WIDE | Sums.ASYNC, options=("-O", "^64bit")),
]
ENDS = [KINDS[0], KINDS[2], KINDS[3], KINDS[4], KINDS[6], KINDS[8]]
V3 = Kind(features=Sums.V3 | Sums.WIDE)
ESCAPED = struct.pack(">I", MAGIC)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def write_log(journal: Journal) -> None:
    """Write what a log can hold: escapes, revokes, several descriptors, the superblock, a torn
    end."""
    spare = journal.spare
    journal.transaction((spare, b"one"), (spare + 1, ESCAPED + b"escaped"), (spare + 2, b"revoked"))
    journal.transaction((spare, b"two"), revokes=[spare + 2, spare + 400, spare + 3])
    journal.transaction(*((spare + 10 + i, b"many %d" % i) for i in range(150)))
    number, block = journal.fs_super_block()
    at = SUPER % journal.kind.block_bytes
    block[at + 120 : at + 124] = b"name"
    journal.seal(block, at)
    journal.transaction((spare + 3, b"not revoked: newer"), (number, bytes(block)))
    journal.transaction(
        (spare + 4, b"again"), (spare + 5, b"of one transaction"), revokes=[spare + 5]
    )
    journal.transaction((spare, b"never committed"), end=Commit.MISSING)


@each_kind
def test_a_log_is_replayed_as_e2fsck_does(kind: Kind, images: ImageMaker) -> None:
    journal = make_journal(images, kind)
    write_log(journal)
    image = journal.save()
    report, content = check_as_e2fsck(image)
    assert (report.transactions, report.revoked, report.first_sequence) == (5, 2, 7)
    assert report.blocks == 155
    size = kind.block_bytes

    def block(index: int) -> bytes:
        return content[(journal.spare + index) * size :][:16].rstrip(b"\0")

    assert (block(0), block(1)) == (b"two", ESCAPED + b"escaped")
    assert (block(2), block(3), block(5)) == (b"", b"not revoked: new", b"")
    assert content[SUPER + 120 : SUPER + 124] == b"name"


@each_kind
def test_a_log_goes_round_its_end_and_its_numbers_round_theirs(
    kind: Kind, images: ImageMaker
) -> None:
    journal = make_journal(images, kind, sequence=0xFFFFFFFE, start=1010)
    write_log(journal)
    assert journal.at < 1010
    report, _ = check_as_e2fsck(journal.save())
    assert (report.transactions, report.first_sequence) == (5, 0xFFFFFFFE)


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("time_s", [None, 1])
@pytest.mark.parametrize("kind", ENDS, ids=[kind.name for kind in ENDS])
def test_a_wrong_commit_ends_the_log_as_e2fsck_ends_it(
    kind: Kind, time_s: int | None, after: int, images: ImageMaker
) -> None:
    journal = make_journal(images, kind)
    journal.transaction((journal.spare, b"one"))
    journal.transaction((journal.spare + 1, b"two"), end=Commit.WRONG, time_s=time_s)
    for index in range(after):
        journal.transaction((journal.spare + 2 + index, b"after"))
    image = journal.save()
    has_sums = kind.features & (Sums.V1 | Sums.V2 | Sums.V3)
    in_the_middle = kind.features & Sums.ASYNC and after and not kind.features & Sums.V1
    if in_the_middle and time_s is None:
        # e2fsck forgets what CSUM_V2 and V3 say of a commit with others behind it: this is damage.
        report, _ = replayed(image)
        assert (report.failed, report.failed_sequence, report.transactions) == (True, 8, 1)
        return
    report, content = check_as_e2fsck(image)
    torn = time_s is not None or (kind.features & Sums.ASYNC and not after)
    assert report.failed == bool(has_sums and not torn)
    assert report.transactions == (1 if has_sums else 2 + after)
    assert bool(content[SUPER + 58] & 2) == report.failed


def test_an_error_that_the_journal_has_recorded_is_told_by_the_superblock(
    images: ImageMaker,
) -> None:
    journal = make_journal(images, V3)
    write_log(journal)
    journal.set_super(32, 0xFFFFFFFB)
    report, content = check_as_e2fsck(journal.save())
    assert report.failed
    assert content[SUPER + 58] & 2


def test_an_empty_log_only_clears_the_need(images: ImageMaker) -> None:
    journal = make_journal(images, V3)
    write_log(journal)
    journal.set_super(28, 0)
    report, _ = check_as_e2fsck(journal.save())
    assert (report.recovered, report.transactions, report.blocks) == (True, 0, 0)


def test_a_log_without_a_whole_transaction_writes_nothing_else(images: ImageMaker) -> None:
    journal = make_journal(images, V3)
    journal.transaction((journal.spare, b"torn"), end=Commit.MISSING)
    report, _ = check_as_e2fsck(journal.save())
    assert (report.recovered, report.transactions) == (True, 0)


@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("tid", ["due", "old"])
def test_only_whole_fast_commits_that_are_due_are_refused(
    tid: str, is_whole: bool, images: ImageMaker
) -> None:
    """Their area keeps what older ones have left there."""
    journal = make_journal(
        images, Kind(features=Sums.V3 | Sums.FAST, options=("-O", "fast_commit")), name="fast"
    )
    journal.set_super(16, 1024 + 16)
    journal.transaction((journal.spare, b"one"))
    journal.fast_commit(journal.sequence - (tid == "old"), is_whole=is_whole)
    image = journal.save()
    report, content = replayed(image)
    if tid == "due" and is_whole:
        assert report.refusal is JournalRefusal.UNSUPPORTED
        assert report.text.startswith("fast_commit: ")
        assert content == image.path.read_bytes()
    else:
        assert report.recovered


# --- where the journal is ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "megabytes"),
    [
        ("ext3", ("-b", "1024", "-J", "size=2"), 16),
        ("ext3", ("-b", "4096", "-J", "size=8"), 24),
        ("ext4", ("-b", "1024", "-O", "meta_bg,^resize_inode"), 16),
        ("ext4", ("-b", "1024", "-I", "128", "-O", "^64bit"), 16),
        ("ext4", ("-b", "4096", "-O", "metadata_csum_seed"), 24),
        ("ext4", ("-b", "1024", "-O", "bigalloc,sparse_super2"), 16),
        ("ext4", ("-b", "8192", "-J", "size=8"), 32),
    ],
)
def test_the_journal_is_found_in_every_layout(
    kind: str, options: tuple[str, ...], megabytes: int, images: ImageMaker
) -> None:
    """debugfs is the one that writes these: it finds the journal itself."""
    image = images.make(kind, options, size_bytes=megabytes * MIB)
    _write_by_debugfs(image, megabytes * MIB)
    report, _ = check_as_e2fsck(image)
    assert (report.transactions, report.blocks, report.revoked) == (2, 3, 1)
    assert not report.from_backup


def _write_by_debugfs(image: Image, size_bytes: int, open_options: str = "") -> None:
    image.is_sound = False
    bytes_each = int(image.ask("stats").split("Block size:")[1].split()[0])
    block = size_bytes // bytes_each - 300
    data = image.path.with_name("logged")
    data.write_bytes(ESCAPED + b"x" * (bytes_each - 4) + b"y" * bytes_each)
    image.debugfs(
        f"jo {open_options}",
        f"jw -b {block},{block + 1} {data}",
        "jc",
        f"jo {open_options}",
        f"jw -r {block} -b {block + 2},{block + 3} {data}",
        "jc",
    )


@pytest.mark.parametrize(
    ("features", "open_options"),
    [
        ("64bit,^metadata_csum", ""),
        ("^64bit,^metadata_csum", ""),
        ("64bit,metadata_csum", "-c"),
        ("^64bit,metadata_csum", "-c"),
        ("^64bit,metadata_csum", "-c -v 2"),
    ],
)
def test_what_debugfs_writes_is_replayed(
    features: str, open_options: str, images: ImageMaker
) -> None:
    image = images.make(options=("-O", features, "-b", "1024"), size_bytes=16 * MIB)
    _write_by_debugfs(image, 16 * MIB, open_options)
    report, _ = check_as_e2fsck(image)
    assert (report.transactions, report.revoked) == (2, 1)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kind", [V3, Kind(features=Sums.NONE, options=WITHOUT_SUMS)])
def test_a_journal_in_pieces_has_a_tree_of_extents(
    kind: Kind, depth: int, images: ImageMaker
) -> None:
    journal = make_journal(images, kind, start=1010)
    journal.break_in_pieces(depth)
    write_log(journal)
    image = journal.save()
    assert image.ask("ex <8>").count("\n") == 1 + depth + 16
    report, _ = check_as_e2fsck(image)
    assert (report.transactions, report.from_backup) == (5, False)


@pytest.mark.parametrize("kind", [Kind(features=Sums.NONE, type="ext3"), V3], ids=["ext3", "ext4"])
def test_a_damaged_inode_has_its_copy_in_the_superblock(kind: Kind, images: ImageMaker) -> None:
    journal = make_journal(images, kind)
    write_log(journal)
    image = journal.save()
    good, content = check_as_e2fsck(image)
    journal.patch_inode(0, bytes(128))
    image = journal.save()
    report, recovered = replayed(image)
    assert (report.from_backup, report.transactions) == (True, good.transactions)
    assert (
        recovered[journal.spare * kind.block_bytes :] == content[journal.spare * kind.block_bytes :]
    )
    journal.set_fs(253, b"\0")
    report, _ = replayed(journal.save())
    assert report.refusal is JournalRefusal.DAMAGED
    assert "inode" in report.text


# --- what is left alone --------------------------------------------------------------------------


def test_what_needs_no_recovery_is_left_alone(images: ImageMaker) -> None:
    for image in (
        images.make(name="clean", size_bytes=8 * MIB),
        images.make("ext2", name="ext2", size_bytes=8 * MIB),
    ):
        report, content = replayed(image)
        assert not report.recovered
        assert content == image.path.read_bytes()
    for size in (512, MIB):
        with MemoryIo(size) as nothing:
            assert not replay_journal(nothing).recovered


def test_a_view_is_recovered_and_its_base_is_not(images: ImageMaker) -> None:
    journal = make_journal(images, V3)
    write_log(journal)
    image = journal.save()
    before = image.path.read_bytes()
    _, recovered = replayed(image)
    with FileIo(image.path) as base, OverlayIo(base) as view:
        assert replay_journal(view).recovered
        assert view.pread(len(before), 0) == recovered
        assert not replay_journal(view).recovered
    assert image.path.read_bytes() == before


# --- crashes -------------------------------------------------------------------------------------


def _crashed(
    content: bytes, operations: int, lose: Callable[[VolatileIo], None]
) -> tuple[bool, bytes]:
    """Return whether a replay got to its end in `operations` writes, and what a second one made."""
    with MemoryIo(len(content)) as base:
        base.pwrite(content, 0)
        with VolatileIo(base) as io:
            io.fail_after(operations, 5)
            ended = replay_journal(io).refusal is JournalRefusal.NONE
            lose(io)
            io.fail_after(0, 0)
            report = replay_journal(io)
            assert report.refusal is JournalRefusal.NONE
            return ended, io.pread(len(content), 0)


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("has_error", [False, True])
def test_stopped_at_any_write_it_ends_the_same_when_begun_again(
    seed: int | None, has_error: bool, images: ImageMaker
) -> None:
    journal = make_journal(images, V3)
    write_log(journal)
    if has_error:
        journal.set_super(32, 5)
    image = journal.save()
    content = image.path.read_bytes()
    _, expected = replayed(image)
    sequence = journal.blocks[0] * 1024 + 24

    def lose(io: VolatileIo) -> None:
        if seed is not None:
            io.lose(seed=seed, keep_one_in=2, tear=False)

    operations = 0
    ended = False
    while not ended:
        ended, again = _crashed(content, operations, lose)
        found = differing(again, expected)
        # Stopped behind the log's end, the second replay numbers on by one more.
        assert found in ([], [(sequence // 1024 * 1024, found[0][1])] if found else [])
        if found:
            assert set(found[0][1]) <= {24, 25, 26, 27, 252, 253, 254, 255}
        operations += 1
    assert operations > 6


def test_storage_that_fails_is_told(images: ImageMaker) -> None:
    journal = make_journal(images, V3)
    write_log(journal)
    with FileIo(journal.save().path) as base, VolatileIo(base) as io:
        io.fail_reads(5)
        report = replay_journal(io)
    assert (report.refusal, report.errno_code) == (JournalRefusal.UNREADABLE, 5)


def test_e2fsck_would_not_agree_with_a_replay_that_forgets_revokes(images: ImageMaker) -> None:
    """The comparison itself: a byte that differs is seen."""
    journal = make_journal(images, V3)
    write_log(journal)
    image = journal.save()
    _, ours = replayed(image)
    theirs = bytearray(replayed_by_e2fsck(image))
    assert differing(ours, bytes(theirs)) == []
    theirs[(journal.spare + 2) * 1024] ^= 1
    assert differing(ours, bytes(theirs)) == [((journal.spare + 2) * 1024, [0])]


def test_through_a_tracked_volume_every_change_is_marked(images: ImageMaker) -> None:
    """530: stopped before any write and begun again, too (INV-1)."""
    journal = make_journal(images, V3)
    write_log(journal)
    image = journal.save()
    before = image.path.read_bytes()
    _, expected = replayed(image)
    sequence = journal.blocks[0] * 1024 + 24
    ended, operations, marked = False, 0, set[int]()
    while not ended:
        ended, content, marked = _tracked(before, operations)
        operations += 1
        assert content[sequence + 4 :][:200] == expected[sequence + 4 :][:200]
        assert {at for at, _ in differing(content, expected)} <= {sequence // 1024 * 1024}
        changed = {
            at // CHUNK
            for at in range(0, len(before), 1024)
            if content[at : at + 1024] != before[at : at + 1024]
        }
        assert changed <= marked
    assert operations > 6
    assert len(marked) < len(before) // CHUNK // 4


def _tracked(before: bytes, operations: int) -> tuple[bool, bytes, set[int]]:
    with (
        MemoryIo(len(before)) as base,
        VolatileIo(base) as io,
        Tree(0) as tree,
        Wake() as wake,
        VolumeCore(io, tree, name="105b", wake=wake) as core,
        LinkCore(core, chunk_bytes=CHUNK, shares_marks=False) as link,
    ):
        base.pwrite(before, 0)
        link.mark()
        with VolumeIo(core, ack_timeout_s=0) as volume:
            io.fail_after(operations, 5)
            ended = replay_journal(volume).refusal is JournalRefusal.NONE
            io.fail_after(0, 0)
            assert replay_journal(volume).refusal is JournalRefusal.NONE
        cover = link.cover()
        marked = {chunk for first, count in cover.runs() for chunk in range(first, first + count)}
        return ended, io.pread(len(before), 0), marked


def test_a_partition_is_recovered_and_nothing_around_it_changes(images: ImageMaker) -> None:
    journal = make_journal(images, V3)
    write_log(journal)
    image = journal.save()
    _, expected = replayed(image)
    around = b"\xa5" * MIB
    content = around + image.path.read_bytes() + around
    with (
        MemoryIo(len(content)) as disk,
        SliceIo(disk, offset=MIB, length=len(expected)) as partition,
    ):
        disk.pwrite(content, 0)
        assert replay_journal(partition).recovered
        assert disk.pread(len(content), 0) == around + expected + around
