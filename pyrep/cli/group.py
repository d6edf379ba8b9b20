"""`pyrep group`: consistency groups."""

from __future__ import annotations

import click

from pyrep.cli.session import Session, command
from pyrep.cli.tables import print_facts

__all__ = ["group"]


@click.group()
def group() -> None:
    """Look at consistency groups: pairs that keep one order of writes."""


@command(group, "status", example="group status database")
@click.argument("group_id", metavar="GROUP")
def status(session: Session, *, group_id: str) -> None:
    """Show a group: the status of its worst member, and its members."""
    told = session.client.group(group_id)
    session.show(told, lambda console: print_facts(console, told))
