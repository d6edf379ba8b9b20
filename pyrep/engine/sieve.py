"""The sieve: leaves out of a copy to another system what both sides hold already.

It asks the target for digests of what is pending, a window at a time: of each span's pending bytes
first, then, where they differ, of each chunk. What is equal leaves the row's pending bits without a
record; what differs stays pending for the copier. It never takes a pass while it reads: what hosts
write meanwhile is noticed by a `Comparer` and stays pending (docs/adr/0017 has the argument).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from pyrep._core import Ack, Comparer, Runs
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.engine.peer import Peer
from pyrep.engine.questions import ask_digests, compare_all, halves
from pyrep.engine.state import SystemState
from pyrep.engine.sums import WINDOW_BYTES, WINDOW_RUNS, Sums
from pyrep.interconnect.messages import ReadDigests
from pyrep.model import SPAN_BYTES, Comparison, Fruitless

__all__ = ["Sieve"]

_log = logging.getLogger(__name__)


class Sieve:
    """The comparison before one copy of one pair. The row ships, and holds the union.

    Args:
        state: of the system that copies.
        mirror: its row.
        peer: the other system.
        outlet: what the row ships into.
        plan: how to compare.
    """

    def __init__(
        self, state: SystemState, mirror: Mirror, peer: Peer, outlet: Outlet, plan: Comparison
    ) -> None:
        self._mirror = mirror
        self._peer = peer
        self._outlet = outlet
        row = mirror.row
        self._pair_id = row.pair_id
        self._io = state.volume(row.volume_id).io
        self._is_sparing = plan.is_sparing
        self._fruitless = Fruitless()
        self._noting = threading.Lock()
        self._spans = Sums(plan.kind, chunk_bytes=row.chunk_bytes, group_bytes=SPAN_BYTES)
        self._chunks = Sums(plan.kind, chunk_bytes=row.chunk_bytes, group_bytes=row.chunk_bytes)

    def run(self, job: CopyJob) -> None:
        """Compare all that is pending, or what of it is worth a look; clear what is equal.

        Raises:
            PathLostError: the path, or the link, broke; what wasn't compared is pending.
            CancelledError, DeviceError: the same.
        """
        self._settle_both(job)
        with Comparer(self._mirror.link) as comparer:
            compare_all(
                self._windows(comparer), lambda runs: self._compare(comparer, runs, job), job
            )
        _log.info(
            "pair.compared pair=%s compared_bytes=%d equal_bytes=%d",
            self._pair_id,
            job.compared_bytes,
            job.equal_bytes,
        )

    def _settle_both(self, job: CopyJob) -> None:
        """Nothing that an earlier copy sent is on its way, and the target is durable. INV-3.

        What is equal leaves the cover without a barrier behind it, so that it must be durable at
        the target before it is read: it may be in the page cache of a process that was killed. The
        source was flushed when its row began to ship (`make_source_durable`).
        """
        self._await_sent(job)
        self._peer.ask(
            ReadDigests(
                pair_id=self._pair_id,
                kind=self._spans.kind,
                group_bytes=SPAN_BYTES,
                runs=b"",
                flush=True,
            )
        )

    def _await_sent(self, job: CopyJob) -> None:
        """What was sent up to now is at the target, though maybe not durable (then it is in U)."""
        last = self._outlet.stream.info().last
        self._outlet.await_answer_of_job(last, Ack.RECEIVED, wake=job.wake)

    def _windows(self, comparer: Comparer) -> Iterator[Runs]:
        start, end = 0, self._mirror.link.chunk_count
        while start < end:
            start = self._pass_over(comparer, start)
            runs, start = self._pending(comparer, start, WINDOW_BYTES)
            if len(runs):
                yield runs

    def _pending(self, comparer: Comparer, start: int, most_bytes: int) -> tuple[Runs, int]:
        return comparer.pending(
            start, group_bytes=SPAN_BYTES, most_bytes=most_bytes, capacity=WINDOW_RUNS
        )

    def _pass_over(self, comparer: Comparer, start: int) -> int:
        """Leave some of what is pending to the copy, unless it may be worth a look."""
        with self._noting:
            left = self._fruitless.pass_bytes if self._is_sparing else 0
            self._fruitless = self._fruitless.passed(left)
        end, chunk_bytes = self._mirror.link.chunk_count, self._mirror.row.chunk_bytes
        while left >= chunk_bytes and start < end:
            runs, start = self._pending(comparer, start, left)
            left -= runs.chunks() * chunk_bytes
        return start

    def _compare(self, comparer: Comparer, runs: Runs, job: CopyJob) -> int:
        first, last, count = runs.firsts[0], runs.firsts[-1], runs.counts[-1]
        comparer.begin(first, last + count - first, job.wake)
        # A chunk that found no room was left to the copy while an earlier record of it was queued:
        # the source may hold the target's old bytes again by the time it is read (INV-1).
        self._await_sent(job)
        equal, others, compared = self._split(self._spans, runs)
        cleared = comparer.settle(equal, job.wake) if len(equal) else 0
        if len(others):
            # Not read at the begin: what was written since is noticed all the same.
            each = [(chunk, 1) for run, length in others for chunk in range(run, run + length)]
            equal, _, _ = self._split(self._chunks, Runs.of(each))
            cleared += comparer.settle(equal, job.wake) if len(equal) else 0
        job.note_compared(compared, equal_bytes=cleared)
        with self._noting:
            self._fruitless = self._fruitless.compared(compared, equal_bytes=cleared)
        return compared

    def _ask(self, sums: Sums, runs: Runs) -> bytes:
        return ask_digests(self._peer, self._pair_id, sums, runs)

    def _split(self, sums: Sums, runs: Runs) -> tuple[Runs, Runs, int]:
        theirs = self._ask(sums, runs)
        mine, read_bytes = sums.read(self._io, runs)
        return *halves(sums, runs, mine, theirs), read_bytes
