"""Questions about pieces of two volumes, some under way at once: one is read here, one there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from pyrep._core import Runs
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.datamap import RunList
from pyrep.engine.peer import Peer
from pyrep.engine.sums import Sums
from pyrep.errors import WireError
from pyrep.interconnect.messages import Digests, FindData, FoundData, ReadDigests

__all__ = ["QUESTIONS", "ask_data", "ask_digests", "compare_all", "halves"]

QUESTIONS = 2
"""Windows under way at once."""


def ask_digests(peer: Peer, pair_id: str, sums: Sums, runs: Runs) -> bytes:
    """Return the digests of runs of the other system's volume."""
    answer = peer.ask(
        ReadDigests(
            pair_id=pair_id, kind=sums.kind, group_bytes=sums.group_bytes, runs=runs.to_bytes()
        )
    )
    if not isinstance(answer, Digests):
        raise WireError(f"the peer answered {type(answer).__name__}, not Digests")
    return answer.values


def ask_data(peer: Peer, pair_id: str, first: int, past: int) -> tuple[RunList, int]:
    """Return where the other system's volume has data, as `data_runs`.

    Raises:
        WireError: it answered what can't be.
    """
    answer = peer.ask(FindData(pair_id=pair_id, first=first, count=past - first))
    if not isinstance(answer, FoundData):
        raise WireError(f"the peer answered {type(answer).__name__}, not FoundData")
    runs = list(Runs.from_bytes(answer.runs))
    at = first
    for one, count in runs:
        if one < at or not count:
            raise WireError("the peer answered runs of data that aren't in order")
        at = one + count
    if not max(at, first + 1) <= answer.past <= past:
        raise WireError(f"the peer answered for chunks up to {answer.past}")
    return runs, answer.past


def halves(sums: Sums, runs: Runs, mine: bytes, theirs: bytes) -> tuple[Runs, Runs]:
    """Return the runs whose digests are equal, and the others, none of them in two groups.

    Raises:
        WireError: the peer answered more or fewer digests than it was asked for.
    """
    if len(theirs) != len(mine):
        raise WireError(f"the peer answered {len(theirs)} bytes of digests, not {len(mine)}")
    if mine == theirs:
        return runs, Runs.of([])
    return sums.differing(runs, mine, theirs)


def compare_all(windows: Iterator[Runs], compare: Callable[[Runs], int], job: CopyJob) -> None:
    """Let some threads compare all windows, at the job's pace. Raises what the first has raised.

    Args:
        windows: dealt one at a time.
        compare: compares one; returns how many bytes it read.
        job: the job's own thread is one of those that work.
    """
    _Crew(windows, compare, job).run()


class _Crew:
    def __init__(
        self, windows: Iterator[Runs], compare: Callable[[Runs], int], job: CopyJob
    ) -> None:
        self._windows = windows
        self._compare = compare
        self._job = job
        self._dealing = threading.Lock()
        self._errors: list[Exception] = []

    def run(self) -> None:
        others = [
            threading.Thread(target=self._work, name=f"compare {self._job.what} {number}")
            for number in range(1, QUESTIONS)
        ]
        for one in others:
            one.start()
        self._work()
        for one in others:
            one.join()
        if self._errors:
            raise self._errors[0]

    def _work(self) -> None:
        job = self._job
        try:
            while not self._errors:
                with self._dealing:
                    runs = next(self._windows, None)
                if runs is None:
                    return
                start_s = time.monotonic()
                compared = self._compare(runs)
                job.breathe(
                    took_s=time.monotonic() - start_s, sent_bytes=compared, passes=0, crowded=0
                )
                job.check()
        except Exception as error:  # noqa: BLE001 (raised by run)
            self._errors.append(error)
