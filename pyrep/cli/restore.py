"""`pyrep restore`: files (Fig. 5) and volumes (Fig. 6) back to the primary."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console

from pyrep.api import Job
from pyrep.cli.following import perform, waiting
from pyrep.cli.names import text_of_name
from pyrep.cli.session import Session, command
from pyrep.model import format_bytes

__all__ = ["restore"]


@click.group()
def restore() -> None:
    """Restore files or a whole volume from a generation; only what differs is copied back."""


_GENERATION = click.argument("generation")
_VOLUME = click.argument("volume")
_DRY_RUN = click.option("--dry-run", is_flag=True, help="Only tell what it would do.")


@command(restore, "files", example="restore files 100b.g1 105a /home/kept '/srv/*.db'")
@_GENERATION
@_VOLUME
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--delete-extra", is_flag=True, help="Also remove what the generation lacks.")
@click.option("--partition", type=int, help="The one that holds the files.")
@click.option("--discard-pending", is_flag=True, help="Let pending chunks go back in time.")
@_DRY_RUN
@waiting
def restore_files(
    session: Session,
    *,
    generation: str,
    volume: str,
    paths: Sequence[str],
    delete_extra: bool,
    discard_pending: bool,
    dry_run: bool,
    no_wait: bool,
    partition: int | None,
) -> None:
    """Restore files, directories and patterns of them (Fig. 5).

    GENERATION is its id, or its SVOL's. The volume is unmounted at its host meanwhile: by the
    agents that the daemon is configured with, or by you.
    """
    job = session.client.restore(
        generation,
        volume,
        [os.fsencode(one) for one in paths],
        delete_extra=delete_extra,
        discard_pending=discard_pending,
        dry_run=dry_run,
        partition=partition,
    )
    _finish(session, job, dry_run=dry_run, no_wait=no_wait)


@command(restore, "volume", example="restore volume 100b.g1 105a --dry-run")
@_GENERATION
@_VOLUME
@_DRY_RUN
@waiting
def restore_volume(
    session: Session, *, generation: str, volume: str, dry_run: bool, no_wait: bool
) -> None:
    """Restore a whole volume, whatever is on it (Fig. 6)."""
    job = session.client.restore(generation, volume, whole=True, dry_run=dry_run)
    _finish(session, job, dry_run=dry_run, no_wait=no_wait)


def _finish(session: Session, job: Job, *, dry_run: bool, no_wait: bool) -> None:
    render: Callable[[Console, Any], None] = _print_estimate if dry_run else _print_report
    perform(session, job, render, no_wait=no_wait)


def _print_estimate(console: Console, told: dict[str, Any]) -> None:
    for one in told.get("changes") or ():
        line = f"{one.get('change', '')}  {text_of_name(one)}"
        console.print(line, markup=False, soft_wrap=True)
    console.print(
        f"by Fig. {told['figure']} ({told['reason']}): {format_bytes(told['write_bytes'])} would "
        f"be written, {format_bytes(told['cross_bytes'])} would cross the path",
        markup=False,
        soft_wrap=True,
    )
    if told.get("trouble"):
        console.print(f"the live volume can't be read: {told['trouble']}", markup=False)


def _print_report(console: Console, told: dict[str, Any]) -> None:
    changed = f", {told['changed_paths']} paths changed" if told["figure"] == 5 else ""
    console.print(
        f"restored by Fig. {told['figure']} ({told['reason']}){changed}: "
        f"{format_bytes(told['copied_bytes'])} copied back, "
        f"{format_bytes(told['crossed_bytes'])} crossed the path",
        markup=False,
        soft_wrap=True,
    )
