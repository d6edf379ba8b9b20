"""A large file of incompressible data that can be made again, so that nobody needs to keep it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pyrep.model import SPAN_BYTES

__all__ = ["BigFile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BigFile:
    """The content: random MiB by a seed, with some parts of it overwritten.

    Attributes:
        size: bytes, whole MiB.
        patches: data by offset, later than the rest.
    """

    seed: int
    size: int
    patches: Mapping[int, bytes] = field(default_factory=dict)

    def span(self, index: int) -> bytes:
        """Return one MiB of it."""
        data = random.Random(f"{self.seed}:{index}").randbytes(SPAN_BYTES)  # noqa: S311
        start = index * SPAN_BYTES
        for offset, patch in self.patches.items():
            low, high = max(offset, start), min(offset + len(patch), start + SPAN_BYTES)
            if low < high:
                part = patch[low - offset : high - offset]
                data = data[: low - start] + part + data[high - start :]
        return data

    def spans(self) -> Iterator[bytes]:
        """Yield all of it."""
        for index in range(self.size // SPAN_BYTES):
            yield self.span(index)

    def touched(self, offset: int, length: int) -> range:
        """Return the indices of the MiB that a part lies in."""
        return range(offset // SPAN_BYTES, -(-(offset + length) // SPAN_BYTES))
