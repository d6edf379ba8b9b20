from __future__ import annotations

import os
from pathlib import Path

import pytest

import pyrep.engine
from pyrep.engine import StorageSystem, connect
from pyrep.errors import (
    ExistsError,
    InvalidArgumentError,
    NoSpaceError,
    NotFoundError,
    WireError,
)
from pyrep.model import GroupStatus, PairStatus, SplitCause
from rig import LONG_S, Rig, Site, refused


def test_every_exported_name_is_there() -> None:
    for name in pyrep.engine.__all__:
        assert hasattr(pyrep.engine, name)


# --- systems --------------------------------------------------------------------------------------


def test_a_system_is_made_opened_and_closed(tmp_path: Path) -> None:
    with StorageSystem.create(tmp_path / "s", "100a") as system:
        assert (system.system_id, system.directory) == ("100a", tmp_path / "s")
        assert (system.volumes(), system.pairs(), system.table()) == ((), (), ())
        assert system.list_generations() == ()
    system.close()
    with pytest.raises(InvalidArgumentError, match="100a is closed"):
        system.volumes()
    with pytest.raises(InvalidArgumentError, match="closed"):
        system.create_volume("1", 1)
    with StorageSystem.open(str(tmp_path / "s")) as again:
        assert again.system_id == "100a"


def test_what_an_interrupted_creation_has_left_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "above" / "s"
    with monkeypatch.context() as ends:
        ends.setattr(Path, "rename", lambda *_: os._exit(0))
        if os.fork() == 0:
            StorageSystem.create(path, "100a")
    os.wait()
    assert sorted(one.name for one in path.iterdir()) == [
        "bitmaps",
        "lock",
        "pyrep.db.new",
        "volumes",
    ]
    with pytest.raises(NotFoundError):
        StorageSystem.open(path)
    with StorageSystem.create(path, "100a") as system:
        assert system.system_id == "100a"
        with pytest.raises(ExistsError):
            StorageSystem.create(path, "100a")
    assert not (path / "pyrep.db.new").exists()


def test_a_directory_with_anybodys_file_below_is_not_made_a_system(tmp_path: Path) -> None:
    (tmp_path / "volumes").mkdir()
    (tmp_path / "volumes" / "mine").write_text("mine")
    with pytest.raises(ExistsError):
        StorageSystem.create(tmp_path, "100a")
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["mine", "volumes"]


def test_a_directory_that_holds_something_is_not_made_a_system(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExistsError, match="isn't empty") as caught:
        StorageSystem.create(tmp_path, "100a")
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(InvalidArgumentError, match="no directory"):
        StorageSystem.create(tmp_path / "file", "100a")


@pytest.mark.parametrize("system_id", ["", "a b", "ä", "../x", "-x", "x" * 65])
def test_an_id_that_cannot_be_used_makes_nothing(tmp_path: Path, system_id: str) -> None:
    with pytest.raises(InvalidArgumentError):
        StorageSystem.create(tmp_path / "s", system_id)
    assert not (tmp_path / "s").exists()


def test_a_creation_that_failed_half_way_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise NoSpaceError("full")

    monkeypatch.setattr("pyrep.engine.directory.SystemTable.set", fail)
    with pytest.raises(NoSpaceError):
        StorageSystem.create(tmp_path / "s", "100a")
    monkeypatch.undo()
    StorageSystem.create(tmp_path / "s", "100a").close()


# --- groups, paths --------------------------------------------------------------------------------


def test_a_group_has_the_status_of_its_worst_member(rig: Rig) -> None:
    pairs = [
        rig.a.create_remote_pair("105a", "100b", "105b", group="g"),
        rig.a.create_remote_pair("106a", "100b", "106b", group="g"),
    ]
    for pair in pairs:
        pair.wait(timeout_s=LONG_S)
    assert rig.a.group_status("g") == GroupStatus(status=PairStatus.DUPLEX)
    pairs[0].split()
    assert rig.a.group_status("g") == GroupStatus(
        status=PairStatus.SPLIT, cause=SplitCause.REQUESTED
    )
    with refused(NotFoundError, rig.a, names="no pair in group none"):
        rig.a.group_status("none")


def test_local_and_remote_pairs_are_not_split_with_one_command(rig: Rig) -> None:
    rig.remote()
    local = rig.a.create_local_pair("105a", "106a")
    local.wait(timeout_s=LONG_S)
    with refused(InvalidArgumentError, rig.a, names="local and remote", hint=False):
        rig.a.split_pairs(["100a.1", local.pair_id])
    with refused(NotFoundError, rig.a, names="100a.9"):
        rig.a.split_pairs([local.pair_id, "100a.9"])


def test_a_system_is_not_connected_to_itself_or_its_namesake(site: Site) -> None:
    one = site.make("100a")
    with pytest.raises(WireError, match="own id") as caught:
        connect(one, one)
    assert caught.value.hint
    other = StorageSystem.create(site.root / "namesake", "100a")
    with other, pytest.raises(WireError, match="own id"):
        connect(one, other)


def test_a_closed_system_is_not_connected(site: Site) -> None:
    one, other = site.make("100a"), site.make("100b")
    other.close()
    with pytest.raises(InvalidArgumentError, match="100b is closed"):
        connect(one, other)
    assert not one.state.peers or not any(peer.is_connected for peer in one.state.peers.values())
