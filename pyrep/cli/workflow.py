"""`pyrep workflow`: backups and restores that stopped."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from pyrep.cli.following import perform, waiting
from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_facts, print_table

__all__ = ["workflow"]

_COLUMNS: tuple[Column, ...] = (
    ("workflow", "workflow_id"),
    ("kind", "kind"),
    ("state", "state"),
    ("step", "step_text"),
    ("began", "started_at"),
    ("error", "error"),
)
_WORKFLOW = click.argument("workflow_id", metavar="WORKFLOW")


@click.group()
def workflow() -> None:
    """List backups and restores; resume or abandon what stopped."""


@command(workflow, "list", example="workflow list --system /srv/pyrep/100b")
@click.option("--all", "also_ended", is_flag=True, help="Those that have ended, too.")
def list_workflows(session: Session, *, also_ended: bool) -> None:
    """List the workflows of the journal that have not ended."""
    found = [
        one
        for one in session.client.workflows()
        if also_ended or one.get("state") in {"running", "stopped"}
    ]
    rows = [{**one, "step_text": str(one.get("step", ""))} for one in found]
    session.show(
        found, lambda console: print_table(console, _COLUMNS, rows, nothing="no workflows")
    )


@command(workflow, "resume", example="workflow resume 100a.w7")
@_WORKFLOW
@waiting
def resume(session: Session, *, workflow_id: str, no_wait: bool) -> None:
    """Go on with a stopped workflow from the step it stopped at."""

    def render(console: Console, told: Any) -> None:
        console.print(f"workflow {workflow_id} is done", markup=False)
        if told:
            print_facts(console, told)

    perform(session, session.client.resume_workflow(workflow_id), render, no_wait=no_wait)


@command(workflow, "abandon", example="workflow abandon 100a.w7")
@_WORKFLOW
@click.option("--without-peer", is_flag=True, help="Here alone: the other system is gone.")
@waiting
def abandon(session: Session, *, workflow_id: str, without_peer: bool, no_wait: bool) -> None:
    """Undo a stopped workflow: volumes and hosts as before it.

    What a restore has written at the secondary is copied over, which may take long. Once begun,
    only abandoning again is left.
    """

    def render(console: Console, _: Any) -> None:
        console.print(f"workflow {workflow_id} is abandoned", markup=False)

    job = session.client.abandon_workflow(workflow_id, without_peer=without_peer)
    perform(session, job, render, no_wait=no_wait)
