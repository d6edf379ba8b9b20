"""A draw: the spans of a volume that a verification of a share of it compares."""

from __future__ import annotations

import math
import random

from pyrep.errors import InvalidArgumentError
from pyrep.model import SPAN_BYTES, chunk_count

__all__ = ["Draw"]

_STRATUM = 1024
"""Spans that are drawn from at once. All spans of 15 TiB in one list would take half a GiB."""


class Draw:
    """A share of a volume's spans, the same for the same seed; of each GiB its share, so to say.

    Only what is asked for is drawn: a hole of some TiB costs nothing. For one thread.

    Args:
        size_bytes: of the volume.
        percentage: the share; at least one span is drawn.
        seed: None: another draw each time.

    Raises:
        InvalidArgumentError: no percentage.
    """

    def __init__(self, size_bytes: int, percentage: float, seed: int | None) -> None:
        asked: object = percentage
        if not isinstance(asked, int | float) or not 0 < asked <= 100:
            raise InvalidArgumentError(
                f"cannot verify {percentage!r} % of a pair", hint="above 0, at most 100"
            )
        self._size = size_bytes
        self._spans = chunk_count(size_bytes, SPAN_BYTES)
        self._share = percentage / 100
        random_ = random.Random(seed)  # noqa: S311 (a sample, no secret)
        self._seed = random_.getrandbits(64)
        # Where the share falls short of a whole span, chance says which stratum gets it: rounding
        # would never draw from some of them.
        least = max(0.0, 1 - self._spans * self._share)
        self._phase = least + (1 - least) * random_.random()
        self._stratum = -1
        self._drawn: set[int] = set()

    def _count(self, spans: int) -> int:
        """Return how many of the first so many spans are drawn, at borders of strata."""
        return min(spans, math.floor(spans * self._share + self._phase))

    def _drawn_of(self, stratum: int) -> set[int]:
        if stratum != self._stratum:
            first = stratum * _STRATUM
            past = min(first + _STRATUM, self._spans)
            count = self._count(past) - self._count(first)
            random_ = random.Random(f"{self._seed} {stratum}")  # noqa: S311
            self._drawn = set(random_.sample(range(first, past), count))
            self._stratum = stratum
        return self._drawn

    def has(self, span: int) -> bool:
        """Whether a span is drawn."""
        return self._share == 1 or span in self._drawn_of(span // _STRATUM)

    def bytes_before(self, offset: int) -> int:
        """Return how many bytes before this offset are drawn; at the volume's size: in all."""
        if self._share == 1:
            return offset
        span, inside = divmod(offset, SPAN_BYTES)
        stratum = span // _STRATUM
        if stratum * _STRATUM >= self._spans:
            return self._count(self._spans) * SPAN_BYTES
        drawn = self._drawn_of(stratum)
        before = self._count(stratum * _STRATUM) + sum(one < span for one in drawn)
        return before * SPAN_BYTES + (inside if span in drawn else 0)
