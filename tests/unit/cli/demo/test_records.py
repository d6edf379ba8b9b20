from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep import PyrepError, StorageSystem, Volume
from pyrep.cli.demo.inspection import check_one_point
from pyrep.cli.demo.records import SLOT_BYTES, Place, RecordWriter, count_records, expected_ring
from pyrep.errors import FencedError

_SLOTS = 8


def with_slot(ring: bytes, index: int, data: bytes) -> bytes:
    """Return a ring in which a slot begins otherwise."""
    at = index * SLOT_BYTES
    return ring[:at] + data + ring[at + len(data) :]


def slot(count: int, index: int) -> bytes:
    """Return a slot's content after `count` records."""
    return expected_ring(count, _SLOTS)[index * SLOT_BYTES : (index + 1) * SLOT_BYTES]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 30])
def test_a_ring_tells_how_many_records_it_holds(count: int) -> None:
    assert count_records(expected_ring(count, _SLOTS)) == (count, None)


def test_no_two_slots_are_alike_before_the_first_record() -> None:
    ring = expected_ring(0, _SLOTS)
    assert len({ring[at : at + SLOT_BYTES] for at in range(0, len(ring), SLOT_BYTES)}) == _SLOTS


def test_a_record_that_is_missing_is_found() -> None:
    ring = with_slot(expected_ring(20, _SLOTS), 1, slot(17, 1))  # 18 belongs there
    assert count_records(ring) == (20, 1)


def test_a_torn_record_is_found() -> None:
    ring = expected_ring(5, _SLOTS)
    torn_at_its_end = with_slot(ring, 4, slot(0, 4)[:100])
    torn_at_its_start = with_slot(ring, 4, slot(5, 4)[:512] + slot(0, 4)[512:])
    assert count_records(torn_at_its_end) == (4, 4)
    assert count_records(torn_at_its_start) == (5, 4)


def test_one_prefix_on_both_volumes_is_right_with_and_without_the_last_record() -> None:
    for first in (5, 6):
        counts, check = check_one_point(
            (expected_ring(first, _SLOTS), expected_ring(5, _SLOTS)), before=3, after=9
        )
        assert counts == (first, 5)
        assert check.differences == ()


@pytest.mark.parametrize(
    ("rings", "says"),
    [
        ((7, 5), "one volume has 7 records, the other 5"),
        ((5, 6), "one volume has 5 records, the other 6"),
        ((2, 2), "record 3 was acknowledged before, but only 2 are there"),
        ((9, 9), "records up to 9 are there, and none was written after the point"),
    ],
)
def test_what_is_no_prefix_of_both_is_a_difference(rings: tuple[int, int], says: str) -> None:
    first, second = (expected_ring(count, _SLOTS) for count in rings)
    _, check = check_one_point((first, second), before=3, after=9)
    assert check.differences == (says,)


def test_a_gap_on_one_volume_is_a_difference() -> None:
    ring = with_slot(expected_ring(5, _SLOTS), 1, slot(0, 1))
    _, check = check_one_point((ring, expected_ring(5, _SLOTS)), before=3, after=9)
    assert check.differences == ("record 5 is there, but slot 1 isn't as it was then",)


@pytest.fixture
def volumes(tmp_path: Path) -> Iterator[tuple[Volume, Volume]]:
    with StorageSystem.create(tmp_path / "100a", "100a") as system:
        one, other = (system.create_volume(name, 1 << 20) for name in ("105a", "205a"))
        yield one, other


def test_the_writer_leaves_both_places_as_its_count_says(volumes: tuple[Volume, Volume]) -> None:
    ring_bytes = _SLOTS * SLOT_BYTES
    places = [Place(volume=volumes[0], offset=0), Place(volume=volumes[1], offset=4096)]
    for place in places:
        place.volume.pwrite(expected_ring(0, _SLOTS), place.offset)
    count = 0
    for _ in range(2):  # a second writer goes on where the first ended
        with RecordWriter(places, slots=_SLOTS, first=count + 1) as writer:
            assert writer.wait_for(10) >= count + 10
        count = writer.count
        for place, volume in zip(places, volumes, strict=True):
            ring = volume.pread(ring_bytes, place.offset)
            assert ring == expected_ring(count, _SLOTS)


def test_what_ends_the_writer_is_raised_where_it_is_waited_for(
    volumes: tuple[Volume, Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise FencedError("hosts are kept off")

    monkeypatch.setattr(Volume, "pwrite", refuse)
    place = Place(volume=volumes[0], offset=0)
    waits: list[Callable[[RecordWriter], object]] = [lambda one: one.wait_for(1), lambda _: None]
    for wait in waits:
        with pytest.raises(PyrepError, match="kept off"):  # noqa: SIM117
            with RecordWriter([place], slots=_SLOTS, first=1) as writer:
                wait(writer)
