"""The catalogue: the generations that a system holds or, as copies, knows of elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from functools import lru_cache

from pyrep.errors import ExistsError, NotFoundError, RefusedError
from pyrep.meta.column import (
    decoding,
    from_json,
    from_text_time,
    known_hint,
    to_json,
    to_pairs,
    to_text_time,
)
from pyrep.meta.database import Database
from pyrep.model.generation import (
    Generation,
    GenerationCause,
    GenerationMember,
    GenerationState,
)
from pyrep.model.ids import GenerationId, SystemId, VolumeId

__all__ = ["Catalogue"]

_PUT = """
    INSERT INTO generation (
        generation_id, attempt_id, label, cause, state, taken_at, home, hold_ms, queued_max_bytes,
        remote_before, remote_during, remote_after, protected, annotations, given_up_at
    ) VALUES (
        :generation_id, :attempt_id, :label, :cause, :state, :taken_at, :home, :hold_ms,
        :queued_max_bytes, :remote_before, :remote_during, :remote_after, :protected, :annotations,
        :given_up_at
    )
    ON CONFLICT (generation_id) DO UPDATE SET
        attempt_id = excluded.attempt_id, label = excluded.label, cause = excluded.cause,
        state = excluded.state, taken_at = excluded.taken_at, home = excluded.home,
        hold_ms = excluded.hold_ms, queued_max_bytes = excluded.queued_max_bytes,
        remote_before = excluded.remote_before, remote_during = excluded.remote_during,
        remote_after = excluded.remote_after, protected = excluded.protected,
        annotations = excluded.annotations, given_up_at = excluded.given_up_at
