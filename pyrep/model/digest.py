"""Digests by which two sides of a pair compare what they hold, and when a copy does so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pyrep.model.units import GIB, MIB

__all__ = ["Compare", "Comparison", "DigestKind", "Fruitless"]

_LEAST_BYTES = 32 * MIB
"""So much is compared before anything is passed over: one region that hosts write to all the time
is no sign of the rest."""
_MOST_BYTES = GIB
_WORTH = 8
"""Comparing pays where one byte in so many is equal: reading both ends at 1 GB/s and more, side by
side, against a path of 1 Gbit/s."""


class DigestKind(StrEnum):
    """How bytes are digested where equal digests stand for equal bytes.

    XXH3 (128 bits) tells accidents from each other, SHA256 also what somebody made up on purpose: a
    guest that can choose what it writes could make two different chunks of one XXH3 digest.
    """

    XXH3 = "xxh3"
    SHA256 = "sha256"

    @property
    def digest_bytes(self) -> int:
        """Bytes of one digest."""
        return 16 if self is DigestKind.XXH3 else 32


class Compare(StrEnum):
    """Whether a copy to another system compares digests first, and sends only what differs.

    AUTO: where more may be pending than differs: after an unclean end of either side, and when an
    old copy that was put back has made everything pending. It passes over much of what it finds to
    differ all the same (`Fruitless`).
    """

    AUTO = "auto"
    NEVER = "never"
    XXH3 = "xxh3"
    SHA256 = "sha256"

    def plan(self, *, overmarked: bool, by_itself: DigestKind) -> Comparison | None:
        """Return how to compare; None: everything pending is sent.

        Args:
            overmarked: whether more may be pending than differs.
            by_itself: the digests that AUTO takes.
        """
        match self:
            case Compare.NEVER:
                return None
            case Compare.AUTO:
                return Comparison(kind=by_itself, is_sparing=True) if overmarked else None
            case _:
                return Comparison(kind=DigestKind(self.value), is_sparing=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How one copy compares before it sends.

    Attributes:
        kind: the digests.
        is_sparing: whether it passes over what isn't worth a look (`Fruitless`). Nobody asked for
            this comparison, so that it mustn't cost what it can't bring in.
    """

    kind: DigestKind
    is_sparing: bool


@dataclass(frozen=True, slots=True)
class Fruitless:
    """For how long a comparison has found next to nothing equal, and what follows from that.

    After 32 MiB in a row in which less than an eighth was equal, a quarter of what lies behind is
    passed over, 1 GiB at most; then it looks again. So where all of a volume differs 1 % of it is
    read for nothing, and where a stretch of that ends, a quarter of its length, or 1 GiB, is sent
    that needn't be.

    Attributes:
        stretch_bytes: compared or passed over since something was worth it.
    """

    stretch_bytes: int = 0

    def compared(self, compared_bytes: int, *, equal_bytes: int) -> Fruitless:
        """Return what it is after so much more was compared."""
        if equal_bytes * _WORTH >= compared_bytes:
            return Fruitless()
        return Fruitless(self.stretch_bytes + compared_bytes)

    def passed(self, passed_bytes: int) -> Fruitless:
        """Return what it is after so much was passed over."""
        return Fruitless(self.stretch_bytes + passed_bytes)

    @property
    def pass_bytes(self) -> int:
        """How much to pass over now."""
        if self.stretch_bytes < _LEAST_BYTES:
            return 0
        return min(self.stretch_bytes // 4, _MOST_BYTES)
