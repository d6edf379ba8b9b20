"""Verifying pairs while hosts write, and repairing what differs."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pyrep._core import Comparer
from pyrep.engine import Cancel, Pair, Volume
from pyrep.engine.farside import RemoteFar
from pyrep.engine.pairrepair import PairRepairs
from pyrep.engine.sums import Sums
from pyrep.errors import (
    CancelledError,
    InvalidArgumentError,
    PairDiffersError,
    PathLostError,
    RefusedError,
)
from pyrep.model import (
    AckPoint,
    CopyRate,
    DigestKind,
    GenerationCause,
    GenerationState,
    PairStatus,
    SplitCause,
    VolumeId,
)
from pyrep.testing import check_covered, check_duplex
from pyrep.workflows import backup
from rig import CHUNK, KIB, LONG_S, SIZE, Rig, content, equal, row_of, stop_at

REMOTE_CHUNKS = [3, 4, 200]
FOUND = ((3 * CHUNK, 2 * CHUNK), (200 * CHUNK, CHUNK))


def rot(volume: Volume, *chunks: int) -> None:
    """Change a byte of each chunk behind the system's back."""
    io = volume._state.volume(volume.volume_id).io
    for one in chunks:
        (byte,) = io.pread(1, one * CHUNK + 17)
        io.pwrite(bytes([byte ^ 1]), one * CHUNK + 17)


@pytest.fixture(params=["remote", "local"])
def sides(request: pytest.FixtureRequest, rig: Rig) -> tuple[Pair, Volume, Volume]:
    """A pair in DUPLEX full of data, its PVOL and its SVOL."""
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    if request.param == "remote":
        return pair, rig.pvol, rig.spvol
    return rig.local(), rig.spvol, rig.svol


@pytest.mark.parametrize("kind", DigestKind)
def test_volumes_that_are_equal_are_found_equal(
    sides: tuple[Pair, Volume, Volume], kind: DigestKind
) -> None:
    pair, _, _ = sides
    told: list[int] = []
    found = pair.verify(kind=kind, progress=lambda one: told.append(one.done_bytes))
    assert (found.is_equal, found.is_judged, found.verdict) == (True, True, "equal")
    assert (found.checked_bytes, found.differing, found.restless) == (SIZE, (), ())
    assert found.status is PairStatus.DUPLEX
    assert told[-1] == SIZE
    found.raise_if_differing()


@pytest.mark.parametrize("rotten", ["pvol", "svol"])
def test_what_differs_at_either_side_is_told_to_the_chunk(
    sides: tuple[Pair, Volume, Volume], rotten: str
) -> None:
    pair, pvol, svol = sides
    rot(pvol if rotten == "pvol" else svol, *REMOTE_CHUNKS)
    found = pair.verify()
    assert found.differing == FOUND
    with pytest.raises(PairDiffersError, match="differ in 2 places") as caught:
        found.raise_if_differing()
    assert caught.value.exit_code == 35
    assert pair.status().status is PairStatus.DUPLEX


def test_a_share_of_the_spans_is_verified(sides: tuple[Pair, Volume, Volume]) -> None:
    pair, _, _ = sides
    assert pair.verify(percentage=50, seed=1).checked_bytes == SIZE // 2
    for wrong in (0, 101, float("nan"), "50"):
        with pytest.raises(InvalidArgumentError):
            pair.verify(percentage=wrong)  # type: ignore[arg-type]


def disturb(
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
    name: str,
    doing: Callable[[], None],
    *,
    before: bool,
) -> None:
    whole = getattr(kind, name)

    def disturbed(self: object, *args: object) -> object:
        if before:
            doing()
        answer = whole(self, *args)
        if not before:
            doing()
        return answer

    monkeypatch.setattr(kind, name, disturbed)


@pytest.mark.parametrize(
    "moment",
    [
        (kind, name, before)
        for kind, name in ((Comparer, "begin"), (Sums, "read"), (Comparer, "written"))
        for before in (True, False)
    ],
)
def test_hosts_that_write_meanwhile_raise_no_alarm(
    sides: tuple[Pair, Volume, Volume],
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    moment: tuple[type, str, bool],
) -> None:
    pair, _, svol = sides
    rot(svol, 100)
    random_ = random.Random(5)

    def write() -> None:
        for chunk in (20, 21, 150):
            rig.pvol.pwrite(random_.randbytes(CHUNK), chunk * CHUNK + 5)

    kind, name, before = moment
    disturb(monkeypatch, kind, name, write, before=before)
    found = pair.verify()
    assert found.differing == ((100 * CHUNK, CHUNK),)


