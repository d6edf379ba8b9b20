"""The SQLite database: made and changed by SQLite itself, in a file of the host's."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DatabaseFacts", "check_database", "drop_orders", "make_database"]

_CUSTOMERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFacts:
    """What the database holds.

    Attributes:
        tables: row count and sum of the numbers, by table.
    """

    tables: tuple[tuple[str, int, int], ...]


def make_database(path: Path, row_count: int) -> tuple[bytes, DatabaseFacts]:
    """Make a database of orders and customers; return its bytes and what it holds."""
    noise = random.Random(row_count).randbytes(12 * row_count)  # noqa: S311 (content, no secret)
    orders = [
        (number, number * 7919 % _CUSTOMERS, number * 104_729 % 100_003, noise[at : at + 12])
        for number, at in enumerate(range(0, 12 * row_count, 12))
    ]
    customers = [(number, f"customer {number}", number * 7) for number in range(_CUSTOMERS)]
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA synchronous = OFF")  # the file is read back at once, then deleted
        db.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, amount INTEGER)")
        db.execute(
            "CREATE TABLE orders"
            " (id INTEGER PRIMARY KEY, customer INTEGER, amount INTEGER, reference BLOB)"
        )
        db.execute("CREATE INDEX orders_by_customer ON orders (customer)")
        db.executemany("INSERT INTO customers VALUES (?, ?, ?)", customers)
        db.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", orders)
    facts = DatabaseFacts(
        tables=(
            ("customers", len(customers), sum(amount for _, _, amount in customers)),
            ("orders", len(orders), sum(amount for _, _, amount, _ in orders)),
        )
    )
    return path.read_bytes(), facts


def drop_orders(path: Path, facts: DatabaseFacts) -> tuple[bytes, DatabaseFacts]:
    """Drop the table of orders; return the database's bytes and what it holds now."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("DROP TABLE orders")
    kept = tuple(table for table in facts.tables if table[0] != "orders")
    return path.read_bytes(), DatabaseFacts(tables=kept)


def check_database(data: bytes, scratch: Path, facts: DatabaseFacts) -> list[str]:
    """Return how a database that was read out of a volume differs from what it has to hold.

    Args:
        scratch: a file to put it in; deleted afterwards.
    """
    scratch.write_bytes(data)
    try:
        with contextlib.closing(sqlite3.connect(f"file:{scratch}?mode=ro", uri=True)) as db:
            return _differences(db, facts)
    except sqlite3.DatabaseError as error:
        return [f"SQLite can't read it: {error}"]
    finally:
        scratch.unlink()


def _differences(db: sqlite3.Connection, facts: DatabaseFacts) -> list[str]:
    found = [
        f"integrity_check: {line}"
        for (line,) in db.execute("PRAGMA integrity_check")
        if line != "ok"
    ]
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    expected = {name for name, _, _ in facts.tables}
    if names != expected:
        return [*found, f"tables are {sorted(names)}, not {sorted(expected)}"]
    for name, count, total in facts.tables:
        now = db.execute(f"SELECT count(*), sum(amount) FROM {name}").fetchone()  # noqa: S608
        if now != (count, total):
            found.append(f"table {name}: count and sum are {now}, not {(count, total)}")
    return found
