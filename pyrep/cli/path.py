"""`pyrep path`: the paths to other systems."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from pyrep.api import Json
from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_table

__all__ = ["PATH_COLUMNS", "path", "path_row"]

ESTIMATE_COLUMNS: tuple[Column, ...] = (
    ("pair", "pair_id"),
    ("status", "status"),
    ("relation", "relation"),
    ("direction", "direction"),
    ("would copy", "copy_bytes"),
    ("why", "reason"),
    ("refused", "refusal"),
)
PATH_COLUMNS: tuple[Column, ...] = (
    ("path to", "peer_id"),
    ("up", "is_up"),
    ("since", "since"),
    ("address", "address"),
    ("sent in frames", "frame_bytes"),
    ("protocol", "version"),
    ("certificate until", "until"),
    ("dialled in vain", "vain"),
    ("last error", "last_error"),
    ("what to do", "hint"),
)

_LONG_DAYS = 30


def path_row(told: Json) -> Json:
    """Return a path for a table; nothing where there is nothing to tell."""
    return {**told, "vain": told.get("attempts") or None, "until": _until(told)}


def _until(told: Json) -> str | None:
    """Return until when this system's certificate is valid; how long still, if it isn't long."""
    text = told.get("certificate_not_after")
    if text is None:
        return None
    until = datetime.fromisoformat(text)
    days = (until - datetime.now(UTC)).days
    left = "" if days >= _LONG_DAYS else f": {days} days left" if days >= 0 else ": ended"
    return f"{until:%Y-%m-%d}{left}"


@click.group()
def path() -> None:
    """Look at the paths to other systems."""


@command(path, "list", example="path list --system /srv/pyrep/100a")
def list_paths(session: Session) -> None:
    """List the paths: to which system, whether they are up, the bytes sent since the start.

    One without an address is dialled by the other system. The certificate is this system's own.
    """
    paths = session.client.paths()
    rows = [path_row(one) for one in paths]
    session.show(
        paths, lambda console: print_table(console, PATH_COLUMNS, rows, nothing="no paths")
    )


@command(path, "estimate", example="path estimate 100b --system /srv/pyrep/100a")
@click.argument("system_id", metavar="SYSTEM")
def estimate(session: Session, *, system_id: str) -> None:
    """Tell what resyncs of all pairs to SYSTEM would copy, and which way; do nothing.

    Of the pairs whose PVOL is here. What a resync without options would be refused for is told.
    """
    found = session.client.estimate_path(system_id)
    session.show(
        found,
        lambda console: print_table(console, ESTIMATE_COLUMNS, found, nothing="no pairs"),
    )
