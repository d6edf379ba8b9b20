"""Two systems over a path that does what networks do: INV-1 to 7 hold after each of many steps.

A failure prints the line that repeats it. `make soak` takes hundreds of thousands of steps.
"""

from __future__ import annotations

import os

import pytest

from sim.simulation import Simulation

_SEED = os.environ.get("PYREP_SIM_SEED")
_STEPS = int(os.environ.get("PYREP_SIM_STEPS", "60"))
_SEEDS = [int(_SEED)] if _SEED else list(range(int(os.environ.get("PYREP_SIM_RUNS", "5"))))


@pytest.mark.parametrize("seed", _SEEDS)
def test_whatever_happens_every_invariant_holds(seed: int) -> None:
    simulation = Simulation(seed)
    try:
        simulation.run(_STEPS)
    finally:
        simulation.close()
