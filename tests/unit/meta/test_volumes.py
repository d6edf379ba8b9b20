from __future__ import annotations

import os
from dataclasses import replace

import pytest

from pyrep.errors import ExistsError, FormatError, InvalidArgumentError, NotFoundError
from pyrep.meta.database import Database
from pyrep.meta.volumes import BackingIdentity, VolumeRecord, VolumeTable
from pyrep.model.ids import VolumeId, new_key

IDENTITY = BackingIdentity(
    device=(1 << 64) - 1, inode=(1 << 64) - 2, size_bytes=4096, mtime_ns=5, ctime_ns=6
)


def volume(name: str = "105a") -> VolumeRecord:
    return VolumeRecord(
        volume_id=VolumeId(name), key=new_key(), path=f"{name}.img", size_bytes=4096, owned=True
    )


def test_a_volume_comes_back_as_it_was_added(db: Database) -> None:
    table = VolumeTable(db)
    added = replace(volume(), identity=IDENTITY, owned=False)
    table.add(added)
    assert table.get(added.volume_id) == added
    assert table.all() == (added,)


def test_a_path_that_is_not_utf_8_comes_back(db: Database) -> None:
    table = VolumeTable(db)
    added = replace(volume(), path=os.fsdecode(b"/srv/\xff\xfe.img"))
    table.add(added)
    assert os.fsencode(table.get(added.volume_id).path) == b"/srv/\xff\xfe.img"


def test_volumes_are_listed_by_id(db: Database) -> None:
    table = VolumeTable(db)
    for name in ("b", "c", "a"):
        table.add(volume(name))
    assert [one.volume_id for one in table.all()] == ["a", "b", "c"]


def test_a_second_volume_of_an_id_is_refused_and_the_first_stays(db: Database) -> None:
    table = VolumeTable(db)
    first = volume()
    table.add(first)
    with pytest.raises(ExistsError, match="105a"):
        table.add(volume())
    assert table.all() == (first,)


def test_replacing_changes_the_volume_and_its_identity(db: Database) -> None:
    table = VolumeTable(db)
    added = volume()
    table.add(added)
    closed = replace(added, identity=IDENTITY)
    table.replace(closed)
    assert table.get(added.volume_id) == closed


def test_two_volumes_never_have_one_key(db: Database) -> None:
    table = VolumeTable(db)
    first, second = volume("a"), volume("b")
    table.add(first)
    table.add(second)
    with pytest.raises(InvalidArgumentError):
        table.replace(replace(second, key=first.key))
    assert table.all() == (first, second)


def test_an_unknown_volume_is_an_error_that_names_the_known_ones(db: Database) -> None:
    table = VolumeTable(db)
    with pytest.raises(NotFoundError) as caught:
        table.get(VolumeId("x"))
    assert caught.value.hint == "known volumes: none"
    table.add(volume("b"))
    table.add(volume("a"))
    for use in (table.get, table.remove):
        with pytest.raises(NotFoundError, match="no volume x") as caught:
            use(VolumeId("x"))
        assert caught.value.hint == "known volumes: a, b"
    with pytest.raises(NotFoundError):
        table.replace(volume("x"))


def test_a_removed_volume_is_gone(db: Database) -> None:
    table = VolumeTable(db)
    table.add(volume())
    table.remove(VolumeId("105a"))
    assert table.all() == ()


def test_a_record_that_no_pyrep_stored_is_a_format_error(db: Database) -> None:
    table = VolumeTable(db)
    table.add(volume())
    db.write("UPDATE volume SET identity = '{\"colour\": 1}'")
    with pytest.raises(FormatError, match="volume 105a"):
        table.get(VolumeId("105a"))
