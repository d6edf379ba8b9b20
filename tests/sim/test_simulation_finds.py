"""The simulation finds what is wrong: rules are broken on purpose, and each is caught."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from pyrep._core import Alog, Bitmap, BitmapFile, Fence, Runs
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.local_splits import LocalSplits
from pyrep.errors import BitmapFileError
from pyrep.model import Row
from sim.simulation import Simulation, SimulationError

STEPS = 60


def union_of_one_side(patch: pytest.MonkeyPatch) -> None:
    """550 takes this side's bits alone."""
    patch.setattr(Bitmap, "update_roaring", lambda *_: None)


def no_copy_is_kept(patch: pytest.MonkeyPatch) -> None:
    """A copy reaches a volume, and no mirror of it was split before."""
    patch.setattr(LocalSplits, "protect", lambda *_, **__: None)


def nobody_is_fenced(patch: pytest.MonkeyPatch) -> None:
    """INV-5: hosts write wherever they like."""
    patch.setattr("pyrep.engine.state.role_fence", lambda *_, **__: Fence.NONE)


def any_connection_will_do(patch: pytest.MonkeyPatch) -> None:
    """What comes over a connection that was given up is taken all the same."""
    real = SystemEndpoint._peer_of

    def peer_of(self: SystemEndpoint, connection: Any) -> Any:
        return next(iter(self._state.peers.values()), None) or real(self, connection)

    patch.setattr(SystemEndpoint, "_peer_of", peer_of)


def whatever_differs_is_equal(patch: pytest.MonkeyPatch) -> None:
    """A copy that compares digests takes all for equal."""
    patch.setattr("pyrep.engine.sieve.halves", lambda _sums, runs, *_: (runs, Runs.of([])))


def nothing_is_found(patch: pytest.MonkeyPatch) -> None:
    """A verification takes all for equal."""
    patch.setattr("pyrep.engine.pairverify.halves", lambda _sums, runs, *_: (runs, Runs.of([])))


def pages_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """After a crash what is cold counts as equal."""

    def replay(_file: object, row: Row, log: Alog | None, bits: Bitmap) -> bool:
        if log is not None:
            log.replay(row.row_key, row.chunk_bytes, bits)
        return log is not None

    patch.setattr("pyrep.engine.found._replay", replay)


def logs_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """After a crash what was hot, or had left since, counts as equal."""

    def replay(file: BitmapFile, _row: object, log: Alog | None, bits: Bitmap) -> bool:
        with contextlib.suppress(BitmapFileError):  # what a torn page covered is set
            file.load(bits)
        return log is not None

    patch.setattr("pyrep.engine.found._replay", replay)


@pytest.mark.parametrize(
    "breaks",
    [
        pages_are_forgotten,
        logs_are_forgotten,
        union_of_one_side,
        no_copy_is_kept,
        nobody_is_fenced,
        any_connection_will_do,
        whatever_differs_is_equal,
        nothing_is_found,
    ],
)
def test_a_rule_that_is_broken_is_found_out(breaks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimulationError, match="PYREP_SIM_SEED="):
        run_some(lambda: breaks(monkeypatch), monkeypatch.undo)


def run_some(breaks: Callable[[], None], mends: Callable[[], None]) -> None:
    """Run simulations whose systems are made whole, and then broken."""
    for seed in range(21, 33):
        simulation = Simulation(seed)
        breaks()
        try:
            simulation.run(STEPS)
        finally:
            mends()
            simulation.close()
