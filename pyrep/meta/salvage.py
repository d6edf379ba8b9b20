"""What can still be read of damaged tables, and a new database made of it.

Record by record: what SQLite can't read, and what no pyrep would have written, is left out and
named. Tables are read from both ends, so that a damaged page loses what is on it, not what is
behind it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from pyrep.errors import PyrepError
from pyrep.meta.catalogue import Catalogue
from pyrep.meta.copytable import CopyTable
from pyrep.meta.database import Database
from pyrep.meta.digests import DigestTable
from pyrep.meta.epochs import EpochTable
from pyrep.meta.journal import WorkflowJournal
from pyrep.meta.system import SystemTable
from pyrep.meta.volumes import VolumeTable

__all__ = ["Salvaged", "read_salvage", "write_salvage"]

Record = dict[str, Any]
Salvaged = dict[str, list[Record]]
"""Per table, its records as SQLite gives them."""

_TABLES = {
    "system": "only_row",
    "counter": "name",
    "peer": "peer_system_id",
    "volume": "volume_id",
    "copy_row": "pair_id, volume_id",
    "epoch": "volume_id, sequence",
    "generation": "generation_id",
    "generation_member": "generation_id, position",
    "generation_pin": "generation_id, holder",
    "digest": "generation_id, source",
    "policy": "volume_id",
    "workflow": "workflow_id",
    "lease": "tree_root",
}
"""Each table with its key; what others refer to comes first."""


_NAMES = {
    "copy_row": "rows of pairs",
    "epoch": "marks",
    "generation": "generations",
    "generation_member": "members of generations",
    "generation_pin": "pins",
    "digest": "digests",
    "policy": "policies",
    "peer": "systems known",
    "volume": "volumes",
    "workflow": "workflows",
    "lease": "leases",
}
"""What users call a table's records."""


def read_salvage(path: Path) -> tuple[Salvaged, list[str]]:
    """Return every record that SQLite still reads, and of what there may have been more.

    Nothing of a file that isn't a database.
    """
    found: Salvaged = {}
    partial = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.row_factory = sqlite3.Row
        for table, key in _TABLES.items():
            records: dict[tuple[Any, ...], Record] = {}
            names = key.split(", ")
            ended: list[bool] = []
            for order in ("ASC", "DESC"):
                by = ", ".join(f"{name} {order}" for name in names)
                sql = f"SELECT * FROM {table} ORDER BY {by}"  # noqa: S608 (names of ours)
                for record in _readable(connection, sql, ended):
                    records.setdefault(tuple(record[name] for name in names), record)
            found[table] = list(records.values())
            if not ended and table in _NAMES:
                partial.append(_NAMES[table])
    return found, partial


def _readable(connection: sqlite3.Connection, sql: str, ended: list[bool]) -> Iterator[Record]:
    """Yield rows up to the first that can't be read; note that it ended with the last of them."""
    try:
        cursor = connection.execute(sql)
        for row in cursor:
            yield {name: row[name] for name in row.keys()}  # noqa: SIM118 (a Row isn't a dict)
        ended.append(True)
    except (sqlite3.Error, UnicodeDecodeError):
        return


def write_salvage(db: Database, found: Salvaged) -> list[str]:
    """Put records into a new database; return the names of those that it doesn't take."""
    readers: dict[str, Callable[[], object]] = {
        "system": SystemTable(db).get,
        "volume": VolumeTable(db).all,
        "copy_row": CopyTable(db).rows,
        "epoch": EpochTable(db).all,
        "generation": Catalogue(db).all,
        "generation_member": Catalogue(db).all,
        "digest": DigestTable(db).all,
        "workflow": WorkflowJournal(db).all,
    }
    lost = []
    for table, key in _TABLES.items():
        columns = {row[1] for row in db.read(f"PRAGMA table_info({table})")}
        for record in found.get(table, []):
            try:
                _insert(db, table, {k: v for k, v in record.items() if k in columns}, readers)
            except (PyrepError, sqlite3.Error, ValueError) as error:
                name = ", ".join(str(record.get(one)) for one in key.split(", "))
                lost.append(f"{table} {name}: {error}")
    return lost


def _insert(
    db: Database, table: str, record: Record, readers: dict[str, Callable[[], object]]
) -> None:
    names = ", ".join(record)
    values = ", ".join(f":{name}" for name in record)
    with db.transaction():
        db.write(f"INSERT INTO {table} ({names}) VALUES ({values})", record)  # noqa: S608
        if table in readers:
            readers[table]()  # raises for what no pyrep wrote
