"""The simulation finds what is wrong: rules are broken on purpose, and each is caught."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pyrep._core import Bitmap, Fence, Runs
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.local_splits import LocalSplits
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

    def peer_of(self: SystemEndpoint, _connection: object) -> Any:
        return next(iter(self._state.peers.values()))

    patch.setattr(SystemEndpoint, "_peer_of", peer_of)


def whatever_differs_is_equal(patch: pytest.MonkeyPatch) -> None:
    """A copy that compares digests takes all for equal."""
    patch.setattr("pyrep.engine.sieve.halves", lambda _sums, runs, *_: (runs, Runs.of([])))


def nothing_is_found(patch: pytest.MonkeyPatch) -> None:
    """A verification takes all for equal."""
    patch.setattr("pyrep.engine.pairverify.halves", lambda _sums, runs, *_: (runs, Runs.of([])))


@pytest.mark.parametrize(
    "breaks",
    [
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
    for seed in range(6):
        simulation = Simulation(seed)
        breaks()
        try:
            simulation.run(STEPS)
        finally:
            mends()
            simulation.close()
