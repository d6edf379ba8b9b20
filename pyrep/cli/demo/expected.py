"""What everything has to hold at this moment, by the demonstration's own record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pyrep.cli.demo.database import DatabaseFacts
from pyrep.cli.demo.ledger import Ledger, digest_spans
from pyrep.cli.demo.records import expected_ring
from pyrep.model import GenerationId

__all__ = ["RING", "Expected", "Frozen", "note_ring"]

RING = b"/records/ring"
"""The file on 105a whose blocks take numbered records, as a database's that writes past the file
system into a file of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A generation (INV-4).

    Attributes:
        files: its file system.
        digests: of the backing files of its SVOLs, by their ids, taken when it was complete.
    """

    generation_id: GenerationId
    title: str
    files: Ledger
    database: DatabaseFacts
    digests: Mapping[str, int]


@dataclass(slots=True, kw_only=True)
class Expected:
    """The moment's.

    Attributes:
        files: the file system on 105a, numbered records in it included.
        record_count: numbered records written so far: what 205a holds.
        database: the tables of the database on 105a.
        generations: those taken so far.
    """

    files: Ledger = field(default_factory=Ledger)
    record_count: int = 0
    database: DatabaseFacts = field(default_factory=lambda: DatabaseFacts(tables=()))
    generations: list[Frozen] = field(default_factory=list)


def note_ring(files: Ledger, count: int, slots: int) -> None:
    """Note in a ledger that the file of numbered records holds `count` of them."""
    size, spans = digest_spans([expected_ring(count, slots)])
    files.set(RING, replace(files[RING], size=size, spans=spans))
