"""Hosts that write, power and paths that are lost, while a copy compares digests."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest

from pyrep._core import Comparer, Runs, Wake
from pyrep.engine import CopyJob, MarkerOutcome, Options, Pair
from pyrep.engine.outlet import Outlet
from pyrep.engine.sieve import Sieve
from pyrep.engine.sums import Sums
from pyrep.errors import (
    CancelledError,
    PathLostError,
    WireError,
)
from pyrep.model import (
    AckPoint,
    Compare,
    Comparison,
    CopyRate,
    DigestKind,
    GroupId,
    PairStatus,
)
from pyrep.testing import VolatileStorage, check_covered, check_no_early_clear, wait_until
from rig import CHUNK, KIB, LONG_S, MIB, SIZE, Rig, Site, equal
from unit.engine.compared import BARELY, all_pending, resync

CHUNKS = SIZE // CHUNK


def _write(rig: Rig) -> None:
    rig.pvol.pwrite(b"written meanwhile", 20 * CHUNK + 5)
    rig.pvol.pwrite(b"and here", 200 * CHUNK)


@pytest.mark.parametrize("moment", ["flush", "begin", "ask", "read", "settle"])
@pytest.mark.parametrize("before", [True, False])
def test_a_host_write_at_any_moment_of_the_comparison_arrives(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, moment: str, before: bool
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    places: dict[str, tuple[type, str]] = {
        "flush": (Sieve, "_settle_both"),
        "begin": (Comparer, "begin"),
        "ask": (Sieve, "_ask"),
        "read": (Sums, "read"),
        "settle": (Comparer, "settle"),
    }
    kind, name = places[moment]
    whole = getattr(kind, name)
    count = 0

    def disturbed(self: object, *args: object, **named: object) -> object:
        nonlocal count
        count += 1
        if before:
            _write(rig)
        answer = whole(self, *args, **named)
        if not before:
            _write(rig)
        check_covered(rig.a, rig.b)
        return answer

    monkeypatch.setattr(kind, name, disturbed)
    resync(rig, pair, compare=Compare.XXH3)
    assert count
    check_covered(rig.a, rig.b)
    check_no_early_clear(rig.a, rig.b)


def test_a_record_on_its_way_when_a_chunk_becomes_pending_is_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else: x is queued; the old bytes are written back, only marked; equal; and x arrives."""
    pair = rig.remote(ack=AckPoint.QUEUED)
    rig.pvol.pwrite(b"old", 0)
    assert pair.wait_marker(timeout_s=LONG_S) is MarkerOutcome.DONE
    mirror = rig.a.state.mirror(pair.pair_id)
    peer = rig.a.state.peer(mirror.row.pair_system_id)
    outlet = peer.known_outlet(mirror.row.group_id or GroupId(""))
    assert outlet is not None
    waits, begun = threading.Event(), threading.Event()
    whole = Outlet.await_answer_of_job
    settle = Sieve._settle_both

    def settle_both(self: Sieve, job: CopyJob) -> None:
        settle(self, job)
        rig.path.stall()
        rig.pvol.pwrite(b"new", 0)
        mirror.link.pending.set(0, 1)  # as a write that finds no room leaves it to the copy
        rig.pvol.pwrite(b"old", 0)
        begun.set()

    def await_answer_of_job(self: Outlet, *args: object, **named: object) -> None:
        if begun.is_set():
            waits.set()
        whole(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Outlet, "await_answer_of_job", await_answer_of_job)
    monkeypatch.setattr(Sieve, "_settle_both", settle_both)
    plan = Comparison(kind=DigestKind.XXH3, is_sparing=False)
    sieve = Sieve(rig.a.state, mirror, peer, outlet, plan)
    job = CopyJob(what="by hand", work=sieve.run, ended=lambda _: None)
    job.start()
    wait_until(lambda: waits.is_set() or job.is_done)
    rig.path.resume()
    job.wait(LONG_S)
    wait_until(lambda: outlet.stream.info().received == outlet.stream.info().last)
    check_covered(rig.a, rig.b)
    assert mirror.link.pending.test(0)


@pytest.fixture
def losing(site: Site) -> Iterator[tuple[Rig, VolatileStorage]]:
    """Both systems; the secondary's volumes keep what isn't flushed apart."""
    storage = VolatileStorage()
    site.options["100b"] = Options(storage=storage)
    rig = Rig(site.root, options=site.options).build()
    yield rig, storage
    rig.close()


def killed_target(rig: Rig) -> Pair:
    """Return a pair, all pending; at the target two chunks are what a killed process left behind.

    They are in the page cache alone.
    """
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.b.state.volume(rig.spvol.volume_id).core.flush(ack_timeout_s=LONG_S)
    rig.pvol.pwrite(b"sent before the kill", 4 * CHUNK)
    rig.b.state.volume(rig.spvol.volume_id).io.pwrite(b"sent before the kill", 4 * CHUNK)
    rig.a.state.mirror(pair.pair_id).mark_all()
    return pair


