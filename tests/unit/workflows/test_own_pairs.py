"""A system reaches only the volumes that are paired with it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from pyrep import StorageSystem, backup, connect
from pyrep.errors import NotFoundError, RefusedError
from pyrep.workflows.sending import send
from unit.workflows.sites import Sites


@pytest.fixture
def raw(build: Callable[..., Sites]) -> Sites:
    return build()


@pytest.fixture
def stranger(raw: Sites) -> StorageSystem:
    """A third system, connected to both, with no pair of its own."""
    system = StorageSystem.create(raw.a.directory.parent / "c", "100c")
    connect(system, raw.a)
    connect(system, raw.b)
    return system


@pytest.mark.parametrize("verb", ["stop", "drain", "split", "reverse", "forward", "start", "end"])
def test_a_restores_commands_work_on_ones_own_pairs_only(
    raw: Sites, stranger: StorageSystem, verb: str
) -> None:
    pair = raw.remote().pair_id
    body = {
        "workflow": "w",
        "kind": "restore_files",
        "volume": "105a",
        "pair": pair,
        "state": "done",
    }
    is_long = f"restore.{verb}" in raw.a.endpoint.errands
    ask = functools.partial(send, stranger) if is_long else stranger.ask
    with stranger, pytest.raises(NotFoundError, match="100c has no pair"):
        ask(raw.a.system_id, f"restore.{verb}", body)


@pytest.mark.usefixtures("raw")
def test_a_backup_of_anothers_volume_cant_be_asked_for(stranger: StorageSystem) -> None:
    with stranger, pytest.raises(NotFoundError, match="100c has no pair"):
        backup(stranger, ["105a"], primary="100a")


def test_a_restore_of_anothers_generation_cant_be_asked_for(
    raw: Sites, stranger: StorageSystem
) -> None:
    generation = backup(raw.a, ["105a"]).generation
    body = {
        "request": {
            "generation": generation.generation_id,
            "volume": "105a",
            "paths": [],
            "delete_extra": False,
        }
    }
    with stranger, pytest.raises(NotFoundError, match="100c has no volume"):
        send(stranger, raw.b.system_id, "restore.run", body)


def test_anothers_attempt_cant_be_confirmed(raw: Sites, stranger: StorageSystem) -> None:
    generation = backup(raw.a, ["105a"]).generation
    with stranger, pytest.raises(RefusedError, match="no backup attempt"):
        stranger.ask("100b", "backup.confirm", {"attempt": generation.attempt_id, "workflow": "w"})
