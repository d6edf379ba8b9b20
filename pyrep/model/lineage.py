"""Lineage: the data identifiers of one side of a remote pair, and how they change. Pure.

An identifier is a random number that names a content. When the contents of the two sides may begin
to differ, the side that moves on takes a new one and keeps the old one as what both have in common:
that is what its pending bits count from. Two sides that meet again tell by these numbers whether
their bits can be used, and who has been written to since (`meet`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from pyrep.errors import InvalidArgumentError

__all__ = ["HISTORY_MAX", "UNNAMED", "Lineage", "new_content_id"]

HISTORY_MAX = 32
"""Identifiers kept of the past: each return of a path costs two. What is older is unrelated data,
which is refused, never copied by bits that don't belong to it."""

_END = 1 << 64


def new_content_id() -> int:
    """Return an identifier that no content has had: 64 random bits, never 0."""
    return secrets.randbits(64) or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The identifiers of one side.

    Attributes:
        current: of what the volume holds; 0: not known (a row of version 0.1.0, or a local pair's).
        common: what both sides held when their contents began to differ, from which this side's
            pending bits count; 0: they count from `current`. In the target of a copy whose source
            hasn't confirmed yet that it has begun: what its content was matched by.
        written: whether anybody but the pair may have written here since.
        history: earlier identifiers, the newest first, at most `HISTORY_MAX`.

    Raises:
        InvalidArgumentError: not unsigned 64-bit numbers, or too many of them.
    """

    current: int = 0
    common: int = 0
    written: bool = False
    history: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.history) > HISTORY_MAX:
            raise InvalidArgumentError(f"a history of {len(self.history)} data identifiers")
        for one in (self.current, self.common, *self.history):
            if not 0 <= one < _END:
                raise InvalidArgumentError(f"data identifier {one} isn't an unsigned 64-bit number")

    @property
    def point(self) -> int:
        """What this side's pending bits count from."""
        return self.common or self.current

    def diverged(self, new: int) -> Lineage:
        """Return what it is once the content may differ from the other side's; `new`: its name.

        A side that has diverged already stays as it is: its bits count on from the same point.
        """
        if self.written:
            return self
        if not self.current:
            return Lineage(written=True)
        return Lineage(current=new, common=self.point, written=True, history=self._past(new))

    def as_source(self, common: int, new: int) -> Lineage:
        """Return what the source of a copy is that begins now.

        Args:
            common: made for this copy; the target's content is called so from now on. Were it used
                for a second one, a target put back from the middle of the first would be believed.
            new: names this side's content if it hasn't diverged yet.
        """
        current = self.current if self.written and self.current else new
        return Lineage(
            current=current, common=common, written=True, history=self._past(current, common)
        )

    def as_target(self, common: int, base: int) -> Lineage:
        """Return what the target of a copy is that begins now.

        Args:
            common: the copy's.
            base: by what its content was matched. Until the source has confirmed that it has begun
                (`confirmed`), not a byte was copied and the source may still count from there.
        """
        return Lineage(current=common, common=base, history=self._past(common, base))

    def confirmed(self) -> Lineage:
        """Return what the target of a copy is once its source has durably begun."""
        return Lineage(current=self.current, history=self._past(self.current))

    def in_sync(self, current: int) -> Lineage:
        """Return what a side is whose content is the other's, which is called `current`."""
        return Lineage(current=current, history=self._past(current))

    def _past(self, *but: int) -> tuple[int, ...]:
        """Return the history with what is given up now in front, without what stays."""
        found = dict.fromkeys((self.current, self.common, *self.history))
        return tuple(one for one in found if one and one not in but)[:HISTORY_MAX]


UNNAMED = Lineage()
"""Nothing is known: a local pair's side, or one of version 0.1.0."""
