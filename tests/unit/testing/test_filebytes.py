"""A file known page by page is as the file would be."""

from __future__ import annotations

import random
from pathlib import Path

from pyrep.testing.filebytes import FileBytes


def _bytes(one: FileBytes, path: Path) -> bytes:
    one.save(path)
    return path.read_bytes()


def test_it_holds_what_a_file_would_hold_after_the_same_calls(tmp_path: Path) -> None:
    draw = random.Random(7)
    for _ in range(20):
        one, plain = FileBytes(), bytearray()
        for _ in range(30):
            offset, length = draw.randrange(30_000), draw.choice([1, 512, 4096, 9000])
            match draw.choice(["write", "zero", "resize"]):
                case "write":
                    data = draw.randbytes(length)
                    plain.extend(bytes(max(0, offset + length - len(plain))))
                    plain[offset : offset + length] = data
                    one.write(data, offset)
                case "zero":
                    end = min(offset + length, len(plain))
                    plain[offset:end] = bytes(max(0, end - offset))
                    one.zero(offset, length)
                case _:
                    del plain[offset:]
                    plain.extend(bytes(offset - len(plain)))
                    one.resize(offset)
        assert _bytes(one, tmp_path / "one") == plain
        assert _bytes(FileBytes.of(tmp_path / "one"), tmp_path / "other") == plain


def test_a_copy_is_apart_and_zeros_stay_holes(tmp_path: Path) -> None:
    one = FileBytes(1 << 20)
    one.write(b"x", 5000)
    other = one.copy()
    other.zero(0, 1 << 20)
    assert _bytes(one, tmp_path / "one")[5000:5001] == b"x"
    assert not any(_bytes(other, tmp_path / "other"))
    assert (tmp_path / "other").stat().st_blocks == 0
