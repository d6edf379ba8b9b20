"""Two systems, a simulated path, random hosts, operators and mishaps: everything from one seed.

Each step is something that hosts, operators or fate do; after it the systems are compared with the
reference model, and INV-1 to 7 are checked. What is drawn depends on the seed and on what the
systems made of the steps before; threads run as the machine lets them, so that a failure that
hangs on an interleaving may need a few repetitions.
"""

from __future__ import annotations

from collections.abc import Callable

from machine.world import PLACES, place
from pyrep.errors import (
    PyrepError,
)
from pyrep.model import (
    AckPoint,
    Congestion,
)
from sim.commands import Commands
from sim.fate import Fate
from sim.procedures import Procedures


class SimulationError(AssertionError):
    """A step led to what can't be; the text has the steps and the line that repeats them."""


class Simulation(Commands, Procedures, Fate):
    """One run.

    Args:
        seed: what it is made of.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        is_async = self.shape.ack is self.shape.second_ack is AckPoint.QUEUED
        pulls_ahead = self.shape.congestion is Congestion.PULL_AHEAD
        self._steps: dict[Callable[[], object], int] = {
            self.write: 8,
            self.write_at_the_secondary: 2,
            self.write_under_a_fault: 8,
            self.write_while_fenced: 2,
            # One synchronous host waits for its acknowledgement, and fills no queue.
            self.write_too_much: 3 if is_async and pulls_ahead else 0,
            self.split: 4,
            self.resync: 6,
            self.resync_under_a_fault: 5,
            self.command_under_a_fault: 3,
            self.copy_while_writing: 2,
            self.repair_while_writing: 1,
            self.back_up: 4,
            self.back_up_under_a_fault: 3,
            self.restore: 2,
            self.restore_under_a_fault: 2,
            self.cut: 2,
            self.connect: 6,
            self.revive: 2,
            self.crash: 2,
            self.crash_unnoticed: 3,
            self.reopen: 1,
            self.keep_a_copy: 1,
            self.keep_a_running_copy: 2,
            self.age: 1,
            self.age_under_a_fault: 2,
            self.put_back: 1,
        }

    def run(self, count: int) -> None:
        """Take so many steps.

        Raises:
            SimulationError: something is as it can't be.
        """
        for number in range(count):
            (step,) = self.draw.choices(list(self._steps), list(self._steps.values()))
            self.note(f"{number}: {step.__name__}")
            try:
                step()
                self.come_to_rest()
                # Seconds between steps: less than settling waits, more, and more than a save does.
                self.world.pass_time(self.look.choice([0.0, 2.0, 6.0, 70.0]))
                self.world.check()
                self.verify_now_and_then()
            except (AssertionError, PyrepError) as error:
                lines = "\n  ".join(self.log[:1] + self.log[-40:])
                raise SimulationError(
                    f"{error}\nafter\n  {lines}\nAgain: PYREP_SIM_SEED={self.seed} "
                    f"PYREP_SIM_STEPS={number + 1} .venv/bin/pytest tests/sim/test_simulation.py"
                ) from error

    def close(self) -> None:
        """End everything."""
        self.world.close()

    def verify_now_and_then(self) -> None:
        """A verification finds a pair equal, and what is planted."""
        if self.look.random() < 0.8:
            return
        one = self.look.choice(list(self.world.reference.pairs.values()))
        if one.here.status is one.there.status and (not one.is_remote or self.path.is_up):
            self.world.verify(one, place(self.look.randrange(PLACES), 1))
