"""Lineage: the data identifiers of one side of a remote pair, and how they change. Pure.

An identifier is a random number that names a content. When the contents of the two sides may begin
to differ, the side that moves on takes a new one and keeps the old one as what both have in common:
that is what its pending bits count from. Two sides that meet again tell by these numbers whether
their bits can be used, and who has been written to since (`meet`).

While both go on together, in COPY and DUPLEX, they have one name for what changes all the time. So
that a copy of one of them, put back, isn't taken for what it has become since, the name has an age:
it is counted up at both sides as long as something is written (`pyrep/engine/ageing.py`), the
secondary's in two steps of one, the primary's in one of two between them. At whatever moment they
part, their ages differ by one at most.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

from pyrep.errors import InvalidArgumentError

__all__ = ["AGE_APART", "HISTORY_MAX", "UNNAMED", "Lineage", "new_content_id"]

HISTORY_MAX = 32
"""Identifiers kept of the past: each return of a path costs two. What is older is unrelated data,
which is refused, never copied by bits that don't belong to it."""

AGE_APART = 1
"""How far the ages of two sides may be apart that hold the same but for what their bits say."""

_END = 1 << 64
_AGE_END = 1 << 63


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
        age: of `point`: how often it was counted up while both sides went on together.

    Raises:
        InvalidArgumentError: not unsigned 64-bit numbers (an age: of 63 bits), or too many of them.
    """

    current: int = 0
    common: int = 0
    written: bool = False
    history: tuple[int, ...] = ()
    age: int = 0

    def __post_init__(self) -> None:
        if len(self.history) > HISTORY_MAX:
            raise InvalidArgumentError(f"a history of {len(self.history)} data identifiers")
        for one in (self.current, self.common, *self.history):
            if not 0 <= one < _END:
                raise InvalidArgumentError(f"data identifier {one} isn't an unsigned 64-bit number")
        if not 0 <= self.age < _AGE_END:
            raise InvalidArgumentError(f"a data identifier can't have the age {self.age}")

    @property
    def point(self) -> int:
        """What this side's pending bits count from."""
        return self.common or self.current

    def age_of(self, name: int) -> int:
        """Return the age of one of this side's identifiers: none but `point` has one yet."""
        return self.age if name == self.point else 0

    def aged(self, age: int) -> Lineage:
        """Return the same with another age of `point`. Its name and its history stay."""
        return replace(self, age=age)

    def diverged(self, new: int) -> Lineage:
        """Return what it is once the content may differ from the other side's; `new`: its name.

        A side that has diverged already stays as it is: its bits count on from the same point.
        """
        if self.written:
            return self
        if not self.current:
            return Lineage(written=True)
        past = self._past(new)
        return Lineage(current=new, common=self.point, written=True, history=past, age=self.age)

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
        past = self._past(common, base)
        return Lineage(current=common, common=base, history=past, age=self.age_of(base))

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
