from __future__ import annotations

import zlib

import pytest

from pyrep.cli.demo.bigfile import BigFile
from pyrep.model import MIB


def test_it_can_be_made_again_and_is_incompressible() -> None:
    big = BigFile(seed=1, size=2 * MIB)
    data = b"".join(big.spans())
    assert len(data) == 2 * MIB
    assert data == b"".join(big.spans())
    assert data != b"".join(BigFile(seed=2, size=2 * MIB).spans())
    assert data[:MIB] != data[MIB:]
    assert len(zlib.compress(data, 1)) > len(data)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 1), (MIB - 1, 2), (MIB + 5, MIB), (2 * MIB - 7, 7), (0, 3 * MIB)]
)
def test_a_patch_is_where_it_was_put_and_nowhere_else(offset: int, length: int) -> None:
    plain = BigFile(seed=1, size=3 * MIB)
    patch = bytes(range(256)) * (-(-length // 256))
    patched = BigFile(seed=1, size=3 * MIB, patches={offset: patch[:length]})
    expected = bytearray(b"".join(plain.spans()))
    expected[offset : offset + length] = patch[:length]
    assert b"".join(patched.spans()) == bytes(expected)
    touched = patched.touched(offset, length)
    for index in range(3):
        assert (index in touched) == (plain.span(index) != patched.span(index))