def test_a_record_on_its_way_raises_no_alarm(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = rig.remote(ack=AckPoint.QUEUED)

    def write() -> None:
        rig.path.stall()
        rig.pvol.pwrite(random.Random(5).randbytes(CHUNK), 7 * CHUNK)

    disturb(monkeypatch, Comparer, "begin", write, before=True)
    disturb(monkeypatch, RemoteFar, "await_sent", rig.path.resume, before=True)
    assert pair.verify().is_equal


def test_a_chunk_that_is_always_written_to_is_told_apart(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    random_ = random.Random(5)

    def write() -> None:
        rig.pvol.pwrite(random_.randbytes(CHUNK), 7 * CHUNK)

    write()
    disturb(monkeypatch, RemoteFar, "digests", write, before=False)
    found = pair.verify()
    assert (found.differing, found.restless) == ((), ((7 * CHUNK, CHUNK),))
    assert (found.is_equal, found.is_judged) == (True, False)
    assert found.verdict == "equal as far as judged; 1 places kept changing"


def test_of_a_pair_that_is_split_only_what_is_pending_on_neither_side_differs(
    sides: tuple[Pair, Volume, Volume], rig: Rig
) -> None:
    pair, pvol, svol = sides
    pair.split()
    rig.pvol.pwrite(b"here", 50 * CHUNK)
    if pair.row.is_remote:
        svol.pwrite(b"there", 60 * CHUNK)
    found = pair.verify()
    assert (found.status, found.differing) == (PairStatus.SPLIT, ())
    rot(svol, *REMOTE_CHUNKS, 50)
    found = pair.verify()
    assert found.differing == FOUND
    assert pair.repair(found) is None
    assert pair.verify().is_equal
    job = pair.resync(discard="100b" if pair.row.is_remote else None)
    assert job is not None
    job.wait(LONG_S)
    assert equal(pvol, svol)


def test_a_repair_copies_what_differs_and_no_more(
    sides: tuple[Pair, Volume, Volume], rig: Rig
) -> None:
    pair, pvol, svol = sides
    good = content(pvol)
    rot(svol, *REMOTE_CHUNKS)
    before = rig.path.frame_bytes
    job = pair.repair(pair.verify())
    assert job is not None
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert content(svol) == content(pvol) == good
    assert job.total_bytes == 3 * CHUNK
    if pair.row.is_remote:
        assert rig.path.frame_bytes - before < 3 * CHUNK + 16 * KIB
        rig.both(pair, PairStatus.DUPLEX)
    assert pair.verify().is_equal
    check_covered(rig.a, rig.b)
    check_duplex(rig.a, rig.b)
    assert pair.repair(pair.verify()) is None


@pytest.mark.parametrize("ended", ["100a", "100b"])
def test_a_repair_that_a_crash_interrupts_goes_on_by_itself(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, ended: str
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    rig.path.cut()
    for system_id in ("100a", "100b"):
        rig.reopen(system_id)  # no region is hot any more
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    pair.wait(timeout_s=LONG_S)
    rot(rig.spvol, *REMOTE_CHUNKS)
    found = pair.verify()
    copies = rig.a.remote_pairs.copies
    monkeypatch.setattr(copies, "resync_forward", lambda *_, **__: rig.path.cut())
    pair.repair(found)
    row = rig.a.state.mirror(pair.pair_id).row
    assert (row.status, row.cause) == (PairStatus.SPLIT, SplitCause.REPAIR)
    monkeypatch.undo()
    rig.reopen(ended, crash=True)
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


def test_a_repair_that_a_crash_interrupts_before_its_bits_are_written_is_made_all_the_same(
    sides: tuple[Pair, Volume, Volume], rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is set aside by then, which goes on by itself with what is pending."""
    pair, _, _ = sides
    ended = "100a" if pair.row.is_remote else "100b"
    for system_id in ("100a", "100b"):
        rig.reopen(system_id)  # no region is hot any more
    rig.reconnect()
    rig.a.pairs()[0].wait(timeout_s=LONG_S)
    pair = rig.systems[ended].pair(pair.pair_id)
    pair.wait(timeout_s=LONG_S)
    rot(rig.spvol if pair.row.is_remote else rig.svol, *REMOTE_CHUNKS)
    found = pair.verify()
    rig.systems[ended]._watch.close()  # it would go on with the copy, and save the row
    stop_at(monkeypatch, 1, (PairRepairs, "_make_pending"))
    with pytest.raises(InterruptedError):
        pair.repair(found)
    rig.path.cut()
    rig.reopen(ended, crash=True)
    rig.reconnect()
    rig.a.pairs()[0].wait(timeout_s=LONG_S)
    pair = rig.systems[ended].pair(pair.pair_id)
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.spvol, rig.pvol if pair.row.is_remote else rig.svol)


def test_a_repair_keeps_what_differed_in_a_generation_that_says_so(rig: Rig) -> None:
    """If it was the PVOL that had rotted, this generation alone has the right bytes."""
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    local = rig.local()
    rot(rig.spvol, *REMOTE_CHUNKS)
    rot(rig.svol, *REMOTE_CHUNKS)
    before = content(rig.svol)
    job = pair.repair(pair.verify())
    assert job is not None
    job.wait(LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert content(rig.svol) == before
    (made,) = rig.b.list_generations()
    assert (made.cause, made.label) == (GenerationCause.REPAIR, "before a repair")
    assert made.is_complete
    assert not made.is_backup
    assert row_of(rig.b, local).cause is SplitCause.PROTECT
    with rig.b.generations.view(made.generation_id, VolumeId("105b")) as view:
        assert view.pread(SIZE, 0) == before


def test_a_repair_that_goes_on_after_a_crash_says_what_its_generation_is(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    rig.local()
    rot(rig.spvol, 3)
    found = pair.verify()
    monkeypatch.setattr(
        rig.a.remote_pairs.copies, "resync_forward", lambda *_, **__: rig.path.cut()
    )
    pair.repair(found)
    rig.reopen("100a", crash=True)
    rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    (made,) = rig.b.list_generations()
    assert made.cause is GenerationCause.REPAIR


def test_the_next_backup_takes_the_generation_of_a_repair_and_keeps_the_backup(rig: Rig) -> None:
    pair = rig.remote()
    rig.local()
    backup(rig.a, ["105a"])
    (kept,) = rig.b.list_generations()
    rig.local("107b")
    rot(rig.spvol, 3)
    job = pair.repair(pair.verify())
    assert job is not None
    job.wait(LONG_S)
    repaired = next(one for one in rig.b.list_generations() if one.cause is GenerationCause.REPAIR)
    backup(rig.a, ["105a"])
    states = {one.generation_id: one.state for one in rig.b.list_generations()}
    assert states[kept.generation_id] is GenerationState.COMPLETE
    assert states[repaired.generation_id] is GenerationState.GIVEN_UP


def test_a_pair_in_copy_is_neither_verified_nor_repaired(rig: Rig) -> None:
    pair = rig.remote()
    rot(rig.spvol, 3)
    found = pair.verify()
    pair.split()
    rig.a.state.mirror(pair.pair_id).mark_all()
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=1))
    assert job is not None
    with pytest.raises(RefusedError, match="it is COPY"):
        pair.verify()
    with pytest.raises(RefusedError, match="it is COPY"):
        pair.repair(found)
    job.close()


def test_a_pair_that_is_split_meanwhile_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = rig.remote()

    def split() -> None:
        pair.split()

    disturb(monkeypatch, Comparer, "begin", split, before=True)
    with pytest.raises(RefusedError, match="it became SPLIT"):
        pair.verify()


def test_a_path_that_is_lost_meanwhile_is_told(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = rig.remote()
    disturb(monkeypatch, Comparer, "begin", rig.path.cut, before=True)
    with pytest.raises((RefusedError, PathLostError), match="path"):
        pair.verify()


def test_a_verification_is_cancelled(rig: Rig) -> None:
    pair = rig.remote()
    cancel = Cancel()
    cancel.cancel()
    with pytest.raises(CancelledError):
        pair.verify(cancel=cancel, rate=CopyRate(ceiling_bytes_s=1))
    assert pair.verify().is_equal


def test_only_the_primary_verifies_and_only_by_the_pair_s_own_result(rig: Rig) -> None:
    pair = rig.remote()
    local = rig.local()
    rot(rig.spvol, 3)
    found = pair.verify()
    assert not found.is_equal
    with pytest.raises(RefusedError, match="primary"):
        rig.b.pair(pair.pair_id).verify()
    with pytest.raises(RefusedError, match="primary"):
        rig.b.pair(pair.pair_id).repair(found)
    with pytest.raises(InvalidArgumentError):
        local.repair(found)


def test_of_a_pair_that_differs_everywhere_a_bounded_part_is_told_and_all_is_repaired(
    sides: tuple[Pair, Volume, Volume],
) -> None:
    pair, pvol, svol = sides
    every_other = range(0, SIZE // CHUNK, 2)
    rot(svol, *every_other)
    told = 50
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrep.engine.pairverify_result.TOLD_MAX", told)
        found = pair.verify()
    assert found.differing_count == len(every_other) == 128
    assert found.differing == tuple((one * CHUNK, CHUNK) for one in every_other[:told])
    assert list(found.extents()) == [(one * CHUNK, CHUNK) for one in every_other]
    assert (found.restless, found.restless_count) == ((), 0)
    with pytest.raises(PairDiffersError, match="differ in 128 places"):
        found.raise_if_differing()
    job = pair.repair(found)
    assert job is not None
    job.wait(LONG_S)
    assert equal(pvol, svol)
    assert pair.verify().is_equal
