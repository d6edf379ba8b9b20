from __future__ import annotations

import pytest

from pyrep.errors import InvalidArgumentError
from pyrep.model.units import (
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    CHUNKS_MAX,
    GIB,
    KIB,
    MIB,
    TIB,
    check_chunk_bytes,
    chunk_count,
    format_bytes,
)


@pytest.mark.parametrize(("size", "count"), [(1, 1), (8192, 1), (8193, 2), (16384, 2)])
def test_a_partial_last_chunk_counts(size: int, count: int) -> None:
    assert chunk_count(size, 8192) == count


@pytest.mark.parametrize("chunk", [CHUNK_BYTES_MIN << n for n in range(9)])
def test_powers_of_two_from_4_kib_to_1_mib_are_chunk_sizes(chunk: int) -> None:
    assert check_chunk_bytes(GIB, chunk) == chunk


@pytest.mark.parametrize("chunk", [0, -8192, 512, 2048, 8191, 12288, 2 * MIB])
def test_other_chunk_sizes_are_refused_with_the_range(chunk: int) -> None:
    with pytest.raises(InvalidArgumentError, match="chunk size") as caught:
        check_chunk_bytes(GIB, chunk)
    assert "4096" in str(caught.value.hint)


def test_too_many_chunks_are_refused_with_the_size_that_fits() -> None:
    largest = CHUNK_BYTES_MIN * CHUNKS_MAX
    assert check_chunk_bytes(largest, CHUNK_BYTES_MIN) == CHUNK_BYTES_MIN
    with pytest.raises(InvalidArgumentError, match="too many chunks of 4 KiB") as caught:
        check_chunk_bytes(largest + 1, CHUNK_BYTES_MIN)
    assert caught.value.hint == "use chunk_bytes=8192 (8 KiB)"
    assert check_chunk_bytes(largest + 1, 8192) == 8192


def test_a_volume_too_large_for_any_chunk_size_is_told_the_limit() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_chunk_bytes(CHUNK_BYTES_MAX * CHUNKS_MAX + 1, 8192)
    assert caught.value.hint == "a mirrored volume is at most 4096 TiB"


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_volume_has_no_chunks(size: int) -> None:
    with pytest.raises(InvalidArgumentError, match="can't be mirrored"):
        check_chunk_bytes(size, 8192)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (1536, "1.5 KiB"),
        (200 * MIB, "200 MiB"),
        (GIB + GIB // 2, "1.5 GiB"),
        (3 * TIB, "3 TiB"),
        (-2 * KIB, "-2 KiB"),
    ],
)
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert format_bytes(size) == text
