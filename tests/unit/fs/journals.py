"""Journals for the tests: written block by block into an image, and replayed by e2fsck."""

from __future__ import annotations

import enum
import os
import re
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from pyrep._core import FileIo, JournalReport, crc32c, replay_journal
from unit.fs.images import Image, ImageMaker

SUPER = 1024
INCOMPAT = SUPER + 96
NEEDS_RECOVERY = 4
MAGIC = 0xC03B3998
ALL_ONES = 0xFFFFFFFF

# What e2fsck changes beside the journal: times, a count of kilobytes, and the checksum over them.
E2FSCK_ALONE = ((SUPER + 48, 4), (SUPER + 64, 4), (SUPER + 376, 8), (SUPER + 1020, 4))


class Sums(enum.IntFlag):
    """Features of a journal: which checksums it has, and how wide a block's number is."""

    NONE = 0
    WIDE = 2
    ASYNC = 4
    V2 = 8
    V3 = 16
    FAST = 32
    V1 = 1 << 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of journal in a kind of file system."""

    features: Sums
    block_bytes: int = 1024
    type: str = "ext4"
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name among a test's parameters."""
        return f"{self.type}-{self.block_bytes}-{self.features!r}".replace("Sums.", "")


def crc(seed: int, data: bytes) -> int:
    """CRC-32C without inversions, as ext4 has it."""
    return crc32c(data, seed ^ ALL_ONES) ^ ALL_ONES


def crc32_be(value: int, data: bytes) -> int:
    """CRC-32, highest bit first, without inversions."""
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & ALL_ONES
    return value


class Commit(enum.Enum):
    """How a transaction ends."""

    GOOD = enum.auto()
    MISSING = enum.auto()
    WRONG = enum.auto()


