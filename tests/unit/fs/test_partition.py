"""Partition tables: those that sfdisk makes, and those that somebody made to harm."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrep._core import FileIo, MemoryIo
from pyrep.errors import DamagedFileSystemError, InvalidArgumentError, NotFoundError
from pyrep.fs import Partition, clip_extents, find_partition, list_partitions, open_partition

MIB = 1 << 20
SIZE = 64 * MIB
LINUX_GPT = "0fc63daf-8483-4772-8e79-3d69d8477de4"

if shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin:/bin") is None:
    pytest.skip("sfdisk is missing (Debian: fdisk)", allow_module_level=True)


def _sfdisk(path: Path, script: str, *, size: int = SIZE) -> dict[int, tuple[int, int]]:
    """Partition a new file; return offset and length by number, as sfdisk says."""
    with path.open("wb") as file:
        file.truncate(size)
    tool = shutil.which("sfdisk", path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert tool is not None
    subprocess.run([tool, "-q", path], input=script, text=True, check=True, capture_output=True)
    dump = subprocess.run([tool, "-d", path], text=True, check=True, capture_output=True).stdout
    line = re.compile(rf"{re.escape(str(path))}(\d+) : start= *(\d+), size= *(\d+), type=(\w+)")
    return {
        int(number): (int(start) * 512, int(count) * 512)
        for number, start, count, kind in line.findall(dump)
        if kind not in {"5", "f"}
    }


def _places(found: tuple[Partition, ...]) -> dict[int, tuple[int, int]]:
    return {one.number: (one.offset, one.length) for one in found}


GPT = 'label: gpt\nsize=8M, name="first"\nsize=16M, type=swap\nsize=4MiB\n'
MBR = (
    "label: dos\nsize=8M, type=83\nsize=4M, type=82\nsize=40M, type=5\nsize=8M\nsize=8M\nsize=4M\n"
)


def test_a_gpt_of_sfdisk_is_read(tmp_path: Path) -> None:
    want = _sfdisk(tmp_path / "disk", GPT)
    with FileIo(tmp_path / "disk") as io:
        found = list_partitions(io)
    assert _places(found) == want
    assert sorted(want) == [1, 2, 3]
    assert (found[0].name, found[0].kind) == ("first", LINUX_GPT)
    assert len({one.uuid for one in found}) == 3


def test_an_mbr_of_sfdisk_is_read_with_its_logical_partitions(tmp_path: Path) -> None:
    want = _sfdisk(tmp_path / "disk", MBR)
    with FileIo(tmp_path / "disk") as io:
        found = list_partitions(io)
    assert _places(found) == want
    assert sorted(want) == [1, 2, 4, 5, 6]
    assert [one.kind for one in found[:2]] == ["0x83", "0x82"]


def test_numbers_may_have_gaps(tmp_path: Path) -> None:
    want = _sfdisk(tmp_path / "disk", "label: gpt\n2: size=4M\n7: size=4M\n")
    with FileIo(tmp_path / "disk") as io:
        assert _places(list_partitions(io)) == want
        with pytest.raises(NotFoundError) as caught:
            find_partition(io, 1)
    assert sorted(want) == [2, 7]
    assert caught.value.hint == "it has: 2, 7"


@pytest.mark.parametrize("spoilt", ["header", "entries", "both zeroed"])
def test_the_second_copy_of_a_gpt_stands_in_for_the_first(tmp_path: Path, spoilt: str) -> None:
    want = _sfdisk(tmp_path / "disk", GPT)
    with FileIo(tmp_path / "disk") as io:
        match spoilt:
            case "header":
                io.pwrite(b"\xff", 512 + 40)
            case "entries":
                io.pwrite(b"\xff", 1024 + 130)
            case _:
                io.zero(33 * 512, 512)
        assert _places(list_partitions(io)) == want
        io.zero(512, SIZE - 512)
        if spoilt == "both zeroed":
            io.zero(32 * 512, SIZE - 33 * 512)
        with pytest.raises(DamagedFileSystemError):
            list_partitions(io)


def test_a_volume_without_a_table_has_no_partitions() -> None:
    with MemoryIo(SIZE) as io:
        assert list_partitions(io) == ()
        with pytest.raises(NotFoundError, match="no partitions"):
            open_partition(io, 1)
    with MemoryIo(100) as io:
        assert list_partitions(io) == ()
    with MemoryIo(SIZE) as io:  # a boot sector with code where the table would be
        io.pwrite(b"\x90" * 510 + b"\x55\xaa", 0)
        assert list_partitions(io) == ()
        with pytest.raises(InvalidArgumentError, match="512 or 4096"):
            list_partitions(io, sector_bytes=1024)


def test_a_partition_is_storage_of_its_own(tmp_path: Path) -> None:
    want = _sfdisk(tmp_path / "disk", GPT)
    offset, length = want[2]
    with FileIo(tmp_path / "disk") as io, open_partition(io, 2) as part:
        assert part.size_bytes == length
        part.pwrite(b"end", length - 3)
        assert io.pread(3, offset + length - 3) == b"end"


def test_extents_are_clipped_to_a_partition() -> None:
    partition = Partition(number=1, offset=1000, length=500, kind="0x83")
    extents = [(0, 1000), (900, 200), (1200, 10), (1450, 1000), (1500, 5), (5000, 1)]
    assert clip_extents(extents, partition) == [(0, 100), (200, 10), (450, 50)]


def _mbr(entries: list[tuple[int, int, int]]) -> bytes:
    """A sector with entries of kind, first sector, count."""
    table = b"".join(struct.pack("<B3xB3xII", 0, *one) for one in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def _gpt(
    entries: list[tuple[int, int]], *, sector: int = 512, size: int = SIZE, **changed: int
) -> MemoryIo:
    """A volume with the first copy of a GPT; `changed` are fields of its header."""
    raw = b"".join(
        struct.pack("<16s16sQQQ72s", b"k" * 16, bytes([at]) * 16, first, last, 0, b"")
        for at, (first, last) in enumerate(entries)
    ).ljust(128 * 128, b"\0")
    fields = {
        "revision": 0x10000,
        "header": 92,
        "lba": 1,
        "first": 34,
        "last": size // sector - 34,
        "table": 2,
        "count": 128,
        "entry": 128,
        **changed,
    }
    header = struct.pack(
        "<8sIIIIQQQQ16sQIII",
        b"EFI PART",
        fields["revision"],
        fields["header"],
        0,
        0,
        fields["lba"],
        size // sector - 1,
        fields["first"],
        fields["last"],
        b"d" * 16,
        fields["table"],
        fields["count"],
        fields["entry"],
        zlib.crc32(raw[: fields["count"] * fields["entry"]]),
    )
    header = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    io = MemoryIo(size)
    io.pwrite(_mbr([(0xEE, 1, size // sector - 1)]), 0)
    io.pwrite(header, sector)
    io.pwrite(raw, 2 * sector)
    return io


@pytest.mark.parametrize("said", [None, 4096])
def test_a_gpt_of_4096_byte_sectors_is_found(said: int | None) -> None:
    with _gpt([(40, 49), (60, 60)], sector=4096) as io:
        found = _places(list_partitions(io, sector_bytes=said))
    assert found == {1: (40 * 4096, 10 * 4096), 2: (60 * 4096, 4096)}


def test_an_mbr_counts_in_the_sectors_that_it_is_told() -> None:
    with MemoryIo(SIZE) as io:
        io.pwrite(_mbr([(0x83, 16, 32)]), 0)
        assert _places(list_partitions(io)) == {1: (16 * 512, 32 * 512)}
        assert _places(list_partitions(io, sector_bytes=4096)) == {1: (16 * 4096, 32 * 4096)}


@pytest.mark.parametrize(
    ("entries", "changed", "why"),
    [
        ([(40, 50), (50, 60)], {}, "overlap"),
        ([(50, 40)], {}, "partition 1"),
        ([(2, 40)], {}, "partition 1"),
        ([(40, SIZE)], {}, "partition 1"),
        ([(40, 2**63)], {}, "partition 1"),
        ([], {"last": SIZE}, "lets partitions use"),
        ([], {"first": 1}, "lets partitions use"),
        ([], {"header": 513}, "header of"),
        ([], {"header": 91}, "header of"),
        ([], {"revision": 0x20000}, "revision"),
        ([], {"lba": 3}, "says it is in sector 3"),
        ([], {"table": 1}, "outside the volume"),
        ([], {"table": 2**62}, "outside the volume"),
        ([], {"count": 2**31, "entry": 128}, "entries"),
        ([], {"count": 0}, "entries"),
        ([], {"entry": 64}, "entries of 64"),
        ([], {"entry": 132}, "entries of 132"),
    ],
)
def test_a_gpt_that_contradicts_itself_is_refused(
    entries: list[tuple[int, int]], changed: dict[str, int], why: str
) -> None:
    with _gpt(entries, **changed) as io, pytest.raises(DamagedFileSystemError, match=why):
        list_partitions(io)


@pytest.mark.parametrize(
    ("sectors", "why"),
    [
        ({0: [(0x83, 10, 20), (0x83, 29, 5)]}, "overlap"),
        ({0: [(0x83, 10, SIZE)]}, "partition 1"),
        ({0: [(0x83, 0, 5)]}, "partition 1"),
        ({0: [(0x83, 2**32 - 1, 2**32 - 1)]}, "partition 1"),
        ({0: [(0x05, 100, 50), (0x0F, 200, 50)]}, "two extended"),
        ({0: [(0x05, 100, 50), (0x83, 120, 5)]}, "overlap"),
        ({0: [(0x05, 100, 50)]}, "no table of a logical one in sector 100"),
        ({0: [(0x05, 100, 50)], 100: [(0x83, 1, 50)]}, "partition 5"),
        ({0: [(0x05, 100, 50)], 100: [(0x83, 0, 5)]}, "partition 5"),
        ({0: [(0x05, 100, 50)], 100: [(0x83, 1, 5), (0x05, 50, 5)]}, "next logical"),
        ({0: [(0x05, 100, 50)], 100: [(0x83, 1, 5), (0x05, 0, 5)]}, "next logical"),
        (
            {
                0: [(0x05, 100, 50)],
                100: [(0x83, 1, 5), (0x05, 10, 9)],
                110: [(0x83, 1, 5), (0x05, 10, 9)],
            },
            "circle",
        ),
        (
            {
                0: [(0x05, 100, 50)],
                100: [(0x83, 1, 20), (0x05, 10, 9)],
                110: [(0x83, 1, 5)],
            },
            "overlap",
        ),
    ],
)
def test_an_mbr_that_contradicts_itself_is_refused(
    sectors: dict[int, list[tuple[int, int, int]]], why: str
) -> None:
    with MemoryIo(SIZE) as io:
        for at, entries in sectors.items():
            io.pwrite(_mbr(entries), at * 512)
        with pytest.raises(DamagedFileSystemError, match=why):
            list_partitions(io)


def test_a_chain_of_logical_partitions_ends_somewhere() -> None:
    with MemoryIo(SIZE) as io:
        io.pwrite(_mbr([(0x05, 100, 10_000)]), 0)
        for at in range(100, 2100, 2):
            io.pwrite(_mbr([(0x83, 1, 1), (0x05, at - 100 + 2, 2)]), at * 512)
        with pytest.raises(DamagedFileSystemError, match="more than 256"):
            list_partitions(io)


@given(data=st.data())
def test_any_table_is_refused_or_read_as_ranges_inside_the_volume(data: st.DataObject) -> None:
    """Fields of valid tables set to anything, checksums made right where they would hide it."""
    size = 1 << 18
    sectors = size // 512
    sector = st.integers(0, sectors + 3)
    if data.draw(st.booleans()):
        entries = data.draw(st.lists(st.tuples(sector, sector), max_size=4))
        changed = data.draw(
            st.dictionaries(
                st.sampled_from(["lba", "first", "last", "table", "count", "entry", "header"]),
                st.one_of(sector, st.integers(0, 2**32 - 1)),
                max_size=2,
            )
        )
        io = _gpt(entries, size=size, **changed)
    else:
        io = MemoryIo(size)
        kind = st.sampled_from([0, 0x05, 0x0F, 0x83, 0x82])
        table = st.lists(st.tuples(kind, sector, sector), max_size=4)
        places = st.dictionaries(st.integers(0, 12), table, max_size=6)
        for at, one in {**data.draw(places), 0: data.draw(table)}.items():
            io.pwrite(_mbr(one), at * 512)
    with io:
        for at, byte in data.draw(
            st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), max_size=3)
        ):
            io.pwrite(bytes([byte]), at)
        try:
            found = list_partitions(io)
        except DamagedFileSystemError:
            return
    ordered = sorted(found, key=lambda one: one.offset)
    assert all(0 < one.offset < one.end <= size for one in ordered)
    assert all(a.end <= b.offset for a, b in pairwise(ordered))
    assert len({one.number for one in found}) == len(found)
