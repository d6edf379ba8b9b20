"""Digests by which two sides of a pair compare what they hold, and when a copy does so."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Compare", "DigestKind"]


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
    old copy that was put back has made everything pending.
    """

    AUTO = "auto"
    NEVER = "never"
    XXH3 = "xxh3"
    SHA256 = "sha256"

    def kind(self, *, overmarked: bool, by_itself: DigestKind) -> DigestKind | None:
        """Return the digests to compare by; None: everything pending is sent.

        Args:
            overmarked: whether more may be pending than differs.
            by_itself: what AUTO takes.
        """
        match self:
            case Compare.NEVER:
                return None
            case Compare.AUTO:
                return by_itself if overmarked else None
            case _:
                return DigestKind(self.value)