"""

_FEW = 200
"""Generations whose members are looked up by name; of more all members are read."""


class Catalogue:
    """The generations of one system; each change is durable on return or with its transaction.

    Pins have their own calls: `replace` leaves them as they are, so that a copy of a generation
    kept in memory can't drop a pin that another thread has set meanwhile.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(self, generation: Generation) -> None:
        """Add a generation with its members and pins.

        Raises:
            ExistsError: there is one of this id.
        """
        with self._db.transaction():
            if self._find(generation.generation_id):
                raise ExistsError(f"generation {generation.generation_id} exists already")
            self._put(generation)
            for holder in generation.pins:
                self._add_pin(generation.generation_id, holder)

    def replace(self, generation: Generation) -> None:
        """Change the generation of this id, all but its pins.

        Raises:
            NotFoundError: there is none.
        """
        with self._db.transaction():
            self.get(generation.generation_id)
            self._put(generation)

    def remove(self, generation_id: GenerationId) -> None:
        """Remove a generation's record.

        Raises:
            NotFoundError: there is none of this id.
            RefusedError: it is pinned.
        """
        with self._db.transaction():
            generation = self.get(generation_id)
            if generation.pins:
                raise RefusedError(
                    f"cannot remove generation {generation_id}: "
                    f"in use by {', '.join(generation.pins)}",
                    hint="wait until they have ended",
                )
            self._db.write("DELETE FROM generation WHERE generation_id = ?", (generation_id,))

    def get(self, generation_id: GenerationId) -> Generation:
        """Return the generation of this id.

        Raises:
            NotFoundError: there is none; the hint names those there are.
        """
        with self._db.reading():
            found = self._find(generation_id)
            if not found:
                ids = [row[0] for row in self._db.read("SELECT generation_id FROM generation")]
                raise NotFoundError(
                    f"no generation {generation_id}", hint=known_hint("generation", ids)
                )
            return self._decode_all(found)[0]

    def all(self) -> tuple[Generation, ...]:
        """Return all generations, oldest first."""
        with self._db.reading():
            return self._decode_all(
                self._db.read("SELECT * FROM generation ORDER BY taken_at, generation_id")
            )

    def held(self, home: SystemId, states: Collection[GenerationState]) -> tuple[Generation, ...]:
        """Return the generations of some states that a system holds, oldest first.

        What it costs goes by how many these are, not by all that the system ever took.

        Args:
            home: that system.
            states: which generations.
        """
        marks = ", ".join("?" * len(states))
        with self._db.reading():
            return self._decode_all(
                self._db.read(
                    f"SELECT * FROM generation WHERE home = ? AND state IN ({marks}) "  # noqa: S608 (marks alone)
                    "ORDER BY taken_at, generation_id",
                    (home, *(one.value for one in states)),
                )
            )

    def homes(self) -> tuple[SystemId, ...]:
        """Return the systems that hold generations of the catalogue, by id."""
        found = self._db.read("SELECT DISTINCT home FROM generation ORDER BY home")
        return tuple(SystemId(row[0]) for row in found)

    def ended(self, home: SystemId, *, after: GenerationId, most: int) -> list[GenerationId]:
        """Return the next ids of the generations of one home that were given up or have failed.

        Args:
            home: who held them.
            after: the ids above this one, ascending.
            most: how many at most.
        """
        rows = self._db.read(
            "SELECT generation_id FROM generation WHERE home = ? AND state IN (?, ?) "
            "AND generation_id > ? ORDER BY generation_id LIMIT ?",
            (home, GenerationState.GIVEN_UP.value, GenerationState.FAILED.value, after, most),
        )
        return [GenerationId(row[0]) for row in rows]

    def of_source(
        self, volume_id: VolumeId, *, home: SystemId | None = None
    ) -> tuple[Generation, ...]:
        """Return the generations of one source volume, oldest first.

        Args:
            volume_id: the source volume's id in the generations' home system.
            home: that system; None is this one. Volumes of two systems may have the same id, and
                the copies kept of another system's generations must not be taken for this one's.
        """
        with self._db.reading():
            rows = self._db.read(
                """
                SELECT * FROM generation
                WHERE home = coalesce(?, (SELECT system_id FROM system)) AND generation_id IN (
                    SELECT generation_id FROM generation_member WHERE source = ?
                )
                ORDER BY taken_at, generation_id
                """,
                (home, volume_id),
            )
            return self._decode_all(rows)

    def pin(self, generation_id: GenerationId, holder: str) -> None:
        """Keep a generation from reuse while `holder` uses it; the same holder counts once.

        Raises:
            NotFoundError: there is no such generation.
            RefusedError: it was given up, its content is gone.
        """
        with self._db.transaction():
            if self.get(generation_id).state is GenerationState.GIVEN_UP:
                raise RefusedError(
                    f"cannot use generation {generation_id}: it was given up",
                    hint="choose one that is complete",
                )
            self._add_pin(generation_id, holder)

    def unpin(self, generation_id: GenerationId, holder: str) -> None:
        """End one holder's pin; nothing happens if it has none."""
        self._db.write(
            "DELETE FROM generation_pin WHERE generation_id = ? AND holder = ?",
            (generation_id, holder),
        )

    def clear_pins(self, prefix: str) -> None:
        """End the pins of all holders whose names begin so, such as those of an ended process."""
        self._db.write(
            "DELETE FROM generation_pin WHERE substr(holder, 1, length(?1)) = ?1", (prefix,)
        )

    def _find(self, generation_id: GenerationId) -> list[sqlite3.Row]:
        return self._db.read("SELECT * FROM generation WHERE generation_id = ?", (generation_id,))

    def _add_pin(self, generation_id: GenerationId, holder: str) -> None:
        self._db.write(
            "INSERT OR IGNORE INTO generation_pin VALUES (?, ?)", (generation_id, holder)
        )

    def _put(self, generation: Generation) -> None:
        self._db.write(
            _PUT,
            {
                "generation_id": generation.generation_id,
                "attempt_id": generation.attempt_id,
                "label": to_json(generation.label),
                "cause": generation.cause.value,
                "state": generation.state.value,
                "taken_at": to_text_time(generation.taken_at),
                "home": generation.home,
                "hold_ms": generation.hold_ms,
                "queued_max_bytes": generation.queued_max_bytes,
                "remote_before": to_json(generation.remote_before),
                "remote_during": to_json(generation.remote_during),
                "remote_after": to_json(generation.remote_after),
                "protected": generation.protected,
                "annotations": to_json(generation.annotations),
                "given_up_at": (
                    to_text_time(generation.given_up_at) if generation.given_up_at else None
                ),
            },
        )
        self._db.write(
            "DELETE FROM generation_member WHERE generation_id = ?", (generation.generation_id,)
        )
        for position, member in enumerate(generation.members):
            self._db.write(
                "INSERT INTO generation_member VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    generation.generation_id,
                    position,
                    member.source,
                    member.origin_system,
                    member.origin_volume,
                    member.svol,
                    member.pair_id,
                ),
            )

    def _decode_all(self, rows: Sequence[sqlite3.Row]) -> tuple[Generation, ...]:
        if not rows:
            return ()
        members: dict[str, list[sqlite3.Row]] = {}
        pins: dict[str, list[str]] = {}
        few = [row["generation_id"] for row in rows] if len(rows) <= _FEW else []
        where = f"WHERE generation_id IN ({', '.join('?' * len(few))})" if few else ""
        for each in self._db.read(
            f"SELECT * FROM generation_member {where} ORDER BY position",  # noqa: S608 (no input)
            few,
        ):
            members.setdefault(each["generation_id"], []).append(each)
        for each in self._db.read(
            f"SELECT * FROM generation_pin {where} ORDER BY holder",  # noqa: S608 (no input)
            few,
        ):
            pins.setdefault(each["generation_id"], []).append(each["holder"])
        return tuple(
            _decode(
                row,
                tuple(members.get(row["generation_id"], ())),
                tuple(pins.get(row["generation_id"], ())),
            )
            for row in rows
        )


@lru_cache(maxsize=1024)  # a catalogue is read far more often than it changes; rows are frozen
def _decode(
    row: sqlite3.Row, members: tuple[sqlite3.Row, ...], pins: tuple[str, ...]
) -> Generation:
    with decoding(f"generation {row['generation_id']}"):
        return Generation(
            generation_id=row["generation_id"],
            attempt_id=row["attempt_id"],
            label=from_json(row["label"]),
            cause=GenerationCause(row["cause"]),
            state=GenerationState(row["state"]),
            taken_at=from_text_time(row["taken_at"]),
            home=row["home"],
            members=tuple(
                GenerationMember(
                    source=one["source"],
                    origin_system=one["origin_system"],
                    origin_volume=one["origin_volume"],
                    svol=one["svol"],
                    pair_id=one["pair_id"],
                )
                for one in members
            ),
            hold_ms=row["hold_ms"],
            queued_max_bytes=row["queued_max_bytes"],
            remote_before=to_pairs(row["remote_before"]),
            remote_during=to_pairs(row["remote_during"]),
            remote_after=to_pairs(row["remote_after"]),
            protected=bool(row["protected"]),
            pins=pins,
            annotations=to_pairs(row["annotations"]),
            given_up_at=(
                from_text_time(row["given_up_at"]) if row["given_up_at"] is not None else None
            ),
        )
