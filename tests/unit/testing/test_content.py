from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrep.errors import OutOfRangeError
from pyrep.testing import Content, HostWrite, MemoryIo, OverlayIo, in_some_order
from pyrep.testing.content import BLOCK_BYTES

SIZE = 10_000

ranges = st.integers(0, SIZE).flatmap(
    lambda offset: st.tuples(st.just(offset), st.integers(0, SIZE - offset))
)


@given(many=st.lists(ranges, max_size=8))
def test_it_holds_what_a_bytearray_would(many: list[tuple[int, int]]) -> None:
    content, plain = Content(SIZE), bytearray(SIZE)
    for number, (offset, length) in enumerate(many):
        data = random.Random(number).randbytes(length)
        content.write(data, offset)
        plain[offset : offset + length] = data
        assert content.read(length, offset) == data
    assert content.to_bytes() == plain
    assert list(content.differing_blocks(bytes(plain))) == []
    assert Content.of(bytes(plain)) == content


def test_a_copy_goes_its_own_way() -> None:
    one = Content(SIZE)
    other = one.copy()
    other.write(b"x", SIZE - 1)
    assert one.read(1, SIZE - 1) == b"\0"
    assert list(one.differing_blocks(other.to_bytes())) == [2]


@pytest.mark.parametrize(("length", "offset"), [(1, SIZE), (2, SIZE - 1), (1, -1), (SIZE + 1, 0)])
def test_a_range_past_the_end_is_refused_and_writes_nothing(length: int, offset: int) -> None:
    content = Content(SIZE)
    with pytest.raises(OutOfRangeError):
        content.write(b"x" * length, offset)
    with pytest.raises(OutOfRangeError):
        content.read(length, offset)
    assert content == Content(SIZE)


def test_concurrent_writes_land_whole_in_some_order_or_in_none() -> None:
    first, second = HostWrite(offset=0, data=b"aaaa"), HostWrite(offset=2, data=b"bbbb")
    before = Content(8)
    assert in_some_order(before, [first, second], b"aabbbb\0\0") == (first, second)
    assert in_some_order(before, [first, second], b"aaaabb\0\0") == (second, first)
    assert in_some_order(before, [first, second], b"aaabbb\0\0") is None


def test_what_differs_in_a_storage_is_found_in_its_data_and_in_its_holes() -> None:
    size = 5 * BLOCK_BYTES + 100
    content, io = Content(size), OverlayIo(MemoryIo(size))
    io.zero(size, 0)
    assert list(content.differing_in(io)) == []
    content.write(b"x" * 10, BLOCK_BYTES)  # a hole there
    io.pwrite(b"y" * 10, 3 * BLOCK_BYTES - 5)
    io.pwrite(b"z", size - 1)
    assert list(content.differing_in(io)) == [2, 3, 5, 1]
    io.pwrite(b"x" * 10, BLOCK_BYTES)
    io.zero(10, 3 * BLOCK_BYTES - 5)
    content.write(b"z", size - 1)
    assert list(content.differing_in(io)) == []


def test_contents_of_one_size_differ_in_blocks() -> None:
    one, other = Content(SIZE), Content(SIZE)
    one.write(bytes(10), 0)
    assert list(one.differing_from(other)) == []
    one.write(b"x", BLOCK_BYTES)
    assert list(one.differing_from(other)) == list(other.differing_from(one)) == [1]
    assert one != other
    assert Content(SIZE) != Content(SIZE + 1)
