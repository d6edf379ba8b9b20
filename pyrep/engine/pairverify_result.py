"""What a verification of a pair has found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyrep._core import Bitmap
from pyrep.errors import PairDiffersError
from pyrep.model import (
    PairId,
    PairStatus,
)

__all__ = ["Found", "PairVerifyResult"]

TOLD_MAX = 256
"""Extents told of each kind. A volume that differs in every other chunk has millions; reports are
kept, and read by people."""

Extents = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Chunks that a verification found, as a bitmap: a bit each, however many there are."""

    chunks: Bitmap
    chunk_bytes: int
    size_bytes: int

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield all of it as (offset, length) in bytes, ascending."""
        return self.chunks.extents(chunk_bytes=self.chunk_bytes, size_bytes=self.size_bytes)

    def told(self) -> Extents:
        """Return the first `TOLD_MAX` of these."""
        return tuple(itertools.islice(self.extents(), TOLD_MAX))

    def extent_count(self) -> int:
        """Return how many there are."""
        return sum(len(firsts) for firsts, _ in self.chunks.run_arrays())


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerifyResult:
    """What a verification of a pair found. Extents are (offset, length) in bytes, ascending.

    Attributes:
        pair_id: the pair.
        status: what it was throughout.
        percentage: the share that was asked for.
        checked_bytes: what was compared.
        hole_bytes: of these, what is a hole at both ends: known equal without being read.
        differing: where both sides differ though nothing says that they may; whole chunks. The
            first 256 places; `extents` yields all.
        differing_count: how many places there are.
        restless: chunks that hosts wrote to whenever they were looked at: nothing is said of them.
            The first 256 places.
        restless_count: how many places there are.
        found: all chunks that differ.
    """

    pair_id: PairId
    status: PairStatus
    percentage: float
    checked_bytes: int
    hole_bytes: int
    differing: Extents
    differing_count: int
    restless: Extents
    restless_count: int
    found: Found = field(repr=False, compare=False)

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield all places where both sides differ."""
        return self.found.extents()

    @property
    def is_equal(self) -> bool:
        """Whether no difference was found; `is_judged` says whether that is all of the answer."""
        return not self.differing

    @property
    def is_judged(self) -> bool:
        """Whether something can be said of all that was looked at: nothing is restless."""
        return not self.restless

    @property
    def verdict(self) -> str:
        """What was found, in words."""
        said = "equal"
        if self.differing:
            said = f"differs in {self.differing_count} places"
        elif self.restless:
            said = "equal as far as judged"
        if self.restless:
            said += f"; {self.restless_count} places kept changing"
        return said

    def raise_if_differing(self) -> None:
        """Raise PairDiffersError, with its exit code, if one was."""
        if self.differing:
            offset, length = self.differing[0]
            raise PairDiffersError(
                f"the volumes of pair {self.pair_id} differ in {self.differing_count} places, the "
                f"first at {offset} ({length} bytes)",
                hint="copy these from the PVOL: pair.repair(result)",
            )