def test_what_is_equal_is_durable_at_the_target_before_it_is_no_longer_pending(
    losing: tuple[Rig, VolatileStorage], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, _ = losing
    pair = killed_target(rig)
    whole = Comparer.settle
    cleared = []

    def settle(self: Comparer, runs: Runs, wake: Wake) -> int:
        cleared.append(whole(self, runs, wake))
        check_no_early_clear(rig.a, rig.b)
        return cleared[-1]

    monkeypatch.setattr(Comparer, "settle", settle)
    job, _ = resync(rig, pair, compare=Compare.XXH3)
    assert sum(cleared) == SIZE
    assert job.sent_bytes == 0


@pytest.mark.parametrize("moment", ["read", "settle"])
def test_a_target_that_loses_power_during_the_comparison_is_made_equal_later(
    losing: tuple[Rig, VolatileStorage], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    rig, _ = losing
    pair = killed_target(rig)
    kind, name = {"read": (Sieve, "_ask"), "settle": (Comparer, "settle")}[moment]
    whole = getattr(kind, name)

    def lose(self: object, *args: object) -> object:
        monkeypatch.setattr(kind, name, whole)
        before = whole(self, *args) if moment == "read" else None
        rig.path.cut()
        return before if moment == "read" else whole(self, *args)

    monkeypatch.setattr(kind, name, lose)
    job = pair.resync(compare=Compare.XXH3)
    assert job is not None
    with pytest.raises(PathLostError):
        job.wait(LONG_S)
    rig.reopen("100b", crash=True)
    check_covered(rig.a, rig.b)
    rig.reconnect()
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    check_no_early_clear(rig.a, rig.b)


def test_a_comparison_is_cancelled_and_goes_on_where_it_was(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    monkeypatch.setattr("pyrep.engine.sieve.WINDOW_BYTES", MIB)
    job = pair.resync(compare=Compare.XXH3, rate=CopyRate(ceiling_bytes_s=64 * KIB))
    assert job is not None
    begun = job
    wait_until(lambda: begun.equal_bytes > 0)
    job.cancel()
    with pytest.raises(CancelledError):
        job.wait(LONG_S)
    assert pair.status().status is PairStatus.COPY
    left = pair.status().pending_bytes
    assert left < SIZE
    job, crossed = resync(rig, pair, compare=Compare.XXH3)
    assert job.compared_bytes == left
    assert crossed < BARELY


def test_a_comparison_rests_while_its_copy_is_paused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    monkeypatch.setattr("pyrep.engine.sieve.WINDOW_BYTES", 256 * KIB)
    monkeypatch.setattr("pyrep.engine.questions.QUESTIONS", 1)
    whole = CopyJob.breathe

    def breathe(self: CopyJob, **numbers: object) -> None:
        if self.compared_bytes == 256 * KIB:
            pair.pause_copy()
        whole(self, **numbers)  # type: ignore[arg-type]

    monkeypatch.setattr(CopyJob, "breathe", breathe)
    job = pair.resync(compare=Compare.XXH3)
    assert job is not None
    wait_until(lambda: job.is_paused)
    assert job.compared_bytes == 256 * KIB
    pair.resume_copy()
    job.wait(LONG_S)
    assert job.compared_bytes == SIZE


def test_several_pairs_are_compared_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [rig.remote(), rig.a.create_remote_pair("106a", "100b", "106b")]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
        rig.a.volume(pair.row.volume_id).pwrite(random.Random(1).randbytes(SIZE), 0)
        all_pending(rig, pair)
    together = threading.Barrier(2)  # broken, and so the copies fail, if one waits for the other
    whole = Sieve._settle_both

    def both(self: Sieve, job: CopyJob) -> None:
        together.wait(LONG_S)
        whole(self, job)

    monkeypatch.setattr(Sieve, "_settle_both", both)
    jobs = [pair.resync(compare=Compare.XXH3) for pair in pairs]
    for job in jobs:
        assert job is not None
        job.wait(LONG_S)
        assert (job.compared_bytes, job.sent_bytes) == (SIZE, 0)
    for pair in pairs:
        rig.both(pair, PairStatus.DUPLEX)


def test_a_path_lost_during_the_comparison_leaves_the_rest_pending(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    whole = Sums.read

    def cut(self: Sums, io: object, runs: Runs) -> object:
        monkeypatch.setattr(Sums, "read", whole)
        rig.path.cut()
        return whole(self, io, runs)  # type: ignore[arg-type]

    monkeypatch.setattr(Sums, "read", cut)
    job = pair.resync(compare=Compare.XXH3)
    assert job is not None
    with pytest.raises(PathLostError):
        job.wait(LONG_S)
    check_covered(rig.a, rig.b)
    rig.reconnect()
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)


def test_a_peer_that_answers_too_few_digests_has_no_effect(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = rig.remote()
    all_pending(rig, pair)
    monkeypatch.setattr(Sieve, "_ask", lambda *_: b"short")
    job = pair.resync(compare=Compare.XXH3)
    assert job is not None
    with pytest.raises(WireError, match="digests"):
        job.wait(LONG_S)
    assert pair.status().pending_count == CHUNKS
