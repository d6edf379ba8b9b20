"""The checker of `changes_since`, seen to find what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrep.engine import Digests, Options, StorageSystem
from pyrep.testing import InvariantError, check_changes

SIZE = 1 << 20


@pytest.fixture
def system(tmp_path: Path) -> StorageSystem:
    """Two generations of 105b with a write between them."""
    options = Options(digests=Digests.WHEN_ASKED)
    system = StorageSystem.create(tmp_path / "100b", "100b", options=options)
    system.create_volume("105b", SIZE)
    for name in ("106b", "107b"):
        system.create_volume(name, SIZE)
        system.create_local_pair("105b", name).wait()
    system.pair("100b.1").split()
    system.volume("105b").pwrite(b"x", 5 * 8192)
    system.pair("100b.2").split()
    return system


def test_a_mark_that_is_missing_between_two_generations_is_found(system: StorageSystem) -> None:
    with system:
        check_changes(system)
        _, marks = system.state.live["105b"].core.epochs()[0]  # type: ignore[index]
        marks.clear(5)
        with pytest.raises(InvariantError, match=r"changes: .* volume 105b .*, chunk 5") as caught:
            check_changes(system)
        assert (caught.value.invariant, caught.value.chunk_index) == ("changes", 5)
        marks.set(5)
        check_changes(system)
