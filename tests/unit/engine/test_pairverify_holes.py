"""Verifying pairs of sparse volumes: what is a hole at both ends isn't read."""

from __future__ import annotations

import pytest

from pyrep._core import Io, Runs
from pyrep.engine import Pair
from pyrep.engine.sums import Sums
from pyrep.errors import NotFoundError, OutOfRangeError, WireError
from pyrep.interconnect.messages import FindData, FoundData
from pyrep.model import PairStatus
from rig import CHUNK, LONG_S, MIB, Rig, Site

SIZE = 15 << 40
PLACES = [0, (5 << 40) + 3 * CHUNK, SIZE - CHUNK]


@pytest.fixture(params=["remote", "local"])
def sparse(request: pytest.FixtureRequest, site: Site) -> tuple[Rig, Pair]:
    """A pair of 15 TiB in DUPLEX, with three chunks of data."""
    site.make("100a", "105a", size=SIZE)
    site.make("100b", "105b", "106b", size=SIZE)
    rig = Rig(site.root, site.options, site.systems, site.paths)
    rig.path = site.connect("100a", "100b")
    if request.param == "remote":
        pair = rig.a.create_remote_pair("105a", "100b", "105b")
    else:
        pair = rig.b.create_local_pair("105b", "106b")
    pair.wait(timeout_s=LONG_S)
    for place in PLACES:
        (rig.pvol if request.param == "remote" else rig.spvol).pwrite(b"held", place)
    assert pair.wait(timeout_s=LONG_S).status is PairStatus.DUPLEX
    return rig, pair


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were read and digested, at either side."""
    counts: list[int] = []
    whole = Sums.read

    def counting(self: Sums, io: Io, runs: Runs) -> tuple[bytes, int]:
        values, count = whole(self, io, runs)
        counts.append(count)
        return values, count

    monkeypatch.setattr(Sums, "read", counting)
    return counts


def target(rig: Rig, pair: Pair) -> Io:
    """Return the storage of the pair's SVOL."""
    volume = rig.spvol if pair.row.is_remote else rig.svol
    return volume._state.volume(volume.volume_id).io


def test_common_holes_are_not_read_and_count_as_checked(
    sparse: tuple[Rig, Pair], read: list[int]
) -> None:
    _, pair = sparse
    found = pair.verify()
    assert found.is_equal
    assert found.checked_bytes == SIZE
    assert sum(read) == 2 * len(PLACES) * CHUNK
    assert found.hole_bytes == SIZE - len(PLACES) * CHUNK


@pytest.mark.parametrize("status", [PairStatus.DUPLEX, PairStatus.SPLIT])
def test_a_hole_beside_data_is_a_difference_and_one_beside_zeros_is_none(
    sparse: tuple[Rig, Pair], read: list[int], status: PairStatus
) -> None:
    rig, pair = sparse
    if status is PairStatus.SPLIT:
        pair.split()
    io = target(rig, pair)
    io.pwrite(b"rotten", 7 << 40)
    io.pwrite(bytes(CHUNK), 9 << 40)
    io.zero(CHUNK, 0)  # data there, a hole here
    found = pair.verify()
    assert found.differing == ((0, CHUNK), (7 << 40, CHUNK))
    assert found.status is status
    assert sum(read) < 10 * MIB


def test_a_share_of_the_holes_and_of_the_data_is_checked(
    sparse: tuple[Rig, Pair], read: list[int]
) -> None:
    _, pair = sparse
    found = pair.verify(percentage=25, seed=4)
    assert found.checked_bytes == SIZE // 4
    assert found.hole_bytes + sum(read) // 2 == SIZE // 4


def test_data_written_where_holes_were_told_raises_no_alarm(
    sparse: tuple[Rig, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, pair = sparse
    volume = rig.pvol if pair.row.is_remote else rig.spvol
    whole = Sums.read

    def write(self: Sums, io: Io, runs: Runs) -> tuple[bytes, int]:
        volume.pwrite(b"in a hole", 11 << 40)
        volume.pwrite(b"beside data", 4096)
        return whole(self, io, runs)

    monkeypatch.setattr(Sums, "read", write)
    assert pair.verify().is_equal


def test_a_peer_is_told_of_its_own_pairs_and_within_the_volume_only(rig: Rig) -> None:
    pair = rig.remote()
    local = rig.local()
    peer = rig.a.state.peer(pair.row.pair_system_id)
    chunks = rig.pvol.size_bytes // CHUNK
    answer = peer.ask(FindData(pair_id=pair.pair_id, first=0, count=chunks))
    assert isinstance(answer, FoundData)
    assert answer.past == chunks
    for first, count in ((0, chunks + 1), (chunks + 1, 0), (-1, 1), (1, -1), (1 << 63, 1)):
        with pytest.raises(OutOfRangeError):
            peer.ask(FindData(pair_id=pair.pair_id, first=first, count=count))
    with pytest.raises(NotFoundError):
        peer.ask(FindData(pair_id=local.pair_id, first=0, count=1))


@pytest.mark.parametrize(
    "told",
    [
        FoundData(runs=Runs.of([(0, 1)]).to_bytes(), past=0),
        FoundData(runs=b"", past=1 << 40),
        FoundData(runs=Runs.of([(5, 1), (4, 1)]).to_bytes(), past=256),
        FoundData(runs=Runs.of([(5, 0)]).to_bytes(), past=256),
        FoundData(runs=Runs.of([(5, 300)]).to_bytes(), past=256),
        FoundData(runs=b"seven..", past=256),
    ],
    ids=range(6),
)
def test_a_peer_that_answers_what_can_not_be_ends_the_verification(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, told: FoundData
) -> None:
    pair = rig.remote()
    monkeypatch.setattr(rig.b.endpoint._desk, "find_data", lambda *_: told)
    with pytest.raises(WireError):
        pair.verify()
