"""What a backup costs doesn't go by how many were ever taken."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pyrep import StorageSystem, refresh_generations
from pyrep.meta.database import Database
from pyrep.model import GenerationId, GenerationState, VolumeId
from pyrep.workflows.backup_secondary import SecondaryBackup
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


def _grow(sites: Sites, number: int, name: str = "old") -> None:
    """Let both systems know so many more generations that have ended at 100b."""
    model = sites.b.list_generations()[0]
    for system in (sites.a, sites.b):
        with system.state.db.transaction():
            for one in range(number):
                for state in (GenerationState.GIVEN_UP, GenerationState.FAILED):
                    named = GenerationId(f"{name}-{state}-{one:05}")
                    system.state.catalogue.add(
                        replace(model, generation_id=named, state=state, pins=())
                    )


class _Asked:
    """Counts what systems ask each other by calls, and the generations that are answered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.verbs: list[str] = []
        self.generations = 0
        ask = StorageSystem.ask

        def counting(
            system: StorageSystem, peer: str, verb: str, body: dict[str, Any]
        ) -> dict[str, Any]:
            answer = ask(system, peer, verb, body)
            self.verbs.append(verb)
            self.generations += len(answer.get("generations", ()))
            return answer

        monkeypatch.setattr(StorageSystem, "ask", counting)


def test_a_backup_asks_about_no_more_than_a_page_of_the_generations_that_have_ended(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = build(svols=2)
    raw.take("one")
    _grow(raw, 3)
    asked = _Asked(monkeypatch)
    raw.take("two")
    few, told = asked.verbs, asked.generations
    _grow(raw, HISTORY, "very-old")
    asked.verbs, asked.generations = [], 0
    raw.take("three")
    assert asked.verbs == few
    assert asked.generations <= told + 200


def test_what_the_holder_forgot_is_forgotten_however_many_have_ended(build: Build) -> None:
    raw = build(svols=2)
    taken = raw.take("one")
    _grow(raw, HISTORY)
    for one in raw.b.list_generations():
        if one.state is GenerationState.GIVEN_UP:  # more than a page stand before the first
            raw.b.state.catalogue.remove(one.generation_id)
    for _ in range(2 * HISTORY // 200):
        assert refresh_generations(raw.a) == ()
    left = {one.state for one in raw.a.list_generations()}
    assert left == {GenerationState.FAILED, taken.state}


def test_the_end_of_a_backup_at_the_secondary_reads_no_generation_that_has_ended(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = build(svols=2)
    raw.take("one")
    secondary = SecondaryBackup(raw.b)
    reads = _Reads(monkeypatch)

    def of_an_end() -> int:
        before = reads.count
        secondary.end("100a", {"workflow": "w-none"})
        return reads.count - before

    young = of_an_end()
    _grow(raw, HISTORY)
    assert of_an_end() == young
