"""docs/formats.md is what the code writes: every vector, every message, every name on disk."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
import xxhash

from docs.vectors import (
    BITMAP_KEY,
    PAGE_BYTES,
    VECTORS,
    commands_table,
    hex_lines,
    kind_rows,
    make_frame,
)
from pyrep import AckPoint, StorageSystem, connect
from pyrep._core import FRAME_BYTES, BitmapFile, BitmapKey, check_frame, crc32c
from pyrep.errors import WireError
from pyrep.interconnect import check_digest, messages
from pyrep.interconnect.envelope import Kind, receive
from pyrep.interconnect.messages_path import Accept, OpenControl
from pyrep.interconnect.terms import FEATURES
from pyrep.meta.schema import APPLICATION_ID, MIGRATIONS
from tape import Tape

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/formats.md").read_text()


def _documented_vectors() -> dict[str, str]:
    found = re.findall(r"^```text (.+)\n((?:.*\n)*?)```$", TEXT, re.MULTILINE)
    return {name: body.rstrip("\n") for name, body in found}


def _bytes_of(name: str) -> bytes:
    lines = _documented_vectors()[name].splitlines()
    return bytes.fromhex("".join(line.split("  ", 1)[1] for line in lines))


def _between(name: str) -> str:
    match = re.search(rf"<!-- {name}:begin -->\n(.*)\n<!-- {name}:end -->", TEXT, re.DOTALL)
    assert match is not None, name
    return match.group(1)


def test_every_vector_is_in_the_document_once_and_none_else() -> None:
    names = re.findall(r"^```text (.+)$", TEXT, re.MULTILINE)

    assert sorted(names) == sorted(VECTORS)


@pytest.mark.parametrize("name", VECTORS)
def test_a_vector_is_what_the_code_writes(name: str, tmp_path: Path) -> None:
    assert _documented_vectors()[name] == hex_lines(VECTORS[name](tmp_path))


def test_the_documented_frame_is_taken_and_a_changed_byte_is_not() -> None:
    frame = _bytes_of("frame")

    check_digest(frame)
    info = check_frame(frame)

    assert (info.attempt, info.first_number, info.record_count) == (7, 1, 3)
    changed = bytearray(frame)
    changed[-1] ^= 1
    with pytest.raises(WireError, match="digest"):
        check_digest(changed)


def test_the_documented_layout_of_a_frame_reads_its_vector() -> None:
    frame = make_frame()
    records = frame[64:]

    def number(data: bytes, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "little")

    assert frame[:8] == b"pyrepFR\0"
    words = [frame[at : at + 8] for at in range(16, len(frame), 8)]
    assert number(frame, 8, 4) == crc32c(b"".join(words[::2]))
    assert number(frame, 12, 4) == crc32c(b"".join(words[1::2]))
    assert (number(frame, 16, 2), number(frame, 18, 2), number(frame, 20, 4)) == (1, 0, 3)
    assert number(frame, 24, 8) == xxhash.xxh3_64_intdigest(b"100a\0g") >> 1
    assert number(frame, 48, 4) == len(records)
    assert (records[0], number(records, 4, 4), number(records, 8, 8)) == (1, 1, 1)
    assert (number(records, 16, 8), number(records, 24, 4)) == (8192, 5)
    assert records[32:37] == b"pyrep"
    assert records[37] == 2
    assert records[69] == 4
    assert f"at most {FRAME_BYTES} bytes together" in TEXT


def test_the_documented_pieces_of_a_bitmap_file_are_taken_as_a_whole_one(tmp_path: Path) -> None:
    head = _bytes_of("bitmap header").ljust(PAGE_BYTES - 4, b"\0")
    page = _bytes_of("bitmap page").ljust(PAGE_BYTES - 16, b"\0") + _bytes_of("bitmap page end")
    pages = -(-131072 // 32640)
    path = tmp_path / "documented.bitmap"
    path.write_bytes(head + _bytes_of("bitmap header crc") + page + bytes(PAGE_BYTES * (pages - 1)))
    with BitmapFile.open(path, BITMAP_KEY) as file:
        assert not file.marked_open

    assert crc32c(head).to_bytes(4, "little") == _bytes_of("bitmap header crc")


def test_the_open_mark_is_the_flag_that_is_documented(tmp_path: Path) -> None:
    key = BitmapKey(
        system_key=bytes(16),
        volume_key=bytes(16),
        row_key=bytes(16),
        bit_count=1,
        chunk_bytes=8192,
        data_id=1,
    )
    path = tmp_path / "open.bitmap"

    with BitmapFile.create(path, key, marked_open=True):
        assert path.read_bytes()[12] == 1


def test_every_command_and_answer_is_documented_with_its_fields() -> None:
    assert _between("messages") == commands_table(messages.Message)
    assert _between("answers") == commands_table(messages.Answer)


def test_every_kind_of_envelope_is_documented_with_its_longest_body() -> None:
    found = re.findall(
        r"^\| (\d+) \| `([A-Z_]+)` \| .*? \| (\d+) \|", _between("kinds"), re.MULTILINE
    )
    assert [(int(number), name, int(most)) for number, name, most in found] == kind_rows()


def test_the_documented_opening_of_a_path_is_taken_as_it_stands() -> None:
    opened, asked = receive(Tape(_bytes_of("open control")))
    answered, told = receive(Tape(_bytes_of("accept")))

    assert (opened.kind, answered.kind) == (Kind.OPEN_CONTROL, Kind.ACCEPT)
    assert messages.decode_plain(asked, OpenControl).hello == _bytes_of("hello")
    accept = messages.decode_plain(told, Accept)
    assert (accept.attempt, accept.token) == (7, bytes(range(0x30, 0x40)))
    assert messages.decode_plain(accept.hello, messages.Hello).system_id == "100b"


def test_every_feature_is_documented() -> None:
    said = TEXT.split("**Versions and features.**")[1].split("Features:")[1].split("\n\n")[0]
    assert set(re.findall(r"`([a-z_]+)`", said)) == FEATURES
    assert FEATURES or "none yet" in said


def test_the_workflows_verbs_are_those_that_a_system_answers(tmp_path: Path) -> None:
    documented = re.findall(r"^\| `([a-z.]+)`", _between("verbs"), re.MULTILINE)

    with StorageSystem.create(tmp_path / "100a", "100a") as system:
        endpoint = system.endpoint
        assert sorted(documented) == sorted([*endpoint.calls, *endpoint.errands])
        long = re.findall(r"^\| `([a-z.]+)` \(errand\)", _between("verbs"), re.MULTILINE)
        assert sorted(long) == sorted(endpoint.errands)


def test_versions_are_those_of_the_code() -> None:
    assert f"`application_id` 0x{APPLICATION_ID:x}, `user_version` {len(MIGRATIONS)}" in TEXT
    assert f"| tables | {len(MIGRATIONS)} |" in TEXT
    assert f"| protocol (handshake, commands) | {messages.PROTOCOL_VERSION} |" in TEXT


def test_a_systems_directory_holds_what_is_documented_and_nothing_else(tmp_path: Path) -> None:
    with (
        StorageSystem.create(tmp_path / "100a", "100a") as primary,
        StorageSystem.create(tmp_path / "100b", "100b") as secondary,
    ):
        connect(primary, secondary)
        primary.create_volume("105a", 1 << 20)
        for name in ("105b", "106b"):
            secondary.create_volume(name, 1 << 20)
        primary.create_remote_pair("105a", "100b", "105b", ack=AckPoint.DURABLE).wait()
        local = secondary.create_local_pair("105b", "106b")
        local.wait()
        local.split()
        rows = len(secondary.table())

    names = {path.relative_to(tmp_path / "100b") for path in (tmp_path / "100b").rglob("*")}
    bitmaps = {path for path in names if path.parent.name == "bitmaps"}
    logs = {path for path in names if path.parent.name == "alog"}
    assert len(logs) == 2
    assert all(re.fullmatch(r"[0-9a-f]{32}\.log", path.name) for path in logs)
    assert {str(path) for path in names - bitmaps - logs} == {
        "alog",
        "bitmaps",
        "lock",
        "pyrep.db",
        "volumes",
        "volumes/105b.img",
        "volumes/106b.img",
    }
    assert all(re.fullmatch(r"[0-9a-f]{32}\.bitmap", path.name) for path in bitmaps)
    assert len(bitmaps) == rows + 1  # and one interval of shared marks, since the split


def test_the_tables_are_those_that_are_documented(tmp_path: Path) -> None:
    with StorageSystem.create(tmp_path / "100a", "100a"):
        pass
    connection = sqlite3.connect(tmp_path / "100a/pyrep.db")
    try:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    finally:
        connection.close()

    section = TEXT.split("## Tables")[1].split("## Bitmap file")[0]
    documented = [
        name
        for row in re.findall(r"^\| (`.*`) \|", section, re.MULTILINE)
        for name in re.findall(r"`([a-z_]+)`", row)
    ]
    assert sorted(name for (name,) in found) == sorted(documented)
