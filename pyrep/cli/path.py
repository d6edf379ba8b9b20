"""`pyrep path`: the paths to other systems."""

from __future__ import annotations

import click

from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_table

__all__ = ["PATH_COLUMNS", "path"]

PATH_COLUMNS: tuple[Column, ...] = (
    ("path to", "peer_id"),
    ("up", "is_up"),
    ("since", "since"),
    ("address", "address"),
    ("dialled in vain", "attempts"),
    ("last error", "last_error"),
)


@click.group()
def path() -> None:
    """Look at the paths to other systems."""


@command(path, "list", example="path list --system /srv/pyrep/100a")
def list_paths(session: Session) -> None:
    """List the paths: to which system, whether they are up, what has crossed."""
    paths = session.client.paths()
    session.show(
        paths, lambda console: print_table(console, PATH_COLUMNS, paths, nothing="no paths")
    )
