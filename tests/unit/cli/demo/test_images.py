from __future__ import annotations

from pathlib import Path

import pytest

from pyrep.cli.demo.images import (
    count_differing_chunks,
    digest_chunks,
    digest_image,
    find_difference,
    find_nonzero,
    read_data,
)
from pyrep.model import MIB

_SIZE = 5 * MIB + 777  # the last MiB is partial
_CHUNK = 8192


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Return two sparse files with the same content."""
    paths = tmp_path / "one", tmp_path / "other"
    for path in paths:
        with path.open("wb") as file:
            file.truncate(_SIZE)
        write(path, MIB + 100, b"content" * 1000)
    return paths


def write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def count_in(pair: tuple[Path, Path], chunk_bytes: int) -> int:
    return count_differing_chunks(*(digest_chunks(one, chunk_bytes) for one in pair))


def test_equal_files_have_no_difference(pair: tuple[Path, Path]) -> None:
    assert find_difference(*pair) is None
    assert count_in(pair, _CHUNK) == 0
    assert digest_image(pair[0]) == digest_image(pair[1])


def test_zeros_and_holes_are_alike(pair: tuple[Path, Path]) -> None:
    write(pair[1], 3 * MIB, bytes(MIB))
    assert find_difference(*pair) is None
    assert count_in(pair, _CHUNK) == 0
    assert digest_image(pair[0]) == digest_image(pair[1])


@pytest.mark.parametrize("offset", [0, MIB + 105, 4 * MIB - 1, _SIZE - 1])
def test_one_byte_is_found_where_it_is(pair: tuple[Path, Path], offset: int) -> None:
    write(pair[0], offset, b"\x01")
    assert find_difference(*pair) == offset
    assert find_difference(*reversed(pair)) == offset
    assert count_in(pair, _CHUNK) == 1
    assert digest_image(pair[0]) != digest_image(pair[1])


def test_chunks_are_counted_and_not_runs(pair: tuple[Path, Path]) -> None:
    write(pair[1], 2 * MIB - 1, b"ab")  # the last byte of one chunk, the first of the next
    write(pair[1], 3 * MIB, b"c" * (3 * _CHUNK + 1))
    write(pair[1], _SIZE - 1, b"d")
    assert count_in(pair, _CHUNK) == 2 + 4 + 1
    assert count_in(pair, MIB) == 2 + 1 + 1


def test_content_that_moved_has_another_digest(tmp_path: Path) -> None:
    for name, offset in (("one", 0), ("other", MIB)):
        path = tmp_path / name
        path.write_bytes(bytes(2 * MIB))
        write(path, offset, b"the same")
    assert digest_image(tmp_path / "one") != digest_image(tmp_path / "other")


def test_a_shorter_file_differs_at_its_end(pair: tuple[Path, Path]) -> None:
    with pair[1].open("r+b") as file:
        file.truncate(_SIZE - 5)
    assert find_difference(*pair) == _SIZE - 5
    assert digest_image(pair[0]) != digest_image(pair[1])


def test_data_outside_a_range_is_found(pair: tuple[Path, Path]) -> None:
    assert find_nonzero(pair[0], outside=range(0)) == MIB
    assert find_nonzero(pair[0], outside=range(MIB, 2 * MIB)) is None
    write(pair[0], _SIZE - 1, b"\x01")
    assert find_nonzero(pair[0], outside=range(MIB, 2 * MIB)) == 5 * MIB


def test_data_is_read_without_the_holes(pair: tuple[Path, Path]) -> None:
    write(pair[0], _SIZE - 3, b"end")
    data = dict(read_data(pair[0]))
    assert list(data) == [MIB, 5 * MIB]
    assert data[MIB][100:7100] == b"content" * 1000
    assert len(data[5 * MIB]) == 777
    assert data[5 * MIB].endswith(b"end")
