"""What a backup costs doesn't go by how many were ever taken."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyrep.meta.database import Database
from pyrep.model import GenerationId, GenerationState, VolumeId
from unit.workflows.conftest import Build
from unit.workflows.sites import Sites

HISTORY = 300


class _Reads:
    """Counts the rows that this thread reads of any database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        read, here = Database.read, threading.get_ident()

        def counting(db: Database, *args: Any) -> Sequence[sqlite3.Row]:
            rows = read(db, *args)
            if threading.get_ident() == here:
                self.count += len(rows)
            return rows

        monkeypatch.setattr(Database, "read", counting)

    def of_a_choice(self, sites: Sites) -> int:
        before = self.count
        sites.b.reuse.choose(VolumeId("105b"), [VolumeId("105b")], reuse_last=False)
        return self.count - before


def test_the_choice_of_a_mirror_reads_no_generation_that_was_given_up(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = build(svols=2)
    for label in ("one", "two"):
        raw.take(label)
    reads = _Reads(monkeypatch)
    young = reads.of_a_choice(raw)
    catalogue = raw.b.state.catalogue
    model = raw.b.list_generations()[0]
    for number in range(HISTORY):
        for state in (GenerationState.GIVEN_UP, GenerationState.FAILED):
            named = GenerationId(f"old-{state}-{number}")
            catalogue.add(replace(model, generation_id=named, state=state, pins=()))
    assert reads.of_a_choice(raw) == young