class Journal:
    """The journal of an image, being written."""

    def __init__(
        self,
        image: Image,
        kind: Kind,
        *,
        sequence: int = 7,
        start: int = 1,
        blocks: list[int] | None = None,
    ) -> None:
        self.image = image
        self.kind = kind
        self.sequence = sequence
        self.at = start
        self.time = 1000
        self.has_v2v3 = bool(kind.features & (Sums.V2 | Sums.V3))
        self._bytes = bytearray(image.path.read_bytes())
        self.blocks = blocks or blocks_of_journal(image)
        super_at = self.blocks[0] * kind.block_bytes
        self.length = struct.unpack_from(">I", self._bytes, super_at + 16)[0]
        self.fast_blocks = 16 if kind.features & Sums.FAST else 0
        self.last = self.length - self.fast_blocks
        self.seed = crc(ALL_ONES, self.uuid)
        self.set_super(24, sequence, start, 0)
        self.set_super(36, 1 if kind.features & Sums.V1 else 0, 1 | kind.features & 0xFF)
        self.set_super(80, 4 << 24 if self.has_v2v3 else 0, self.fast_blocks)
        self._set_needs_recovery()

    @property
    def uuid(self) -> bytes:
        """The journal's."""
        return self.read(0)[48:64]

    @property
    def spare(self) -> int:
        """The first of many blocks that nothing in the file system uses."""
        return len(self._bytes) // self.kind.block_bytes - 600

    def read(self, log_block: int) -> bytes:
        """Return a block of the log."""
        at = self.blocks[log_block] * self.kind.block_bytes
        return bytes(self._bytes[at : at + self.kind.block_bytes])

    def put(self, log_block: int, data: bytes) -> None:
        """Write a block of the log, filled up with zeros."""
        at = self.blocks[log_block] * self.kind.block_bytes
        self._bytes[at : at + self.kind.block_bytes] = data.ljust(self.kind.block_bytes, b"\0")

    def set_super(self, offset: int, *words: int) -> None:
        """Change words of the journal's superblock, and seal it."""
        block = bytearray(self.read(0))
        struct.pack_into(f">{len(words)}I", block, offset, *words)
        struct.pack_into(">I", block, 252, 0)
        if self.has_v2v3:
            struct.pack_into(">I", block, 252, crc(ALL_ONES, bytes(block[:1024])))
        self.put(0, bytes(block))

    def _set_needs_recovery(self) -> None:
        self._bytes[INCOMPAT] |= NEEDS_RECOVERY
        self.seal_fs()

    def set_fs(self, offset: int, data: bytes) -> None:
        """Change the file system's superblock, and seal it."""
        self._bytes[SUPER + offset : SUPER + offset + len(data)] = data
        self.seal_fs()

    def seal_fs(self) -> None:
        """Write the superblock's own checksum, if it has one."""
        self.seal(self._bytes, SUPER)

    def seal(self, data: bytearray, at: int) -> None:
        """Seal a copy of the superblock."""
        if data[at + 101] & 4:
            struct.pack_into("<I", data, at + 1020, crc(ALL_ONES, bytes(data[at : at + 1020])))

    def break_in_pieces(self, depth: int) -> None:
        """Give the journal's inode 16 extents in another order, in a tree of this depth."""
        size = len(self.blocks) // 16
        order = [(i * 5 + 3) % 16 for i in range(16)]
        pieces = [self.blocks[i * size : (i + 1) * size] for i in order]
        old, self.blocks = self.blocks, [block for piece in pieces for block in piece]
        content = [bytes(self._block(block)) for block in old]
        for block, data in zip(self.blocks, content, strict=True):
            self._block(block)[:] = data
        entries = [struct.pack("<IHHI", i * size, size, 0, p[0]) for i, p in enumerate(pieces)]
        inode_at = self._inode_at()
        key = struct.pack("<I", 8) + bytes(self._bytes[inode_at + 100 : inode_at + 104])
        seed = crc(crc(ALL_ONES, bytes(self._bytes[SUPER + 104 : SUPER + 120])), key)
        most = (self.kind.block_bytes - 12) // 12
        for level in range(depth):
            node = struct.pack("<HHHHI", 0xF30A, len(entries), most, level, 0) + b"".join(entries)
            node = node.ljust(12 + 12 * most, b"\0")
            where = self.spare - 1 - level
            self._block(where)[:] = (node + struct.pack("<I", crc(seed, node))).ljust(
                self.kind.block_bytes, b"\0"
            )
            entries = [struct.pack("<IIHH", 0, where, 0, 0)]
        root = struct.pack("<HHHHI", 0xF30A, 1, 4, depth, 0) + entries[0]
        self._bytes[inode_at + 40 : inode_at + 100] = root.ljust(60, b"\0")
        self.set_fs(268, root.ljust(60, b"\0"))  # else e2fsck copies it there
        if self._bytes[SUPER + 101] & 4:
            self._bytes[inode_at + 124 : inode_at + 126] = bytes(2)
            self._bytes[inode_at + 130 : inode_at + 132] = bytes(2)
            value = crc(seed, bytes(self._bytes[inode_at : inode_at + 256]))
            struct.pack_into("<H", self._bytes, inode_at + 124, value & 0xFFFF)
            struct.pack_into("<H", self._bytes, inode_at + 130, value >> 16)

    def _block(self, number: int) -> memoryview:
        size = self.kind.block_bytes
        return memoryview(self._bytes)[number * size : (number + 1) * size]

    def _inode_at(self) -> int:
        text = self.image.ask("imap <8>")
        block = int(text.split("located at block ")[1].split(",")[0])
        return block * self.kind.block_bytes + int(text.split("offset 0x")[1].split()[0], 16)

    def patch_inode(self, offset: int, data: bytes) -> None:
        """Change bytes of the journal's inode; its checksum stays as it was."""
        at = self._inode_at() + offset
        self._bytes[at : at + len(data)] = data

    def fs_super_block(self) -> tuple[int, bytearray]:
        """Return the block that has the superblock, and its number."""
        size = self.kind.block_bytes
        number = SUPER // size
        return number, bytearray(self._bytes[number * size : (number + 1) * size])

    def _take(self) -> int:
        log_block = self.at
        self.at = 1 if self.at + 1 == self.last else self.at + 1
        return log_block

    def _header(self, block_type: int) -> bytes:
        return struct.pack(">III", MAGIC, block_type, self.sequence & ALL_ONES)

    def _with_tail(self, body: bytes) -> bytes:
        if not self.has_v2v3:
            return body.ljust(self.kind.block_bytes, b"\0")
        block = body.ljust(self.kind.block_bytes, b"\0")
        return block[:-4] + struct.pack(">I", crc(self.seed, block[:-4] + bytes(4)))

    def _tag(self, target: int, logged: bytes, flags: int) -> bytes:
        seed = crc(self.seed, struct.pack(">I", self.sequence & ALL_ONES))
        features = self.kind.features
        value = crc(seed, logged) if self.has_v2v3 else 0
        high = target >> 32 if features & Sums.WIDE else 0
        if features & Sums.V3:
            tag = struct.pack(">IIII", target & ALL_ONES, flags, high, value)
        else:
            tag = struct.pack(">IHH", target & ALL_ONES, value & 0xFFFF, flags)
            tag += struct.pack(">I", high) if features & Sums.WIDE else b""
            tag += bytes(2) if features & Sums.V2 else b""
        return tag if flags & 2 else tag + self.uuid

    def _room_for_tags(self) -> int:
        size = len(self._tag(0, b"", 2))
        return (self.kind.block_bytes - 12 - 16 - 4 * self.has_v2v3) // size

    def revoke(self, *targets: int, count: int | None = None) -> None:
        """Write a revoke block; `count` bytes, if it shall be wrong."""
        form = ">Q" if self.kind.features & Sums.WIDE else ">I"
        records = b"".join(struct.pack(form, one) for one in targets)
        body = self._header(5) + struct.pack(">I", count or 16 + len(records)) + records
        self.put(self._take(), self._with_tail(body))

    def descriptor(self, copies: Sequence[tuple[int, bytes]]) -> list[bytes]:
        """Write copies behind as many descriptor blocks as they need; return all blocks of it."""
        room, written = self._room_for_tags(), []
        for first in range(0, len(copies), room):
            body, logged = self._header(1), []
            batch = copies[first : first + room]
            for index, (target, data) in enumerate(batch):
                block = data.ljust(self.kind.block_bytes, b"\0")
                flags = (0 if index == 0 else 2) | (8 if index == len(batch) - 1 else 0)
                if block[:4] == struct.pack(">I", MAGIC):
                    block, flags = bytes(4) + block[4:], flags | 1
                body += self._tag(target, block, flags)
                logged.append(block)
            written += [self._with_tail(body), *logged]
        for block in written:
            self.put(self._take(), block)
        return written

    def transaction(
        self,
        *copies: tuple[int, bytes],
        revokes: Sequence[int] = (),
        end: Commit = Commit.GOOD,
        time_s: int | None = None,
    ) -> None:
        """Write a whole transaction."""
        if revokes:
            self.revoke(*revokes)
        written = self.descriptor(copies)
        self.commit(written, end=end, time_s=time_s)

    def commit(
        self, written: Sequence[bytes], *, end: Commit = Commit.GOOD, time_s: int | None = None
    ) -> None:
        """Write a commit block."""
        self.time += 1
        log_block = self._take()
        block = bytearray(self._header(2).ljust(self.kind.block_bytes, b"\0"))
        struct.pack_into(">Q", block, 48, self.time if time_s is None else time_s)
        if self.kind.features & Sums.V1:
            value = ALL_ONES
            for one in written:
                value = crc32_be(value, one)
            struct.pack_into(">BBHI", block, 12, 1, 4, 0, value)
        if self.has_v2v3:
            struct.pack_into(">I", block, 16, crc(self.seed, bytes(block)))
        if end is Commit.WRONG:
            block[16] ^= 0x55
        if end is not Commit.MISSING:
            self.put(log_block, bytes(block))
        self.sequence += 1

    def fast_commit(self, tid: int, *, is_whole: bool = True) -> None:
        """Write a fast commit (of padding only) into its area."""
        head = struct.pack("<HHII", 9, 8, 0, tid & ALL_ONES)
        pad = struct.pack("<HH", 7, 8) + bytes(8)
        tail = struct.pack("<HHI", 8, 8, tid & ALL_ONES)
        value = crc(0, head + pad + tail)
        tail += struct.pack("<I", value if is_whole else value ^ 1)
        self.put(self.last + 1, head + pad + tail)

    def save(self) -> Image:
        """Write it all to the image's file."""
        self.image.path.write_bytes(self._bytes)
        return self.image


