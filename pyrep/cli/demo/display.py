"""What a person sees while a run goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.progress import Progress as LiveProgress
from rich.text import Text

from pyrep import Progress
from pyrep.cli.demo.outcome import PhaseOutcome
from pyrep.model import format_bytes

__all__ = ["Display"]

_SHOWN = 20
"""Differences shown of one phase; one wrong mirror can make thousands."""


class _Crossed(ProgressColumn):
    """Bytes that have crossed the path so far, once there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.crossed_bytes: Callable[[], int] | None = None

    def render(self, task: Task) -> Text:  # noqa: ARG002 (rich's)
        if self.crossed_bytes is None:
            return Text()
        return Text(f"{format_bytes(self.crossed_bytes())} crossed", style="cyan")


class Display:
    """Shows a run on a console. Use as a context manager.

    On a terminal one line shows the phase, the workflow's step and what has crossed; it is redrawn
    by a thread of rich's. Elsewhere each step is a line.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._start_s = clock()
        self._crossed = _Crossed()
        self._live = LiveProgress(
            SpinnerColumn(),
            TextColumn("{task.fields[phase]}", markup=False),
            TextColumn("{task.description}", markup=False, style="bold"),
            BarColumn(bar_width=20),
            self._crossed,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._live.add_task("", total=None, phase="setting up")
        self._count = self._number = 0
        self._last: tuple[int | None, str] | None = None

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._start_s

    def run_begins(self, phase_count: int, crossed_bytes: Callable[[], int]) -> None:
        """Remember what to show beside each phase."""
        self._count = phase_count
        self._crossed.crossed_bytes = crossed_bytes

    def sites_are_up(self, processes: Sequence[tuple[str, int]]) -> None:
        """Say which processes are at work."""
        served = " and ".join(f"{name} (process {pid})" for name, pid in processes)
        self._say(f"two systems, each served by a process: {served}; path 150 is mutual TLS 1.3")

    def phase_begins(self, title: str) -> None:
        """Show the phase's title."""
        self._number += 1
        self._last = None
        phase = f"{self._number}/{self._count} {title}"
        self._live.update(self._task, phase=phase, description="", total=None, completed=0)
        if not self._console.is_terminal:
            self._say(phase)

    def step(self, progress: Progress) -> None:
        """Show how far it is."""
        what = f"{progress.step} {progress.what}" if progress.step else progress.what
        total = progress.total_bytes or None
        self._live.update(self._task, description=what, total=total, completed=progress.done_bytes)
        step = (progress.step, progress.what)
        if step != self._last and not self._console.is_terminal:
            self._say(f"    {what}")
        self._last = step

    def phase_ends(self, phase: PhaseOutcome) -> None:
        """Show what it did and found."""
        differences = phase.differences
        found = f"{len(differences)} DIFFERENCES" if differences else "all equal"
        text = (
            f"{phase.seconds:.1f} s, {format_bytes(phase.crossed_bytes)} crossed; "
            f"{len(phase.checks)} comparisons in {phase.checking_s:.1f} s: {found}"
        )
        if self._console.is_terminal:
            self._say(f"{self._number}/{self._count} {phase.title}: {text}")
        else:
            self._say(f"    {text}")
        for difference in differences[:_SHOWN]:
            self._console.print(Text(f"    {difference}", style="red"), soft_wrap=True)
        if len(differences) > _SHOWN:
            self._console.print(Text(f"    and {len(differences) - _SHOWN} more", style="red"))

    def _say(self, text: str) -> None:
        self._console.print(Text(f"{self.seconds:6.1f} s  {text}"), soft_wrap=True)
