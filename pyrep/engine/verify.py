"""Verifying a generation: reading spans again and comparing their digests."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.engine.changes import Changes
from pyrep.engine.digester import read_span
from pyrep.engine.digests import SpanDigests, is_zero, span_digest
from pyrep.engine.generations import Generations
from pyrep.engine.state import SystemState
from pyrep.errors import DamagedGenerationError, InvalidArgumentError, RefusedError
from pyrep.model import SPAN_BYTES, Generation, GenerationId, GenerationMember, PairId, VolumeId

__all__ = ["DamagedExtent", "Verifier", "VerifyResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedExtent:
    """Bytes of a generation that aren't what they were.

    Attributes:
        source: the generation's member, by the source volume at home.
        svol: the volume that holds it.
        pair_id: its local pair.
        offset, length: in bytes; whole spans.
    """

    source: VolumeId
    svol: VolumeId
    pair_id: PairId
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What a verification found.

    Attributes:
        generation_id: the generation.
        percentage: the share that was asked for.
        checked_spans: spans read and compared.
        checked_bytes: their bytes.
        damaged: where the content differs from what was digested, ascending by volume and offset.
    """

    generation_id: GenerationId
    percentage: float
    checked_spans: int
    checked_bytes: int
    damaged: tuple[DamagedExtent, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing that was read is damaged."""
        return not self.damaged

    def raise_if_damaged(self) -> None:
        """Raise DamagedGenerationError, with its exit code, if something is."""
        if self.damaged:
            first = self.damaged[0]
            raise DamagedGenerationError(
                f"generation {self.generation_id} is damaged in {len(self.damaged)} places, the "
                f"first at {first.offset} of volume {first.svol} ({first.length} bytes)",
                hint=f"restore from another generation; a resync would leave the damage, as it "
                f"copies only what is pending: dissolve pair {first.pair_id}, then "
                f"create_local_pair({first.source!r}, {first.svol!r}) copies all of it",
            )


class Verifier:
    """Verifies generations of one system."""

    def __init__(self, state: SystemState, generations: Generations, changes: Changes) -> None:
        self._state = state
        self._generations = generations
        self._changes = changes

    def verify(
        self,
        generation_id: GenerationId,
        percentage: float = 100.0,
        *,
        seed: int | None = None,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> VerifyResult:
        """Do `KeptGeneration.verify`."""
        asked: object = percentage
        if not isinstance(asked, int | float) or not 0 < asked <= 100:
            raise InvalidArgumentError(
                f"cannot verify {percentage!r} % of a generation", hint="above 0, at most 100"
            )
        with (
            self._state.at_work(),
            self._generations.in_use(generation_id, "verify") as generation,
        ):
            known = [(one, self._digests(generation, one)) for one in generation.members]
            total = sum(digests.span_count for _, digests in known)
            chosen = random.Random(seed).sample(  # noqa: S311 (a sample, no secret)
                range(total), math.ceil(total * percentage / 100)
            )
            check = _Check(self._state, generation_id, sorted(chosen), progress, cancel)
            for member, digests in known:
                check.member(member, digests)
            return check.result(percentage)

    def _digests(self, generation: Generation, member: GenerationMember) -> SpanDigests:
        found = self._changes.digests(generation, member.source)
        if found is None or not found.is_whole:
            raise RefusedError(
                f"cannot verify generation {generation.generation_id}: it has no digests "
                f"{'yet' if found is None else 'of all of it yet'}",
                hint="compute them: system.kept(generation_id).digest()",
            )
        return found


class _Check:
    """One run over the chosen spans, numbered through all members."""

    def __init__(
        self,
        state: SystemState,
        generation_id: GenerationId,
        chosen: list[int],
        progress: ProgressCallback | None,
        cancel: Cancel | None,
    ) -> None:
        self._state = state
        self._generation_id = generation_id
        self._chosen = chosen
        self._progress = progress
        self._cancel = cancel
        self._what = f"verify generation {generation_id}"
        self._buffer = bytearray(SPAN_BYTES)
        self._first = 0
        self._spans = 0
        self._bytes = 0
        self._damaged: list[DamagedExtent] = []

    def member(self, member: GenerationMember, digests: SpanDigests) -> None:
        """Read and compare the chosen spans of one member."""
        live = self._state.volume(member.svol)
        end = self._first + digests.span_count
        for number in self._chosen[self._spans :]:
            if number >= end:
                break
            if self._cancel is not None:
                self._cancel.check(self._what)
            self._state.check_open()
            span = number - self._first
            data = read_span(live, span, self._buffer)
            self._spans += 1
            self._bytes += len(data)
            found, expected = span_digest(data), digests.find(span)
            is_equal = is_zero(found, len(data)) if expected is None else found == expected
            if not is_equal:
                self._note(member, span * SPAN_BYTES, len(data))
            if self._progress:
                total = len(self._chosen) * SPAN_BYTES
                self._progress(Progress(what=self._what, done_bytes=self._bytes, total_bytes=total))
        self._first = end

    def _note(self, member: GenerationMember, offset: int, length: int) -> None:
        last = self._damaged[-1] if self._damaged else None
        if last and last.svol == member.svol and last.offset + last.length == offset:
            self._damaged.pop()
            offset, length = last.offset, last.length + length
        self._damaged.append(
            DamagedExtent(
                source=member.source,
                svol=member.svol,
                pair_id=member.pair_id,
                offset=offset,
                length=length,
            )
        )

    def result(self, percentage: float) -> VerifyResult:
        """Return what was found."""
        return VerifyResult(
            generation_id=self._generation_id,
            percentage=percentage,
            checked_spans=self._spans,
            checked_bytes=self._bytes,
            damaged=tuple(self._damaged),
        )
