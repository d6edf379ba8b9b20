from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from pyrep.cli.demo.database import DatabaseFacts, check_database, drop_orders, make_database

_ROWS = 3000


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, bytes, DatabaseFacts]:
    path = tmp_path / "made.db"
    return path, *make_database(path, _ROWS)


def test_it_has_the_rows_it_says(made: tuple[Path, bytes, DatabaseFacts], tmp_path: Path) -> None:
    path, data, facts = made
    assert [(name, count) for name, count, _ in facts.tables] == [
        ("customers", 500),
        ("orders", _ROWS),
    ]
    assert path.read_bytes() == data
    assert check_database(data, tmp_path / "scratch", facts) == []
    assert not (tmp_path / "scratch").exists()


def test_dropping_a_table_keeps_the_other(
    made: tuple[Path, bytes, DatabaseFacts], tmp_path: Path
) -> None:
    path, before, all_of_it = made
    data, facts = drop_orders(path, all_of_it)
    assert [name for name, _, _ in facts.tables] == ["customers"]
    assert check_database(data, tmp_path / "scratch", facts) == []
    assert check_database(before, tmp_path / "scratch", facts) != []
    assert check_database(data, tmp_path / "scratch", all_of_it) != []


def test_a_row_that_changed_is_found(
    made: tuple[Path, bytes, DatabaseFacts], tmp_path: Path
) -> None:
    path, _, facts = made
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE orders SET amount = amount + 1 WHERE id = 7")
    (difference,) = check_database(path.read_bytes(), tmp_path / "scratch", facts)
    assert difference.startswith("table orders: count and sum are")


def test_a_page_that_is_lost_is_found(
    made: tuple[Path, bytes, DatabaseFacts], tmp_path: Path
) -> None:
    _, data, facts = made
    middle = len(data) // 2 // 4096 * 4096
    torn = data[:middle] + bytes(4096) + data[middle + 4096 :]
    assert check_database(torn, tmp_path / "scratch", facts) != []


def test_what_is_no_database_is_a_difference(
    made: tuple[Path, bytes, DatabaseFacts], tmp_path: Path
) -> None:
    (difference,) = check_database(b"no database" * 1000, tmp_path / "scratch", made[2])
    assert difference.startswith("SQLite can't read it")
    assert check_database(b"", tmp_path / "scratch", replace(made[2], tables=())) == []
