"""Copies that compare digests first, and send only what differs."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyrep._core import Comparer, Runs, Wake
from pyrep.engine import ChangedBacking, CopyJob, MarkerOutcome, Options, Pair
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.sieve import Sieve
from pyrep.engine.sums import Sums
from pyrep.errors import (
    CancelledError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PathLostError,
    WireError,
)
from pyrep.interconnect.messages import Answer, Digests, Message, ReadDigests, encode
from pyrep.model import (
    AckPoint,
    Compare,
    Comparison,
    CopyRate,
    DigestKind,
    Direction,
    GroupId,
    PairStatus,
)
from pyrep.testing import VolatileStorage, check_covered, check_no_early_clear, wait_until
from rig import CHUNK, KIB, LONG_S, MIB, SIZE, Rig, Site, equal, fill, row_of

CHUNKS = SIZE // CHUNK
BARELY = 16 * KIB
"""Frames of a copy that has nothing to send: headers, barriers."""


def all_pending(rig: Rig, pair: Pair) -> None:
    """Split a pair, with everything pending at the primary."""
    pair.split()
    rig.a.state.mirror(pair.pair_id).mark_all()


def resync(rig: Rig, pair: Pair, **options: object) -> tuple[CopyJob, int]:
    """Resync to the end; return the job, and how many bytes of frames crossed."""
    before = rig.path.frame_bytes
    job = pair.resync(**options)  # type: ignore[arg-type]
    assert job is not None
    job.wait(LONG_S)
    assert pair.status().status is PairStatus.DUPLEX
    assert equal(rig.pvol, rig.spvol)
    return job, rig.path.frame_bytes - before


@pytest.mark.parametrize("compare", [Compare.XXH3, Compare.SHA256])
def test_only_what_differs_is_sent_however_much_is_pending(rig: Rig, compare: Compare) -> None:
    rig.remote()
    pair = rig.a.pairs()[0]
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    rig.pvol.pwrite(b"one", 5 * CHUNK)
    rig.pvol.pwrite(b"two", SIZE - 3)
    job, crossed = resync(rig, pair, compare=compare)
    assert 2 * CHUNK < crossed < 2 * CHUNK + BARELY
    assert (job.compared_bytes, job.sent_bytes) == (SIZE, 2 * CHUNK)
    assert job.done_bytes == job.total_bytes == SIZE
    told = job.progress()
    assert (told.compared_bytes, told.sent_bytes) == (SIZE, 2 * CHUNK)


def test_without_digests_everything_pending_is_sent(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    job, crossed = resync(rig, pair, compare=Compare.NEVER)
    assert crossed > SIZE
    assert (job.compared_bytes, job.sent_bytes) == (0, SIZE)


@pytest.mark.parametrize("ended", ["100a", "100b"])
def test_after_an_unclean_end_of_either_side_digests_are_compared_by_itself(
    rig: Rig, ended: str
) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    rig.path.cut()
    rig.reopen(ended, crash=True)
    rig.pvol.pwrite(b"while it was away", 77 * CHUNK)
    path = rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    rig.both(pair, PairStatus.DUPLEX)
    assert equal(rig.pvol, rig.spvol)
    assert path.frame_bytes < CHUNK + BARELY


def test_after_a_crash_the_hot_regions_are_compared_and_what_differs_crosses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large volume in which everything was written to, and settled, long ago."""
    region, hot, regions = 4 * MIB, 16, 60
    rig = Rig(tmp_path)
    rig.options["100a"] = Options(hot_regions=hot)
    rig.build(size=regions * region)
    pair = rig.a.create_remote_pair("105a", "100b", "105b")
    pair.wait(timeout_s=LONG_S)
    for number in range(regions - hot):
        rig.pvol.pwrite(bytes([number]) * CHUNK, number * region)
    wait_until(lambda: not pair.status().unsettled)
    for number in range(regions - hot, regions):
        rig.pvol.pwrite(bytes([number]) * CHUNK, number * region)
    wait_until(lambda: not pair.status().unsettled)
    rig.path.cut()
    rig.pvol.pwrite(b"one", (regions - 1) * region)
    rig.pvol.pwrite(b"two", (regions - 2) * region + 7 * CHUNK)
    pair = rig.reopen("100a", crash=True).pair(pair.pair_id)
    # What left the log while it was unsettled is in there, too.
    most = hot * region + (regions - hot) * CHUNK
    assert pair.status().pending_bytes <= most
    jobs: list[CopyJob] = []
    start = CopyJob.start

    def note(job: CopyJob) -> None:
        jobs.append(job)
        start(job)

    monkeypatch.setattr(CopyJob, "start", note)
    path = rig.reconnect()
    pair.wait(timeout_s=LONG_S)
    assert 0 < sum(one.compared_bytes for one in jobs) <= most
    assert path.frame_bytes < 2 * CHUNK + BARELY
    for number in (0, regions - 2, regions - 1):
        assert rig.spvol.pread(8 * CHUNK, number * region) == rig.pvol.pread(
            8 * CHUNK, number * region
        )
    rig.close()


