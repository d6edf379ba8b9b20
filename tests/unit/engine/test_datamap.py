"""Where two volumes hold data."""

from __future__ import annotations

import itertools
import random

import pytest

from pyrep._core import FileIo, MemoryIo
from pyrep.engine.datamap import RunList, data_runs, united_data

CHUNK = 8192
CHUNKS = 100


@pytest.fixture
def sparse(tmp_path_factory: pytest.TempPathFactory) -> FileIo:
    path = tmp_path_factory.mktemp("sparse") / "volume"
    with path.open("wb") as file:
        file.truncate(CHUNKS * CHUNK - 100)
    return FileIo(path)


def test_a_chunk_that_has_anything_is_told_and_no_other(sparse: FileIo) -> None:
    for chunk in (3, 4, 50, CHUNKS - 1):
        sparse.pwrite(b"x", chunk * CHUNK + 5000)
    runs, past = data_runs(sparse, 0, CHUNKS, chunk_bytes=CHUNK)
    assert (runs, past) == ([(3, 2), (50, 1), (CHUNKS - 1, 1)], CHUNKS)
    assert data_runs(sparse, 4, 50, chunk_bytes=CHUNK) == ([(4, 1)], 50)
    assert data_runs(sparse, CHUNKS, CHUNKS, chunk_bytes=CHUNK) == ([], CHUNKS)
    sparse.close()


def test_no_more_runs_than_asked_for_and_where_to_go_on(sparse: FileIo) -> None:
    for chunk in (3, 50, 70):
        sparse.pwrite(b"x", chunk * CHUNK)
    assert data_runs(sparse, 0, CHUNKS, chunk_bytes=CHUNK, most=2) == ([(3, 1), (50, 1)], 70)
    assert data_runs(sparse, 70, CHUNKS, chunk_bytes=CHUNK, most=2) == ([(70, 1)], CHUNKS)
    sparse.close()


def test_storage_that_can_not_tell_has_no_holes() -> None:
    with MemoryIo(CHUNKS * CHUNK) as io:
        assert data_runs(io, 0, CHUNKS, chunk_bytes=CHUNK) == ([(0, CHUNKS)], CHUNKS)


def test_what_either_side_has_is_told_however_short_their_lists_are() -> None:
    random_ = random.Random(3)

    def side() -> tuple[set[int], object]:
        held = {one for one in range(CHUNKS) if random_.random() < 0.4}

        def told(first: int, past: int) -> tuple[RunList, int]:
            stop = random_.randint(first + 1, past)
            return [(one, 1) for one in range(first, stop) if one in held], stop

        return held, told

    for _ in range(200):
        (here, tell_here), (there, tell_there) = side(), side()
        found: list[int] = []
        before = 0
        for runs, end in united_data(tell_here, tell_there, 0, CHUNKS):  # type: ignore[arg-type]
            chunks = [one for first, count in runs for one in range(first, first + count)]
            assert all(before <= one < end for one in chunks)
            assert all(sum(one) < other[0] for one, other in itertools.pairwise(runs))
            found += chunks
            before = end
        assert before == CHUNKS
        assert found == sorted(here | there)
