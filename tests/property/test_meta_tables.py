"""The tables as codecs: what goes in comes out, and a damaged file is never half-understood."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyrep.errors import FormatError, PyrepError
from pyrep.meta import (
    Catalogue,
    CopyTable,
    Database,
    SystemRecord,
    SystemTable,
    VolumeTable,
    WorkflowJournal,
)
from pyrep.meta.column import from_signed, from_text_time, to_signed, to_text_time
from pyrep.model.generation import (
    Generation,
    GenerationCause,
    GenerationMember,
    GenerationState,
)
from pyrep.model.ids import GenerationId, GroupId, PairId, SystemId, VolumeId
from pyrep.model.pair import (
    AckPoint,
    Congestion,
    CopyType,
    Direction,
    FenceLevel,
    PairStatus,
    Primary,
    Row,
    SplitCause,
)

keys = st.binary(min_size=16, max_size=16)
names = st.text("abcXYZ0189._-", min_size=1, max_size=12)
any_text = st.text(st.characters(codec=None), max_size=20)
u64 = st.integers(0, (1 << 64) - 1)
times = st.datetimes(
    timezones=st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours)))
)
statuses = st.tuples(names.map(PairId), names)


modes = st.one_of(
    st.fixed_dictionaries(
        {"ack": st.sampled_from(AckPoint), "congestion": st.sampled_from(Congestion)}
    ),
    st.fixed_dictionaries(
        {
            "ack": st.sampled_from([AckPoint.RECEIVED, AckPoint.DURABLE]),
            "fence_level": st.just(FenceLevel.DATA),
        }
    ),
)


@st.composite
def rows(draw: st.DrawFn) -> Row:
    is_remote = draw(st.booleans())
    status = draw(st.sampled_from([PairStatus.COPY, PairStatus.DUPLEX, PairStatus.SPLIT]))
    return Row(
        pair_id=PairId(draw(names)),
        copy_type=CopyType.REMOTE if is_remote else CopyType.LOCAL,
        volume_id=VolumeId(draw(names)),
        pair_system_id=SystemId(draw(names)),
        mirror_volume_id=VolumeId(draw(names)),
        primary=draw(st.sampled_from(Primary)),
        status=status,
        cause=draw(st.sampled_from(SplitCause)) if status is PairStatus.SPLIT else None,
        direction=draw(st.sampled_from(Direction)),
        target_consistent=draw(st.booleans()),
        group_id=GroupId(draw(names)) if is_remote else None,
        chunk_bytes=1 << draw(st.integers(12, 20)),
        row_key=draw(keys),
        data_id=draw(u64),
        epoch_start=draw(st.integers(0, 1 << 40)),
        pending_union=draw(st.booleans()),
        overmarked=draw(st.booleans()),
        repaired=draw(st.booleans()),
        **draw(modes) if is_remote else {},
    )


members = st.builds(
    GenerationMember,
    source=names.map(VolumeId),
    origin_system=names.map(SystemId),
    origin_volume=names.map(VolumeId),
    svol=names.map(VolumeId),
    pair_id=names.map(PairId),
)
generations = st.builds(
    Generation,
    generation_id=names.map(GenerationId),
    attempt_id=names,
    label=any_text,
    cause=st.sampled_from(GenerationCause),
    state=st.sampled_from(GenerationState),
    taken_at=times,
    home=names.map(SystemId),
    members=st.lists(members, max_size=3).map(tuple),
    hold_ms=st.none() | st.floats(0, 1e6),
    queued_max_bytes=st.none() | st.integers(0, 1 << 62),
    remote_before=st.lists(statuses, max_size=2).map(tuple),
    remote_during=st.lists(statuses, max_size=2).map(tuple),
    remote_after=st.lists(statuses, max_size=2).map(tuple),
    protected=st.booleans(),
    pins=st.sets(names, max_size=3).map(lambda held: tuple(sorted(held))),
    annotations=st.lists(st.tuples(any_text, any_text), max_size=2).map(tuple),
)


@contextmanager
def fresh_database() -> Iterator[Database]:
    with (
        tempfile.TemporaryDirectory() as directory,
        Database.open(Path(directory) / "system.sqlite") as db,
    ):
        yield db


@given(row=rows())
def test_a_row_comes_back_as_it_went_in(row: Row) -> None:
    with fresh_database() as db:
        table = CopyTable(db)
        table.insert(row)
        assert table.rows() == (row,)
        table.replace(row)
        assert table.get(row.pair_id) == row


@given(generation=generations)
def test_a_generation_comes_back_as_it_went_in(generation: Generation) -> None:
    with fresh_database() as db:
        catalogue = Catalogue(db)
        catalogue.add(generation)
        assert catalogue.all() == (generation,)


@given(number=u64)
def test_unsigned_numbers_survive_signed_columns(number: int) -> None:
    assert -(1 << 63) <= to_signed(number) < 1 << 63
    assert from_signed(to_signed(number)) == number


@given(first=times, second=times)
def test_times_survive_as_text_that_sorts_as_they_do(first: datetime, second: datetime) -> None:
    assert from_text_time(to_text_time(first)) == first
    assert (to_text_time(first) < to_text_time(second)) == (first < second)


def filled_image() -> bytes:
    """Return the bytes of a closed database with something in it."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "system.sqlite"
        with Database.open(path) as db:
            SystemTable(db).set(
                SystemRecord(
                    system_id=SystemId("100a"),
                    key=bytes(16),
                    clean=True,
                    created_at=from_text_time("2024-05-01T12:00:00+00:00").astimezone(UTC),
                    format=1,
                )
            )
            CopyTable(db).next_pair_number()
        return path.read_bytes()


IMAGE = filled_image()


@given(length=st.integers(1, len(IMAGE) - 1))
@example(length=len(IMAGE) - 1)
@example(length=len(IMAGE) - 4096)
@example(length=1)
def test_a_truncated_database_is_refused(length: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "system.sqlite"
        path.write_bytes(IMAGE[:length])
        with pytest.raises(FormatError) as caught:
            Database.open(path)
        assert caught.value.hint


@given(offset=st.integers(0, len(IMAGE) - 1), bit=st.integers(0, 7))
def test_a_flipped_bit_ends_in_an_error_of_ours_or_in_nothing(offset: int, bit: int) -> None:
    # SQLite has no checksums: a flipped bit in a value can't be told. What must not happen is an
    # error that no caller expects.
    damaged = bytearray(IMAGE)
    damaged[offset] ^= 1 << bit
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "system.sqlite"
        path.write_bytes(damaged)
        try:
            with Database.open(path) as db:
                SystemTable(db).get()
                CopyTable(db).rows()
                VolumeTable(db).all()
                Catalogue(db).all()
                WorkflowJournal(db).all()
                CopyTable(db).next_pair_number()
        except PyrepError:
            pass
