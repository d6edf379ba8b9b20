"""`pyrep backup`: generations of volumes at one point (Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from pyrep.cli.following import perform, waiting
from pyrep.cli.quantities import FiniteRange
from pyrep.cli.session import Session, command

__all__ = ["add_backup"]


def add_backup(main: click.Group) -> None:
    """Add the command to the program."""

    @command(main, "backup", example="backup 105a 205a --label friday --system /srv/pyrep/100a")
    @click.argument("volumes", metavar="VOLUME...", nargs=-1, required=True)
    @click.option("--label", default="", help="Free text for the catalogue.")
    @click.option("--primary", metavar="SYSTEM", help="Whose volumes they are, if not this one's.")
    @click.option(
        "--sides",
        type=click.Choice(["secondary", "primary", "both"]),
        default="secondary",
        show_default=True,
        help="Whose local mirrors are split.",
    )
    @click.option(
        "--hold-ack",
        type=click.Choice(["wait", "mark"]),
        default="wait",
        show_default=True,
        help="What a synchronous writer gets in the hold.",
    )
    @click.option(
        "--hold-max-ms",
        type=FiniteRange(0, min_open=True),
        help="Longest hold.  [default: the system's]",
    )
    @click.option("--reuse-last", is_flag=True, help="Give up the only generation if need be.")
    @waiting
    def backup(
        session: Session,
        *,
        volumes: Sequence[str],
        reuse_last: bool,
        no_wait: bool,
        **options: Any,
    ) -> None:
        """Take a generation of volumes, all at one point, while the remote mirror goes on.

        The volumes are those of the primary; their SVOLs at the secondary hold the generation. A
        backup that stops can be resumed or abandoned: `pyrep workflow`.
        """
        job = session.client.backup(volumes, reuse_last=reuse_last, **options)
        perform(session, job, _print_report, no_wait=no_wait)


def _print_report(console: Console, report: dict[str, Any]) -> None:
    for one in report["generations"]:
        held_by = ", ".join(member["svol"] for member in one["members"])
        console.print(
            f"generation {one['generation_id']} is {one['state']} on {one['home']}: {held_by}",
            markup=False,
            soft_wrap=True,
        )
    hold_ms, closed_ms = report.get("hold_ms") or 0.0, report.get("closed_ms") or 0.0
    console.print(f"writes were held for {hold_ms:.1f} ms, the gates closed for {closed_ms:.1f} ms")
