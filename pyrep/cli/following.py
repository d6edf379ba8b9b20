"""Following a job: a bar on a terminal, JSON lines for programs, nothing otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bars

from pyrep.api import Job
from pyrep.cli.quantities import format_duration
from pyrep.cli.session import Session, print_json
from pyrep.engine import Progress, ProgressCallback
from pyrep.model import format_bytes

__all__ = ["INTERRUPTED", "follow", "perform", "say_begun", "waiting"]

INTERRUPTED = 130
"""Exit status after Ctrl-C, as of a shell."""


def follow(session: Session, job: Job, *, timeout_s: float | None = None) -> Any:
    """Wait for a job and return its result; tell meanwhile how far it is.

    Ctrl-C ends the command, not the job: it says how to wait on and how to cancel.

    Raises:
        PyrepError: what the job raised.
    """
    try:
        with _teller(session, job) as tell:
            return session.client.finish(job, progress=tell, timeout_s=timeout_s)
    except KeyboardInterrupt:
        click.echo(
            f"pyrep: job {job.job_id} goes on\n"
            f"hint: pyrep job wait {job.job_id}, or pyrep job cancel {job.job_id}",
            err=True,
        )
        sys.exit(INTERRUPTED)


@contextmanager
def _teller(session: Session, job: Job) -> Iterator[ProgressCallback]:
    if session.as_json:
        yield _Lines(job.job_id)
        return
    # Bars go to standard error: what the command answers can be piped on.
    console = Console(stderr=True, highlight=False)
    bars = Bars(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[far]}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bars.add_task(job.what, total=None, far="")

    def tell(progress: Progress) -> None:
        what = f"{progress.step} {progress.what}" if progress.step else progress.what
        bars.update(
            task,
            description=what or job.what,
            total=progress.total_bytes or None,
            completed=progress.done_bytes,
            far=_far(progress),
        )

    with bars:
        yield tell


def _far(progress: Progress) -> str:
    if not progress.total_bytes:
        return ""
    far = f"{format_bytes(progress.done_bytes)} of {format_bytes(progress.total_bytes)}"
    if progress.rate_bytes_s is not None:
        far += f", {format_bytes(int(progress.rate_bytes_s))}/s"
    if progress.eta_s is not None:
        far += f", {format_duration(progress.eta_s)} left"
    return far


class _Lines:
    """Prints a JSON line for each report that isn't the one before."""

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        if progress != self._last:
            self._last = progress
            print_json({"job": self._job_id, "progress": asdict(progress)})


def perform(
    session: Session, job: Job | None, render: Callable[[Console, Any], None], *, no_wait: bool
) -> None:
    """Show a job's result when it is over; with `no_wait` only that it runs.

    Args:
        job: None: there was nothing to do.
        render: prints the result for people.
    """
    if job is None:
        session.say({"job": None, "result": None}, "nothing to do")
    elif no_wait:
        say_begun(session, job)
    else:
        result = follow(session, job)
        told = {"job": job.job_id, "result": result}
        session.show(told, lambda console: render(console, result))


def say_begun(session: Session, job: Job) -> None:
    """Show that a job was begun, and its id."""
    session.say(job.told, f"job {job.job_id}: {job.what}")


def waiting(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command that begins a job its `--no-wait`."""
    option = click.option("--no-wait", is_flag=True, help="Begin, and print the job's id.")
    decorated: Callable[..., None] = option(function)
    return decorated
