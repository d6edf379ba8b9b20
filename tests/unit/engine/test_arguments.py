"""Arguments of a wrong type are refused in words, as wrong values are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrep.engine import StorageSystem
from pyrep.errors import InvalidArgumentError
from rig import SIZE, Site


@pytest.mark.parametrize(
    "call",
    [
        lambda system: system.create_volume("z", 1.5),
        lambda system: system.create_volume("z", "5"),
        lambda system: system.create_volume(5, SIZE),
        lambda system: system.create_local_pair("105b", "107b", chunk_bytes="8192"),
        lambda system: system.create_local_pair("105b", "107b", chunk_bytes=8192.0),
        lambda system: system.kept(system.list_generations()[0].generation_id).verify("50"),
        lambda system: system.kept(system.list_generations()[0].generation_id).verify(None),
        lambda system: system.kept(system.list_generations()[0].generation_id).pin(5),
        lambda system: system.kept(system.list_generations()[0].generation_id).rename(5),
    ],
)
def test_an_argument_of_a_wrong_type_is_refused_and_nothing_is_made(
    site: Site, call: Callable[[Any], object]
) -> None:
    system = site.make("100b", "105b", "106b", "107b")
    pair = system.create_local_pair("105b", "106b")
    pair.wait()
    pair.split()
    before = system.table(), system.volumes(), system.list_generations()
    with pytest.raises(InvalidArgumentError):
        call(system)
    assert (system.table(), len(system.volumes()), system.list_generations()) == (
        before[0],
        len(before[1]),
        before[2],
    )


def test_an_error_late_in_opening_leaves_the_system_free_to_be_opened_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = site.make("100b", "105b")
    system.close()

    def fail(_system: StorageSystem) -> None:
        raise RuntimeError("an embedder's own")

    monkeypatch.setattr(StorageSystem, "on_open", [fail])
    with pytest.raises(RuntimeError, match="own"):
        StorageSystem.open(site.root / "100b")
    monkeypatch.undo()
    assert site.open("100b").volume("105b").pread(1, 0) == b"\0"
