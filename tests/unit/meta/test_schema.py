from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pyrep.errors import FormatError
from pyrep.meta import Catalogue, CopyTable, Database, DigestTable, PolicyTable, VolumeTable
from pyrep.meta.schema import MIGRATIONS
from pyrep.model import Lineage, Protect
from pyrep.model.ids import GenerationId, VolumeId

VERSION_1 = (Path(__file__).parent / "version_1.sql").read_text()


def old_database(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)
        connection.execute("PRAGMA journal_mode = WAL")
    return path


def test_a_database_of_version_1_is_migrated_and_keeps_what_it_holds(tmp_path: Path) -> None:
    with Database.open(old_database(tmp_path / "pyrep.db")) as db:
        assert db.read("PRAGMA user_version")[0][0] == len(MIGRATIONS)
        generation = Catalogue(db).get(GenerationId("g1"))
        rows = CopyTable(db).rows()
        volumes = [one.volume_id for one in VolumeTable(db).all()]
        digests, policies = DigestTable(db).all(), PolicyTable(db).get(None)

    assert generation.label == "evening"
    assert generation.protected
    assert generation.pins == ("w1",)
    assert generation.annotations == (("by", "ann"),)
    assert generation.given_up_at is None
    assert [row.epoch_start for row in rows] == [1, 0]
    assert {(row.congestion, row.fence_level) for row in rows} == {("block", "never")}
    assert {row.protect for row in rows} == {Protect.REQUIRE}
    assert {row.lineage for row in rows} == {Lineage()}
    assert volumes == ["105b", "106b"]
    assert digests == ()
    assert policies.retention is None


def test_every_statement_of_version_1_is_as_it_was_released() -> None:
    for statement in MIGRATIONS[0]:
        assert statement in VERSION_1


def test_a_pyrep_of_version_1_refuses_a_migrated_database(tmp_path: Path) -> None:
    path = old_database(tmp_path / "pyrep.db")
    Database.open(path).close()

    with pytest.raises(FormatError, match=f"has format {len(MIGRATIONS)}, this pyrep knows 1"):
        Database.open(path, migrations=MIGRATIONS[:1])


def test_the_digests_of_a_generation_go_with_its_row(tmp_path: Path) -> None:
    with Database.open(old_database(tmp_path / "pyrep.db")) as db:
        db.write("INSERT INTO digest VALUES ('g1', '105b', zeroblob(16), 3)")
        assert DigestTable(db).find(GenerationId("g1"), VolumeId("105b")) is not None
        catalogue = Catalogue(db)
        catalogue.unpin(GenerationId("g1"), "w1")
        catalogue.remove(GenerationId("g1"))
        assert DigestTable(db).all() == ()
