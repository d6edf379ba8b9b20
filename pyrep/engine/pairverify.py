"""Verifying a pair: comparing its two volumes by digests while hosts write.

Of a pair in DUPLEX every chunk is the same at both ends, but for what is on its way; of one that is
SPLIT every chunk that is pending on neither side. What is neither is a difference that no invariant
allows: a disk that has rotted, a volume that was written to behind pyrep's back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from pyrep._core import Bitmap, Comparer, Runs
from pyrep.engine.cancel import Cancel, ProgressCallback
from pyrep.engine.copyjob import CopyJob
from pyrep.engine.datamap import RunList, data_runs, united_data
from pyrep.engine.decide import name_of
from pyrep.engine.draw import Draw
from pyrep.engine.farside import Far, LocalFar, RemoteFar
from pyrep.engine.mirror import Mirror
from pyrep.engine.pairverify_result import Found, PairVerifyResult
from pyrep.engine.questions import compare_all, halves
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.engine.sums import Sums
from pyrep.engine.window import Window
from pyrep.errors import PathLostError, RefusedError
from pyrep.model import (
    SPAN_BYTES,
    CopyRate,
    DigestKind,
    PairId,
    PairStatus,
    Row,
    chunk_count,
)

__all__ = ["PairVerifier"]

_ROUNDS = 16
"""How often a chunk is compared again that hosts wrote to meanwhile; then it is left."""
_OTHERS_S = 60.0


class PairVerifier:
    """Verifies pairs of one system; of remote ones those whose PVOL is here."""

    def __init__(self, state: SystemState, line: RemoteLine) -> None:
        self._state = state
        self._line = line

    def verify(
        self,
        pair_id: PairId,
        *,
        percentage: float = 100.0,
        seed: int | None = None,
        kind: DigestKind = DigestKind.XXH3,
        rate: CopyRate | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> PairVerifyResult:
        """Do `Pair.verify`."""
        state = self._state
        with state.at_work():
            mirror = state.mirror(pair_id)
            status = mirror.row.status
            name = name_of(mirror.row, state.system_id)
            if status not in {PairStatus.DUPLEX, PairStatus.SPLIT}:
                raise RefusedError(
                    f"cannot verify {name}: it is {status}", hint="wait until it is DUPLEX"
                )
            check = _Check(state, mirror, self._far(mirror, status), kind, status)
            size = state.volume(mirror.row.volume_id).record.size_bytes
            draw = Draw(size, percentage, seed)
            job = CopyJob(
                what=f"verify {name}",
                work=lambda job: check.run(draw, job),
                ended=lambda _: None,
                rate=rate,
            )
            try:
                job.start()
                job.wait(progress=progress, cancel=cancel)
            except PathLostError as error:
                if mirror.row.status is status:
                    raise
                raise _changed(mirror.row, state) from error
            finally:
                job.close()
            return check.result(percentage, job.compared_bytes)

    def _far(self, mirror: Mirror, status: PairStatus) -> Far:
        state, row = self._state, mirror.row
        if not row.is_remote:
            return LocalFar(state, *state.sides(row.pair_id))
        outlet = None
        if status is PairStatus.DUPLEX and row.group_id is not None:
            outlet = self._line.peer(mirror).known_outlet(row.group_id)
        return RemoteFar(state, self._line, mirror, outlet)


def _changed(now: Row, state: SystemState) -> RefusedError:
    cause = f" ({now.cause})" if now.cause else ""
    return RefusedError(
        f"cannot go on verifying {name_of(now, state.system_id)}: it became {now.status}{cause}",
        hint="verify it again when it is DUPLEX",
    )


class _Check:
    """One verification."""

    def __init__(
        self,
        state: SystemState,
        mirror: Mirror,
        far: Far,
        kind: DigestKind,
        status: PairStatus,
    ) -> None:
        self._state = state
        self._mirror = mirror
        self._far = far
        self._status = status
        row = mirror.row
        self._chunk_bytes = row.chunk_bytes
        live = state.volume(row.volume_id)
        self._io, self._size = live.io, live.record.size_bytes
        self._spans = Sums(kind, chunk_bytes=row.chunk_bytes, group_bytes=SPAN_BYTES)
        self._chunks = Sums(kind, chunk_bytes=row.chunk_bytes, group_bytes=row.chunk_bytes)
        self._differing = self._nothing()
        self._restless = self._nothing()
        self._hole_bytes = 0

    def _nothing(self) -> Found:
        return Found(
            chunks=Bitmap(chunk_count(self._size, self._chunk_bytes)),
            chunk_bytes=self._chunk_bytes,
            size_bytes=self._size,
        )

    def run(self, draw: Draw, job: CopyJob) -> None:
        """Compare what is drawn."""
        job.total_bytes = draw.bytes_before(self._size)
        with contextlib.ExitStack() as stack:
            comparer = None
            if self._status is PairStatus.DUPLEX:
                comparer = stack.enter_context(Comparer(self._mirror.link))

            def compare(runs: Runs) -> int:
                self._state.check_open()
                if comparer is None:
                    compared = self._compare_split(runs)
                else:
                    compared = self._compare_duplex(comparer, runs, job)
                job.note_compared(compared, equal_bytes=compared)
                return compared

            compare_all(self._windows(draw, job), compare, job)

    def _windows(self, draw: Draw, job: CopyJob) -> Iterator[Runs]:
        """Yield what is read together; note what is a hole at both ends as it is passed over."""
        window = Window(self._chunk_bytes)
        past = chunk_count(self._size, self._chunk_bytes)
        told = 0  # up to here

        def note(upto: int, read_bytes: int) -> None:
            nonlocal told
            offset = min(upto * self._chunk_bytes, self._size)
            holes = draw.bytes_before(offset) - draw.bytes_before(told) - read_bytes
            told = offset
            self._hole_bytes += holes
            job.note_compared(holes, equal_bytes=holes)

        for runs, end in united_data(self._here, self._far.data, 0, past):
            for run in self._drawn(runs, draw):
                if not window.takes(run):
                    note(window.past, window.bytes(self._size))
                    yield window.close()
                window.add(run)
            if window.runs:
                note(window.past, window.bytes(self._size))
                yield window.close()
            note(end, 0)
            job.check()

    def _here(self, first: int, past: int) -> tuple[RunList, int]:
        return data_runs(self._io, first, past, chunk_bytes=self._chunk_bytes)

    def _drawn(self, runs: RunList, draw: Draw) -> Iterator[tuple[int, int]]:
        """Yield the runs in spans that are drawn, cut where spans end."""
        each = SPAN_BYTES // self._chunk_bytes
        for first, count in runs:
            at, past = first, first + count
            while at < past:
                border = min(past, at - at % each + each)
                if draw.has(at // each):
                    yield at, border - at
                at = border

    def _split(self, sums: Sums, runs: Runs) -> tuple[list[int], int]:
        """Return the chunks of those runs that differ, and how many bytes were read here."""
        theirs = self._far.digests(sums, runs)
        mine, read_bytes = sums.read(self._io, runs)
        _, others = halves(sums, runs, mine, theirs)
        return [one for first, count in others for one in range(first, first + count)], read_bytes

    # --- DUPLEX ----------------------------------------------------------------------------------

    def _compare_duplex(self, comparer: Comparer, runs: Runs, job: CopyJob) -> int:
        """Compare while hosts write.

        A chunk that wasn't written since the begin, and of which nothing was on its way then, had
        the bytes that were read at both ends at one moment (docs/adr/0017).
        """
        first, last, count = runs.firsts[0], runs.firsts[-1], runs.counts[-1]
        comparer.begin(first, last + count - first, job.wake)
        self._far.await_sent()
        suspects, compared = self._split(self._spans, runs)
        for _ in range(_ROUNDS):
            if not suspects:
                break
            suspects, _ = self._split(self._chunks, Runs.of([(one, 1) for one in suspects]))
            each = Runs.of([(one, 1) for one in suspects])
            written = comparer.written(each, job.wake) if suspects else b""
            self._note(self._differing, suspects, written, 0)
            suspects = [one for one, was in zip(suspects, written, strict=True) if was]
            for one in suspects:
                comparer.begin(one, 1, job.wake)
            if suspects:
                self._far.await_sent()
        self._note(self._restless, suspects, bytes(len(suspects)), 0)
        return compared

    @staticmethod
    def _note(where: Found, chunks: Sequence[int], flags: bytes, wanted: int) -> None:
        for one, flag in zip(chunks, flags, strict=True):
            if flag == wanted:
                where.chunks.set(one)

    # --- SPLIT -----------------------------------------------------------------------------------

    def _compare_split(self, runs: Runs) -> int:
        """Compare what is pending on neither side: marks are made before what they are for.

        The pair is held for a moment, so that no copy makes equal and unmarks between.
        """
        pair_id = self._mirror.row.pair_id
        with self._state.operation("verify", [pair_id], lease=ANY_LEASE, timeout_s=_OTHERS_S):
            if self._mirror.row.status is not self._status:
                raise _changed(self._mirror.row, self._state)
            suspects, compared = self._split(self._spans, runs)
            if suspects:
                suspects, _ = self._split(self._chunks, Runs.of([(one, 1) for one in suspects]))
            if suspects:
                cover = self._far.cover()
                flags = bytes(cover.test(one) for one in suspects)
                self._note(self._differing, suspects, flags, 0)
        return compared

    def result(self, percentage: float, compared_bytes: int) -> PairVerifyResult:
        """Return what was found."""
        return PairVerifyResult(
            pair_id=self._mirror.row.pair_id,
            status=self._status,
            percentage=percentage,
            checked_bytes=compared_bytes,
            hole_bytes=self._hole_bytes,
            differing=self._differing.told(),
            differing_count=self._differing.extent_count(),
            restless=self._restless.told(),
            restless_count=self._restless.extent_count(),
            found=self._differing,
        )