def blocks_of_journal(image: Image) -> list[int]:
    """Return where each block of the log lies, as debugfs says."""
    text = re.split(r"\n(?:BLOCKS|EXTENTS):\n", image.ask("stat <8>"))[1]
    blocks: list[int] = []
    for first, last, block in re.findall(r"\((\d+)(?:-(\d+))?\):(\d+)", text):
        count = int(last or first) - int(first) + 1
        blocks += range(int(block), int(block) + count)
    return blocks


def make_journal(
    images: ImageMaker, kind: Kind, *, sequence: int = 7, start: int = 1, name: str = "volume"
) -> Journal:
    """Make a file system whose journal is to be written. 1024 blocks, the least there can be."""
    megabytes = kind.block_bytes // 1024
    image = images.make(
        kind.type,
        ("-b", str(kind.block_bytes), "-J", f"size={megabytes}", *kind.options),
        size_bytes=4 * 1024 * kind.block_bytes,
        name=name,
    )
    image.is_sound = False  # until it is replayed
    return Journal(image, kind, sequence=sequence, start=start)


def replayed(image: Image) -> tuple[JournalReport, bytes]:
    """Return what our replay of a copy reports, and the copy then."""
    copy = image.copy(f"{image.path.name}.ours")
    with FileIo(copy.path) as io:
        report = replay_journal(io)
    return report, copy.path.read_bytes()


def replayed_by_e2fsck(image: Image) -> bytes:
    """Return a copy as e2fsck's replay leaves it, whatever it thinks of it."""
    copy = image.copy(f"{image.path.name}.theirs")
    subprocess.run(
        ["e2fsck", "-y", "-E", "journal_only", str(copy.path)],
        capture_output=True,
        check=False,
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
    )
    return copy.path.read_bytes()


def differing(ours: bytes, theirs: bytes) -> list[tuple[int, list[int]]]:
    """Return the KiB that differ and the bytes in each, but for what e2fsck alone changes."""
    found = []
    for at in range(0, max(len(ours), len(theirs)), 1024):
        one, other = bytearray(ours[at : at + 1024]), bytearray(theirs[at : at + 1024])
        if one == other:
            continue
        for offset, length in E2FSCK_ALONE:
            if at == SUPER:
                one[offset - at : offset - at + length] = bytes(length)
                other[offset - at : offset - at + length] = bytes(length)
        if one != other:
            found.append((at, [i for i in range(1024) if one[i] != other[i]]))
    return found


def check_as_e2fsck(image: Image) -> tuple[JournalReport, bytes]:
    """Replay it both ways, compare, and return ours."""
    report, ours = replayed(image)
    assert report.text == ""
    assert differing(ours, replayed_by_e2fsck(image)) == []
    return report, ours
