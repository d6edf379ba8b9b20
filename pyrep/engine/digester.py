"""The digester: computes the digests of generations, in the background or when asked.

Only spans that may have changed since the generation before are read; the others' digests are
carried over. It pins nothing in the background, so that it never stands in the way of a backup: a
generation's bytes stay as they are until its row says that it was given up, and digests become
known only while the row still says complete (INV-4).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pyroaring import BitMap

from pyrep._core import VolumeIo
from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.engine.changes import Changes, spans_of
from pyrep.engine.digests import DIGEST_BYTES, DigestStore, SpanDigests, is_zero, span_digest
from pyrep.engine.generations import Generations
from pyrep.engine.livevolume import LiveVolume
from pyrep.engine.options import Digests
from pyrep.engine.state import SystemState
from pyrep.errors import CancelledError, FormatError, NotFoundError, PyrepError
from pyrep.meta import DigestRecord
from pyrep.model import (
    GIB,
    SPAN_BYTES,
    Generation,
    GenerationCause,
    GenerationId,
    GenerationMember,
    chunk_count,
    new_key,
)

__all__ = ["Digester", "data_spans", "read_span"]

_log = logging.getLogger(__name__)

_MAP_BYTES = 64 * GIB
"""Extents are mapped in pieces: a volume can't be deleted while its map is being read."""


_YIELD_S = 0.05
"""How long a span in the background waits for a backup or a frame under way, at most: it may take
long, and digests have to come to an end, too."""


