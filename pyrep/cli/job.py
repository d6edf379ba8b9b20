"""`pyrep job`: long operations of the daemon."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from pyrep.api import Job
from pyrep.cli.following import follow
from pyrep.cli.quantities import age, format_duration
from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_facts, print_table

__all__ = ["job"]

_COLUMNS: tuple[Column, ...] = (
    ("job", "id"),
    ("what", "what"),
    ("state", "state"),
    ("step", "step"),
    ("done", "done_bytes"),
    ("of", "total_bytes"),
    ("left", "left"),
    ("error", "message"),
)
_JOB = click.argument("job_id", metavar="JOB")


@click.group()
def job() -> None:
    """List, follow and cancel jobs: copies, backups, restores, checks."""


def _row(one: Job) -> dict[str, Any]:
    row: dict[str, Any] = {"id": one.job_id, "what": one.what, "state": one.state.value}
    if one.progress is not None and not one.is_over:
        row["step"] = None if one.progress.step is None else str(one.progress.step)
        row["done_bytes"] = one.progress.done_bytes or None
        row["total_bytes"] = one.progress.total_bytes or None
        eta_s = one.progress.eta_s
        row["left"] = None if eta_s is None else format_duration(eta_s)
    if one.error is not None:
        row["message"] = one.error.message
    return row


@command(job, "list", example="job list --system /srv/pyrep/100a")
def list_jobs(session: Session) -> None:
    """List the jobs that run, and the last that ended."""
    found = session.client.jobs()
    rows = [_row(one) for one in found]
    session.show(
        [one.told for one in found],
        lambda console: print_table(console, _COLUMNS, rows, nothing="no jobs"),
    )


@command(job, "show", example="job show 12")
@_JOB
def show(session: Session, *, job_id: str) -> None:
    """Show a job: its progress, its result or its error."""
    found = session.client.job(job_id)
    session.show(found.told, lambda console: print_facts(console, found.told))


@command(job, "cancel", example="job cancel 12")
@_JOB
def cancel(session: Session, *, job_id: str) -> None:
    """Ask a job to end at its next good point; of one that is over nothing changes.

    From some point on a job goes to its end all the same: it says why.
    """
    found = session.client.cancel_job(job_id)
    final = (found.progress.final if found.progress else "") if not found.is_over else ""
    but = f", but goes on: {final}" if final else ""
    session.say({"job": job_id, "final": final}, f"job {job_id} was asked to end{but}")


@command(job, "wait", example="job wait 12 --timeout 1h")
@_JOB
@click.option("--timeout", "timeout_s", type=age, help="Longest wait: 90, 10m, 2h.")
def wait(session: Session, *, job_id: str, timeout_s: float | None) -> None:
    """Follow a job until it is over; the exit status is that of its error."""
    result = follow(session, session.client.job(job_id), timeout_s=timeout_s)

    def render(console: Console) -> None:
        console.print(f"job {job_id} is done", markup=False)
        if isinstance(result, dict):
            print_facts(console, result)

    session.show({"job": job_id, "result": result}, render)
