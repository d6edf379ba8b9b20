"""What a volume of the reference model holds, and what a power loss may leave of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyrep.testing.content import BLOCK_BYTES, Content, HostWrite

__all__ = ["HeldVolume"]

_SECTOR_BYTES = 512  # what a power loss keeps or loses as a whole, mostly


@dataclass(slots=True)
class HeldVolume:
    """The content of a volume, what of it is durable, and what was written since that was."""

    content: Content
    durable: Content
    since: list[HostWrite] = field(default_factory=list)

    def unexplained(self, found: bytes) -> int | None:
        """Return the first byte that isn't what was durable nor written there since, or None."""
        size_bytes = self.durable.size_bytes
        for index in self.durable.differing_blocks(found):
            start = index * BLOCK_BYTES
            for sector in range(start, min(start + BLOCK_BYTES, size_bytes), _SECTOR_BYTES):
                piece = found[sector : min(sector + _SECTOR_BYTES, start + BLOCK_BYTES)]
                wrong = self._unexplained_in(piece, sector)
                if wrong is not None:
                    return wrong
        return None

    def _unexplained_in(self, piece: bytes, start: int) -> int | None:
        """Do so for a few bytes from `start` on: mostly one write's, or what was durable."""
        then = self.durable.read(len(piece), start)
        if piece == then:
            return None
        end = start + len(piece)
        writes = [one for one in self.since if one.offset < end and start < _end(one)]
        for write in writes:
            if write.offset <= start and end <= _end(write):
                at = start - write.offset
                if write.data[at : at + len(piece)] == piece:
                    return None
        explained = [now == old for now, old in zip(piece, then, strict=True)]
        for write in writes:
            for at in range(max(start, write.offset), min(end, _end(write))):
                explained[at - start] |= piece[at - start] == write.data[at - write.offset]
        return None if all(explained) else start + explained.index(False)


def _end(write: HostWrite) -> int:
    return write.offset + len(write.data)