def test_a_copy_that_an_unclean_end_interrupts_compares_when_it_goes_on(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=1))
    assert job is not None
    rig.path.cut()
    rig.reopen("100a", crash=True)
    path = rig.reconnect()
    rig.a.pair(pair.pair_id).wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert path.frame_bytes < BARELY


def test_a_pair_in_sync_again_has_nothing_to_compare_after_a_clean_end(rig: Rig) -> None:
    pair = rig.remote()
    rig.path.cut()
    rig.reopen("100b", crash=True)
    rig.reconnect()
    rig.both(pair, PairStatus.DUPLEX)
    rig.pvol.pwrite(b"x", 0)
    pair = rig.a.pair(pair.pair_id)
    all_pending(rig, pair)
    job, _ = resync(rig, pair)
    assert job.compared_bytes == 0


def test_a_reverse_copy_sends_back_only_what_differs(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    rig.spvol.pwrite(b"restored", 9 * CHUNK)
    job, crossed = resync(
        rig, pair, direction=Direction.REVERSE, discard="100a", compare=Compare.XXH3
    )
    assert crossed < CHUNK + BARELY
    assert (job.compared_bytes, job.sent_bytes) == (SIZE, CHUNK)
    assert rig.pvol.pread(8, 9 * CHUNK) == b"restored"


def test_what_was_torn_at_the_target_is_found_and_sent(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.b.state.volume(rig.spvol.volume_id).io.pwrite(b"torn", 3 * CHUNK + 100)
    rig.a.state.mirror(pair.pair_id).mark_all()
    job, _ = resync(rig, pair, compare=Compare.XXH3)
    assert job.sent_bytes == CHUNK


def test_zeros_and_long_runs_cross_as_few_records(rig: Rig) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    all_pending(rig, pair)
    rig.pvol.zero(MIB, 0)
    rig.pvol.pwrite(random.Random(2).randbytes(512 * KIB), MIB)
    _, crossed = resync(rig, pair, compare=Compare.XXH3)
    # 512 KiB in two records of 256 KiB; a MiB of zeros in one of 32 bytes.
    assert 512 * KIB < crossed < 513 * KIB


Step = Callable[[Rig], None]


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
    whole = Outlet.await_answer
    settle = Sieve._settle_both

    def settle_both(self: Sieve, job: CopyJob) -> None:
        settle(self, job)
        rig.path.stall()
        rig.pvol.pwrite(b"new", 0)
        mirror.link.pending.set(0, 1)  # as a write that finds no room leaves it to the copy
        rig.pvol.pwrite(b"old", 0)
        begun.set()

    def await_answer(self: Outlet, *args: object, **named: object) -> None:
        if begun.is_set():
            waits.set()
        whole(self, *args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Outlet, "await_answer", await_answer)
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


def put_an_old_copy_back(rig: Rig, pair: Pair, tmp_path: Path) -> None:
    """Put 100b back as it was before the last resync; the pair waits for a command."""
    pair.split()
    rig.pvol.pwrite(b"one", 5 * CHUNK)
    rig.path.cut()
    rig.b.close()
    shutil.copytree(rig.root / "100b", tmp_path / "old")
    rig.open("100b")
    rig.reconnect()
    resync(rig, pair)
    rig.path.cut()
    rig.b.close()
    shutil.rmtree(rig.root / "100b")
    shutil.copytree(tmp_path / "old", rig.root / "100b")
    rig.options["100b"] = Options(changed_backing=ChangedBacking.ASSUME_UNCHANGED)
    rig.open("100b")
    rig.reconnect()
    rig.both(pair, PairStatus.SPLIT)


def test_an_old_copy_that_was_put_back_is_compared(rig: Rig, tmp_path: Path) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    put_an_old_copy_back(rig, pair, tmp_path)
    job, crossed = resync(rig, pair)
    assert job.compared_bytes == SIZE
    assert crossed < CHUNK + BARELY


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


def test_questions_that_can_not_be_are_refused(rig: Rig) -> None:
    pair = rig.remote()
    peer = rig.a.state.peer(pair.row.pair_system_id)

    def asked(**changed: object) -> object:
        plain: dict[str, object] = {
            "pair_id": pair.pair_id,
            "kind": "xxh3",
            "group_bytes": MIB,
            "runs": Runs.of([(0, 1)]).to_bytes(),
        }
        return peer.ask(ReadDigests(**(plain | changed)))  # type: ignore[arg-type]

    answer = asked()
    assert isinstance(answer, Digests)
    assert len(answer.values) == 16
    with pytest.raises(WireError, match="md5"):
        asked(kind="md5")
    with pytest.raises(InvalidArgumentError):
        asked(group_bytes=2 * MIB)
    with pytest.raises(InvalidArgumentError):
        asked(group_bytes=CHUNK - 1)
    with pytest.raises(WireError):
        asked(runs=b"1234567")
    with pytest.raises(OutOfRangeError):
        asked(runs=Runs.of([(CHUNKS, 1)]).to_bytes())
    with pytest.raises(InvalidArgumentError):
        asked(runs=Runs.of([(4, 1), (3, 1)]).to_bytes())
    with pytest.raises(InvalidArgumentError, match="runs at once"):
        asked(runs=Runs.of([(0, 1)] * 9000).to_bytes())
    with pytest.raises(NotFoundError):
        asked(pair_id="100a.99")


def test_a_system_is_told_digests_of_its_own_pairs_only(rig: Rig) -> None:
    rig.remote()
    pair = rig.local()
    peer = rig.a.state.peer(rig.b.system_id)
    with pytest.raises(NotFoundError):
        peer.ask(
            ReadDigests(
                pair_id=pair.pair_id,
                kind="xxh3",
                group_bytes=MIB,
                runs=Runs.of([(0, 1)]).to_bytes(),
            )
        )


def test_options_say_when_digests_are_compared(site: Site) -> None:
    site.options["100a"] = Options(compare=Compare.SHA256)
    rig = Rig(site.root, options=site.options).build()
    pair = rig.remote()
    fill(rig.pvol, 3)
    all_pending(rig, pair)
    job, _ = resync(rig, pair)
    assert job.compared_bytes  # but for the volume's holes
    rig.close()


@pytest.mark.parametrize("ended", ["100a", "100b"])
def test_a_clean_end_after_an_unclean_one_is_no_reason_to_send_it_all(rig: Rig, ended: str) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.path.cut()
    rig.reopen(ended, crash=True)
    rig.reopen("100a")
    rig.reopen("100b")
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    rig.a.state.mirror(pair.pair_id).mark_all()
    rig.pvol.pwrite(b"meanwhile", 77 * CHUNK)
    job, crossed = resync(rig, pair)
    assert job.compared_bytes == SIZE
    assert crossed < CHUNK + BARELY
    for system in (rig.a, rig.b):
        assert not row_of(system, pair).overmarked


def test_the_copy_of_an_old_copy_compares_after_a_clean_end_too(rig: Rig, tmp_path: Path) -> None:
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    put_an_old_copy_back(rig, pair, tmp_path)
    pair = rig.a.pair(pair.pair_id)
    job = pair.resync(rate=CopyRate(ceiling_bytes_s=1))
    assert job is not None
    rig.path.cut()
    rig.reopen("100a")
    path = rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    pair.wait(timeout_s=LONG_S)
    assert equal(rig.pvol, rig.spvol)
    assert path.frame_bytes < CHUNK + BARELY


@pytest.fixture
def crossed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of questions for digests and of their answers."""
    counts: list[int] = []
    whole = Peer.ask

    def counting(self: Peer, message: Message) -> Answer:
        answer = whole(self, message)
        if isinstance(message, ReadDigests):
            counts.append(len(encode(message)) + len(encode(answer)))
        return answer

    monkeypatch.setattr(Peer, "ask", counting)
    return counts


def small_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a comparison give up within the small volumes of these tests."""
    monkeypatch.setattr("pyrep.engine.sieve.WINDOW_BYTES", 32 * KIB)
    monkeypatch.setattr("pyrep.engine.questions.QUESTIONS", 1)
    monkeypatch.setattr("pyrep.model.digest._LEAST_BYTES", 64 * KIB)


def all_different(rig: Rig, compare: Compare, direction: Direction) -> tuple[CopyJob, int]:
    """Copy a volume that differs everywhere, after an unclean end; return job, bytes of frames."""
    pair = rig.remote()
    pair.split()
    rig.reopen("100a", crash=True)
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    rig.pvol.pwrite(random.Random(2).randbytes(SIZE), 0)
    rig.spvol.pwrite(random.Random(3).randbytes(SIZE), 0)
    back = direction is Direction.REVERSE
    return resync(
        rig,
        pair,
        direction=direction,
        discard="100a" if back else "100b",
        compare=compare,
    )


@pytest.mark.parametrize("direction", Direction)
def test_a_comparison_by_itself_gives_up_where_everything_differs(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, crossed: list[int], direction: Direction
) -> None:
    small_looks(monkeypatch)
    job, frames = all_different(rig, Compare.AUTO, direction)
    assert 0 < job.compared_bytes < SIZE / 2
    assert job.sent_bytes == SIZE
    assert frames + sum(crossed) < 1.03 * SIZE


def test_a_comparison_that_was_asked_for_does_not_give_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, crossed: list[int]
) -> None:
    small_looks(monkeypatch)
    job, frames = all_different(rig, Compare.XXH3, Direction.FORWARD)
    assert job.compared_bytes == SIZE
    assert frames + sum(crossed) < 1.03 * SIZE


def test_a_comparison_that_gave_up_finds_what_is_equal_farther_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_looks(monkeypatch)
    pair = rig.remote()
    rig.pvol.pwrite(random.Random(1).randbytes(SIZE), 0)
    pair.split()
    rig.pvol.pwrite(random.Random(2).randbytes(MIB), 0)
    rig.reopen("100a", crash=True)
    rig.reconnect()
    pair = rig.a.pair(pair.pair_id)
    rig.a.state.mirror(pair.pair_id).mark_all()
    job, _ = resync(rig, pair)
    assert job.compared_bytes < SIZE
    assert MIB <= job.sent_bytes <= MIB + MIB // 4