class Digester:
    """Digests of one system's generations; at most one volume is read at a time."""

    def __init__(
        self, state: SystemState, generations: Generations, changes: Changes, store: DigestStore
    ) -> None:
        self._state = state
        self._generations = generations
        self._changes = changes
        self._store = store
        self._one_at_a_time = threading.Lock()
        self._running = False
        self._again = False

    def start(self) -> None:
        """Work in the background through the backups that have no digests yet, oldest first.

        Nothing, if the system's options say that digests are computed when asked for.
        """
        if self._state.options.digests is not Digests.AFTER_BACKUP:
            return
        with self._state.control:
            self._again = True
            if self._running or self._state.closing:
                return
            self._running = True
        self._state.background(f"digest {self._state.system_id}", self._work)

    def _work(self) -> None:
        while True:
            with self._state.control:
                if not self._again or self._state.closing:
                    self._running = False
                    return
                self._again = False
            with self._one_at_a_time:
                self._sweep()
            for generation in self._state.catalogue.all():
                if generation.cause is not GenerationCause.BACKUP or not self._is_held(generation):
                    continue
                for member in generation.members:
                    self._digest_in_background(generation, member)

    def _digest_in_background(self, generation: Generation, member: GenerationMember) -> None:
        generation_id = generation.generation_id

        pace = _Pace(self._state)

        def is_over() -> bool:
            pace.wait()
            return self._state.closing or not self._is_held(generation)

        try:
            with self._one_at_a_time:
                self._digest(generation, member, is_over)
        except PyrepError as error:  # given up meanwhile, closing, or storage that failed
            _log.info("digest.stopped generation=%s why=%s", generation_id, error)

    def _sweep(self) -> None:
        """Delete files that no record names: of generations given up, or left by a crash."""
        self._store.remove_strays({one.file_key for one in self._state.digests.all()})

    def _is_held(self, generation: Generation) -> bool:
        if generation.home != self._state.system_id:
            return False
        try:
            return self._generations.get(generation.generation_id).is_complete
        except NotFoundError:
            return False

    def digest(
        self,
        generation_id: GenerationId,
        *,
        again: bool = False,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Compute what digests a generation lacks; it is pinned meanwhile.

        Args:
            generation_id: a complete generation held here.
            again: forget those that are kept, and read everything.
            progress: called after each span read.
            cancel: ends it; what was computed is kept, and it can be called again.

        Raises:
            NotFoundError, RefusedError: there is none, it isn't held here or isn't complete.
            CancelledError, DeviceError: not done.
        """

        def is_over() -> bool:
            return self._state.closing or (cancel is not None and cancel.is_cancelled)

        with (
            self._state.at_work(),
            self._generations.in_use(generation_id, "digest") as generation,
            self._one_at_a_time,
        ):
            if again:
                self._state.digests.remove(generation_id)
                self._sweep()
            for member in generation.members:
                self._digest(generation, member, is_over, progress, carry=not again)

    def _digest(
        self,
        generation: Generation,
        member: GenerationMember,
        is_over: Callable[[], bool],
        progress: ProgressCallback | None = None,
        *,
        carry: bool = True,
    ) -> None:
        live = self._state.volume(member.svol)
        begun = self._kept(generation, member)
        if begun is not None and begun.is_whole:
            return
        before, changed = self._before(generation, member) if carry else (None, BitMap())
        what = f"digest generation {generation.generation_id}, volume {member.source}"
        reader = _Reader(live, what=what, is_over=is_over, progress=progress)
        made = reader.digest(begun, before, changed)
        if made.done > (begun.done if begun else 0):
            self._commit(generation, member, made)
        if not made.is_whole:
            raise CancelledError(f"cannot {what}: stopped at span {made.done}")

    def _kept(self, generation: Generation, member: GenerationMember) -> SpanDigests | None:
        """Return what is kept already; what can't be used is computed anew."""
        try:
            return self._changes.digests(generation, member.source)
        except FormatError as error:
            _log.warning("digest.unusable generation=%s why=%s", generation.generation_id, error)
            return None

    def _before(
        self, generation: Generation, member: GenerationMember
    ) -> tuple[SpanDigests | None, BitMap]:
        """Return the newest earlier digests of the volume, and the spans that may differ."""
        mine = (generation.taken_at, generation.generation_id)
        for one in reversed(self._state.catalogue.of_source(member.source)):
            if (one.taken_at, one.generation_id) >= mine or not self._is_held(one):
                continue
            found = self._kept(one, self._generations.member(one, member.source))
            if found is not None and found.is_whole:
                marks = self._changes.marks(one, generation, member.source)
                chunk_bytes = self._state.mirror(member.pair_id).row.chunk_bytes
                return found, spans_of(marks, chunk_bytes)
        return None, BitMap()

    def _commit(self, generation: Generation, member: GenerationMember, made: SpanDigests) -> None:
        """Make digests known, unless the generation was given up while they were computed."""
        source = self._state.volume(member.source).record
        old = self._state.digests.find(generation.generation_id, member.source)
        record = DigestRecord(
            generation_id=generation.generation_id,
            source=member.source,
            file_key=new_key(),
            done_spans=made.done,
        )
        # Not the SVOL's: one may be copied anew while another one keeps the generation.
        self._store.save(record.file_key, source.key, made)
        with self._state.control:
            now = self._generations.get(generation.generation_id)
            is_kept = now.is_complete and member in now.members
            if is_kept:
                self._state.digests.put(record)
        if not is_kept:
            self._store.remove(record.file_key)
        elif old is not None:
            self._store.remove(old.file_key)


class _Pace:
    """Holds the background back: at the rate set, and behind what is done for other systems."""

    def __init__(self, state: SystemState) -> None:
        self._state = state
        self._begun = time.monotonic()
        self._spans = 0

    def wait(self) -> None:
        """Wait before the next span; not once the system closes."""
        state = self._state
        rate = state.options.digest_rate_bytes_s
        due = self._begun + self._spans * SPAN_BYTES / rate if rate else 0.0
        self._spans += 1
        with state.control:
            state.control.wait_for(lambda: state.closing or not state.serving, _YIELD_S)
            state.control.wait_for(lambda: state.closing, max(0.0, due - time.monotonic()))


class _Reader:
    """Reads one SVOL's spans and digests them."""

    def __init__(
        self,
        live: LiveVolume,
        *,
        what: str,
        is_over: Callable[[], bool],
        progress: ProgressCallback | None,
    ) -> None:
        self._live = live
        self._what = what
        self._is_over = is_over
        self._progress = progress
        self._buffer = bytearray(SPAN_BYTES)

    def digest(
        self, begun: SpanDigests | None, before: SpanDigests | None, changed: BitMap
    ) -> SpanDigests:
        """Return the digests of all spans, or of those before the one where it was stopped.

        Args:
            begun: what was computed of this volume already.
            before: an earlier generation's digests, whole; None to read everything.
            changed: the spans in which this generation may differ from it.
        """
        size_bytes = self._live.record.size_bytes
        start = begun.done if begun else 0
        if before is None:
            before = SpanDigests(size_bytes=size_bytes, done=0, spans=BitMap(), values=b"")
            unread = data_spans(self._live)
        else:
            unread = data_spans(self._live) & changed
        spans = BitMap(begun.spans) if begun else BitMap()
        values = bytearray(begun.values) if begun else bytearray()
        special = unread | (before.spans & changed)  # between them everything is carried over
        special.remove_range(0, start)
        total = len(unread) * SPAN_BYTES
        read_bytes = 0
        for span in special:
            self._carry(before, start, span, spans, values)
            start = span
            if span in unread:
                if self._is_over():
                    break
                data = read_span(self._live, span, self._buffer)
                digest = span_digest(data)
                read_bytes += len(data)
                self._report(read_bytes, total)
                if not is_zero(digest, len(data)):
                    spans.add(span)
                    values += digest
            start = span + 1
        else:
            end = chunk_count(size_bytes, SPAN_BYTES)
            self._carry(before, start, end, spans, values)
            start = end
        assert len(values) == len(spans) * DIGEST_BYTES  # noqa: S101 (what is saved is read so)
        return SpanDigests(size_bytes=size_bytes, done=start, spans=spans, values=bytes(values))

    def _carry(
        self, before: SpanDigests, begin: int, end: int, spans: BitMap, values: bytearray
    ) -> None:
        if begin < end:
            spans |= before.spans & BitMap(range(begin, end))
            values += before.between(begin, end)

    def _report(self, done_bytes: int, total_bytes: int) -> None:
        if self._progress:
            self._progress(
                Progress(what=self._what, done_bytes=done_bytes, total_bytes=total_bytes)
            )


def data_spans(live: LiveVolume) -> BitMap:
    """Return the spans of a volume that aren't wholly holes."""
    out = BitMap()
    size_bytes = live.record.size_bytes
    for begin in range(0, size_bytes, _MAP_BYTES):
        with VolumeIo(live.core, ack_timeout_s=0) as io:
            for offset, length in io.extents(begin, min(_MAP_BYTES, size_bytes - begin)):
                out.add_range(offset // SPAN_BYTES, -(-(offset + length) // SPAN_BYTES))
    return out


def read_span(live: LiveVolume, span: int, buffer: bytearray) -> memoryview:
    """Read one span into `buffer` and return its bytes; the last span may be shorter."""
    offset = span * SPAN_BYTES
    data = memoryview(buffer)[: min(SPAN_BYTES, live.record.size_bytes - offset)]
    live.core.pread_into(data, offset)
    return data
