"""Changes: what two generations of one volume may differ in, from the marks between their splits.

All split mirrors of a volume share its marks (docs/adr/0001), so that what was written between two
splits is known as long as both generations are there, over clean closes too. After an unclean end
the interval that took marks then has all bits; digests narrow that down where both have them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyroaring import BitMap

from pyrep._core import Bitmap
from pyrep.engine.digests import DigestStore, SpanDigests
from pyrep.engine.generations import Generations
from pyrep.engine.state import SystemState
from pyrep.errors import FormatError, RefusedError
from pyrep.model import SPAN_BYTES, Generation, GenerationId, GenerationMember, VolumeId

__all__ = ["Changes", "spans_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two generations of one volume may differ.

    Attributes:
        chunks: a bit per chunk.
        chunk_bytes: bytes of one.
        size_bytes: the volume's size.
    """

    chunks: Bitmap
    chunk_bytes: int
    size_bytes: int

    def extents(self) -> list[tuple[int, int]]:
        """Return byte ranges (offset, length), ascending, within the volume."""
        return list(self.chunks.extents(chunk_bytes=self.chunk_bytes, size_bytes=self.size_bytes))


class Changes:
    """Answers what may differ, and finds the digests that are kept."""

    def __init__(self, state: SystemState, generations: Generations, store: DigestStore) -> None:
        self._state = state
        self._generations = generations
        self._store = store

    def between(
        self, one_id: GenerationId, other_id: GenerationId, volume: VolumeId | None
    ) -> Difference:
        """Return where two generations of one volume may differ, never too little.

        Args:
            one_id, other_id: complete generations held here, in any order.
            volume: which of their volumes; None if they share only one.

        Raises:
            NotFoundError: there is no such generation, or it lacks the volume.
            RefusedError: one isn't complete, or they share no volume, or several.
        """
        with (
            self._generations.in_use(one_id, "compare") as one,
            self._generations.in_use(other_id, "compare") as other,
        ):
            source = volume or _shared_source(one, other)
            member = self._generations.member(one, source)
            self._generations.member(other, member.source)
            found = Difference(
                chunks=self.marks(one, other, member.source),
                chunk_bytes=self._state.mirror(member.pair_id).row.chunk_bytes,
                size_bytes=self._state.volume(member.svol).record.size_bytes,
            )
            if found.chunks.count() == len(found.chunks):
                self._narrow(found, one, other, member.source)
            return found

    def marks(self, one: Generation, other: Generation, source: VolumeId) -> Bitmap:
        """Return the marks between two generations of a source volume; all bits if not known.

        They are known while both are complete: a mirror that was given another generation since
        has marks of another split.
        """
        state = self._state
        with state.control:
            members = [self._generations.member(each, source) for each in (one, other)]
            links = [state.sides(member.pair_id)[0].link for member in members]
            found = None
            if all(map(self._is_still, (one, other), members)):
                found = links[0].marks_between(links[1])
            if found is None:
                found = Bitmap(links[0].chunk_count)
                found.fill()
            return found

    def _is_still(self, generation: Generation, member: GenerationMember) -> bool:
        now = self._generations.get(generation.generation_id)
        return now.is_complete and member in now.members

    def digests(self, generation: Generation, source: VolumeId) -> SpanDigests | None:
        """Return the digests of a generation's volume, whole or not; None: there are none.

        Raises:
            FormatError: their file can't be used.
        """
        record = self._state.digests.find(generation.generation_id, source)
        if record is None:
            return None
        member = self._generations.member(generation, source)
        volume = self._state.volume(member.source).record
        return self._store.load(record.file_key, volume.key, volume.size_bytes)

    def _narrow(
        self, found: Difference, one: Generation, other: Generation, source: VolumeId
    ) -> None:
        """Clear the chunks of spans whose digests are equal, if both have digests of all."""
        try:
            first, second = (self.digests(each, source) for each in (one, other))
        except FormatError:
            return
        if first is None or second is None or not (first.is_whole and second.is_whole):
            return
        count = len(found.chunks)
        found.chunks.clear(0, count)
        for span in first.differing(second):
            begin = span * SPAN_BYTES // found.chunk_bytes
            end = min(count, -(-(span + 1) * SPAN_BYTES // found.chunk_bytes))
            found.chunks.set(begin, end - begin)


def _shared_source(one: Generation, other: Generation) -> VolumeId:
    shared = {member.source for member in one.members} & {member.source for member in other.members}
    if len(shared) != 1:
        raise RefusedError(
            f"cannot compare generations {one.generation_id} and {other.generation_id}: they share "
            f"{len(shared)} volumes",
            hint=f"name one with volume=: {', '.join(sorted(shared))}"
            if shared
            else "compare generations of one volume",
        )
    return shared.pop()


def spans_of(chunks: Bitmap, chunk_bytes: int) -> BitMap:
    """Return the spans that a set of chunks touches."""
    out = BitMap()
    for first, count in chunks.runs():
        begin, end = first * chunk_bytes, (first + count) * chunk_bytes
        out.add_range(begin // SPAN_BYTES, -(-end // SPAN_BYTES))
    return out
