"""The test vectors of docs/formats.md, made by the code that writes the formats."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from pyroaring import BitMap

from pyrep._core import (
    Ack,
    Alog,
    AlogShape,
    Bitmap,
    BitmapFile,
    BitmapKey,
    LinkCore,
    MemoryIo,
    Numbers,
    Stream,
    Tree,
    VolumeCore,
    Wake,
    crc32c,
    encode_numbers,
    new_frame_buffer,
)
from pyrep.engine.digests import DigestStore, SpanDigests, span_digest
from pyrep.engine.outlet import stream_id_of
from pyrep.interconnect import messages, seal
from pyrep.interconnect.envelope import Kind, most_bytes, seal_envelope
from pyrep.interconnect.messages_path import Accept, OpenControl, OpenData, Refuse
from pyrep.interconnect.terms import OFFER
from pyrep.model import GroupId, SystemId

__all__ = [
    "PAGE_BYTES",
    "VECTORS",
    "commands_table",
    "hex_lines",
    "kind_rows",
    "make_frame",
    "struct_tag",
]

PAGE_BYTES = 4096
_ACK_TIMEOUT_S = 5.0


def hex_lines(data: bytes) -> str:
    """Return 16 bytes a line, in groups of four, each line behind its offset."""
    lines = []
    for at in range(0, len(data), 16):
        groups = [data[first : first + 4].hex() for first in range(at, min(at + 16, len(data)), 4)]
        lines.append(f"{at:04x}  {' '.join(groups)}")
    return "\n".join(lines)


# --- frames --------------------------------------------------------------------------------------


def make_frame() -> bytes:
    """Return a frame with one record of each type but TRIM, as a stream sends it."""
    with (
        MemoryIo(1 << 20) as io,
        Tree(1) as tree,
        Wake() as wake,
        VolumeCore(io, tree, name="105a", wake=wake) as volume,
        Stream(stream_id_of(SystemId("100a"), GroupId("g")), capacity_bytes=4 << 20) as stream,
        LinkCore(volume, chunk_bytes=8192, shares_marks=False) as link,
    ):
        stream.open(7)
        link.ship(stream, 1, Ack.QUEUED)
        volume.pwrite(b"pyrep", 8192, ack_timeout_s=_ACK_TIMEOUT_S)
        volume.zero(4096, 65536, ack_timeout_s=_ACK_TIMEOUT_S)
        stream.barrier()
        buffer, memory = new_frame_buffer()
        frame = memory[: stream.take_into(buffer, _ACK_TIMEOUT_S, wake)]
        seal(frame)
        return bytes(frame)


# --- bitmap files --------------------------------------------------------------------------------


BITMAP_KEY = BitmapKey(
    system_key=bytes(range(0x10, 0x20)),
    volume_key=bytes(range(0x20, 0x30)),
    row_key=bytes(range(0x30, 0x40)),
    bit_count=131072,
    chunk_bytes=8192,
    data_id=0x0102030405060708,
)
"""Whose the documented bitmap file is."""


def _bitmap_file(directory: Path) -> bytes:
    key = BITMAP_KEY
    path = directory / "vector.bitmap"
    path.unlink(missing_ok=True)
    bits = Bitmap(key.bit_count)
    bits.set(0, 4)
    bits.set(100, 1)
    with BitmapFile.create(path, key, marked_open=True) as file:
        file.save(bits)
        file.mark_closed(key.data_id)
    return path.read_bytes()


def _header(directory: Path) -> bytes:
    return _bitmap_file(directory)[:96]


def _header_crc(directory: Path) -> bytes:
    return _bitmap_file(directory)[PAGE_BYTES - 4 : PAGE_BYTES]


def _page(directory: Path) -> bytes:
    return _bitmap_file(directory)[PAGE_BYTES : PAGE_BYTES + 16]


def _page_end(directory: Path) -> bytes:
    return _bitmap_file(directory)[2 * PAGE_BYTES - 16 : 2 * PAGE_BYTES]


# --- activity logs -------------------------------------------------------------------------------


def _log_file(directory: Path) -> bytes:
    """Five regions of four slots: the first one leaves with chunks 1 and 100 pending."""
    shape = AlogShape(
        system_key=bytes(range(0x10, 0x20)),
        volume_key=bytes(range(0x20, 0x30)),
        size_bytes=8 << 20,
        region_bytes=1 << 20,
        hot_regions=4,
    )
    key = BitmapKey(
        system_key=shape.system_key,
        volume_key=shape.volume_key,
        row_key=bytes(range(0x30, 0x40)),
        bit_count=1024,
        chunk_bytes=8192,
        data_id=1,
    )
    path = directory / "log.bitmap"
    path.unlink(missing_ok=True)
    with (
        MemoryIo(shape.file_bytes) as log_io,
        MemoryIo(shape.size_bytes) as io,
        Tree(1) as tree,
        Wake() as wake,
    ):
        Alog.format(log_io, shape)
        log = Alog(log_io, shape)
        file = BitmapFile.create(path, key, marked_open=True)
        volume = VolumeCore(io, tree, name="105a", wake=wake)
        link = LinkCore(volume, chunk_bytes=8192, shares_marks=False)
        log.begin(volume)
        link.keep(file, key.row_key)
        link.mark()
        for chunk in (1, 100, 128, 256, 384, 512):
            volume.pwrite(b"pyrep", chunk * 8192, ack_timeout_s=_ACK_TIMEOUT_S)
        for one in (link, volume, log, file):
            one.close()
        return log_io.pread(shape.file_bytes, 0)


def _log_block(directory: Path) -> bytes:
    return _log_file(directory)[8 * PAGE_BYTES : 9 * PAGE_BYTES]


# --- digest files --------------------------------------------------------------------------------


def _digest_file(directory: Path) -> bytes:
    store = DigestStore(directory / "digests", bytes(range(0x10, 0x20)))
    key = bytes(range(0x30, 0x40))
    digests = SpanDigests(
        size_bytes=3 << 20, done=3, spans=BitMap([1]), values=span_digest(b"pyrep".ljust(1 << 20))
    )
    store.save(key, bytes(range(0x20, 0x30)), digests)
    return store.path_of(key).read_bytes()


# --- messages ------------------------------------------------------------------------------------


def _roaring() -> bytes:
    bits = Bitmap(131072)
    bits.set(0, 4)
    bits.set(100, 1)
    return bits.to_roaring()


def _hello() -> bytes:
    return messages.encode(
        messages.Hello(
            system_id="100a",
            boot_id=bytes(range(16)),
            system_key=bytes(range(16, 32)),
            **OFFER.words(),
        )
    )


# --- the byte stream -----------------------------------------------------------------------------


def _sealed(kind: Kind, message: msgspec.Struct) -> bytes:
    body = messages.encode(message)
    return seal_envelope(kind, 0, len(body)) + body


def _accept() -> bytes:
    hello = messages.Hello(
        system_id="100b",
        boot_id=bytes(range(0x40, 0x50)),
        system_key=bytes(range(0x50, 0x60)),
        **OFFER.words(),
    )
    token = bytes(range(0x30, 0x40))
    accept = Accept(attempt=7, hello=messages.encode(hello), token=token)
    return _sealed(Kind.ACCEPT, accept)


def _refuse() -> bytes:
    return _sealed(Kind.REFUSE, Refuse(message="not you", hint="ask 100b"))


def kind_rows() -> list[tuple[int, str, int]]:
    """Return number, name and longest body of each kind of envelope."""
    return [(one.value, one.name, most_bytes(one)) for one in Kind]


def _ack() -> bytes:
    return messages.encode(
        messages.StreamAck(
            stream_id=stream_id_of(SystemId("100a"), GroupId("g")),
            attempt=7,
            received=3,
            durable=3,
            errors={1: 28},
        )
    )


def _numbers() -> bytes:
    stream_id = stream_id_of(SystemId("100a"), GroupId("g"))
    body = encode_numbers(Numbers(stream_id=stream_id, attempt=7, received=3, durable=3))
    return seal_envelope(Kind.NUMBERS, 0, len(body)) + body


def _split_pair() -> bytes:
    return messages.encode(messages.SplitPair(pair_id="100a.1", cause="requested"))


def _done() -> bytes:
    return messages.encode(messages.Done())


VECTORS: Mapping[str, Callable[[Path], bytes]] = {
    "crc-32c of 123456789": lambda _: crc32c(b"123456789").to_bytes(4, "little"),
    "bitmap header": _header,
    "bitmap header crc": _header_crc,
    "bitmap page": _page,
    "bitmap page end": _page_end,
    "activity log header": lambda path: _log_file(path)[:72],
    "activity log header crc": lambda path: _log_file(path)[PAGE_BYTES - 4 : PAGE_BYTES],
    "activity log block": lambda path: _log_block(path)[:144],
    "activity log block crc": lambda path: _log_block(path)[-4:],
    "digest file": _digest_file,
    "frame": lambda _: make_frame(),
    "stream id": lambda _: stream_id_of(SystemId("100a"), GroupId("g")).to_bytes(8, "little"),
    "hello": lambda _: _hello(),
    "envelope": lambda _: seal_envelope(Kind.COMMAND, 77, 5),
    "open control": lambda _: _sealed(Kind.OPEN_CONTROL, OpenControl(hello=_hello(), attempt=7)),
    "accept": lambda _: _accept(),
    "open data": lambda _: _sealed(Kind.OPEN_DATA, OpenData(token=bytes(range(0x30, 0x40)))),
    "refuse": lambda _: _refuse(),
    "stream ack": lambda _: _ack(),
    "numbers": lambda _: _numbers(),
    "split_pair": lambda _: _split_pair(),
    "done": lambda _: _done(),
    "pending bits": lambda _: _roaring(),
}
"""By name in the document: bytes, given a directory to work in."""


# --- the table of commands -----------------------------------------------------------------------


def struct_tag(kind: type) -> str:
    """Return the value of `type` in a message."""
    return str(kind.__struct_config__.tag)  # type: ignore[attr-defined]


def _field(field: msgspec.structs.FieldInfo) -> str:
    name = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    if field.type == dict[str, typing.Any]:
        name = "map"
    optional = "" if field.required else " (may be left out)"
    return f"`{field.name}` {name.replace(' | None', ' or nil')}{optional}"


def _rows(kinds: Sequence[type]) -> list[str]:
    rows = []
    for kind in kinds:
        fields = ", ".join(_field(one) for one in msgspec.structs.fields(kind))
        meaning = (kind.__doc__ or "").splitlines()[0]
        rows.append(f"| `{struct_tag(kind)}` | {fields or '-'} | {meaning} |")
    return rows


def commands_table(union: object) -> str:
    """Return the rows of a table of all messages of a union, in its order."""
    head = ["| type | fields | meaning |", "|---|---|---|"]
    return "\n".join([*head, *_rows(typing.get_args(union))])
