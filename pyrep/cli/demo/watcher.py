"""Who is told what a run is doing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pyrep import Progress
from pyrep.cli.demo.outcome import PhaseOutcome

__all__ = ["Watcher"]


class Watcher(Protocol):
    """Called from the run's own thread."""

    def run_begins(self, phase_count: int, crossed_bytes: Callable[[], int]) -> None:
        """Tell how many phases there are, and how to learn what has crossed the path."""
        ...

    def sites_are_up(self, processes: Sequence[tuple[str, int]]) -> None:
        """Tell that the systems are served: their ids, and the ids of their processes."""
        ...

    def phase_begins(self, title: str) -> None:
        """Tell that a phase begins."""
        ...

    def step(self, progress: Progress) -> None:
        """Tell how far a phase is; `step` is the patent's number in a workflow."""
        ...

    def phase_ends(self, phase: PhaseOutcome) -> None:
        """Tell what a phase did and found."""
        ...
