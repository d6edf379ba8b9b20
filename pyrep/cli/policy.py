"""`pyrep policy` and `pyrep retention`: what is kept, and giving up the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console

from pyrep.cli.quantities import age
from pyrep.cli.session import Session, command
from pyrep.cli.tables import Column, print_facts, print_table

__all__ = ["policy", "retention"]

_KEEPS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_DECISIONS: tuple[Column, ...] = (
    ("volume", "volume_id"),
    ("generation", "generation_id"),
    ("taken", "taken_at"),
    ("becomes", "becomes"),
    ("because", "reasons"),
)


@click.group()
def policy() -> None:
    """Say which generations are kept."""


@command(policy, "show", example="policy show --system /srv/pyrep/100b")
def show(session: Session) -> None:
    """Show the policies: the system's, and those of its volumes."""
    found = session.client.policies()

    def render(console: Console) -> None:
        for one in found:
            print_facts(console, one)

    session.show(found, render)


@command(policy, "set", example="policy set 105b --keep-daily 7 --keep-weekly 4 --next-svol always")
@click.argument("volume_id", metavar="[VOLUME]", required=False)
@click.option("--keep-last", type=click.IntRange(0), help="The newest, so many.")
@click.option("--keep-hourly", type=click.IntRange(0), help="The newest of so many hours.")
@click.option("--keep-daily", type=click.IntRange(0), help="The newest of so many days.")
@click.option("--keep-weekly", type=click.IntRange(0), help="The newest of so many ISO weeks.")
@click.option("--keep-monthly", type=click.IntRange(0), help="The newest of so many months.")
@click.option("--keep-yearly", type=click.IntRange(0), help="The newest of so many years.")
@click.option("--keep-within", "keep_within_s", type=age, help="All that are younger: 36h, 14d.")
@click.option("--keep-label", "keep_labels", multiple=True, help="All of this label.")
@click.option("--minimum", type=click.IntRange(1), help="Complete ones always kept.")
@click.option("--forget-after", "forget_after_s", type=age, help="When ended ones are forgotten.")
@click.option("--zone", help="Time zone whose days count, as Europe/Vienna.")
@click.option(
    "--next-svol",
    type=click.Choice(["at_backup", "always"]),
    help="When the next backup's SVOL is made DUPLEX.",
)
def set_policy(
    session: Session, *, volume_id: str | None, next_svol: str | None, **rules: Any
) -> None:
    """Set what is kept of VOLUME's generations; without one, of all that have no policy.

    VOLUME is the source that the SVOLs are split from (105b). Retention rules named here replace
    all that were set before; none named leaves them.
    """
    kept = {name: value for name, value in rules.items() if value not in {None, ()}}
    if "keep_labels" in kept:
        kept["keep_labels"] = list(kept["keep_labels"])
    chosen: dict[str, Any] = {"next_svol": next_svol, "retention": kept or None}
    given = {name: value for name, value in chosen.items() if value is not None}
    told = session.client.set_policy(volume_id, given)
    session.say(told, f"the policy of {volume_id or 'the system'} is set")


@click.group()
def retention() -> None:
    """Give up what no policy keeps."""


@command(retention, "apply", example="retention apply 105b --dry-run")
@click.argument("volumes", metavar="[VOLUME]...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Only tell what would be given up, and why.")
def apply(session: Session, *, volumes: Sequence[str], dry_run: bool) -> None:
    """Give up the generations that no rule keeps; each with its reason.

    Without a volume: of all that have a policy.
    """
    told = session.client.apply_retention(volumes, dry_run=dry_run)
    rows = [
        {**one, "volume_id": plan.get("volume_id"), "becomes": _becomes(one, dry_run=dry_run)}
        for plan in told.get("plans") or ()
        for one in plan["decisions"]
    ]
    session.show(
        told, lambda console: print_table(console, _DECISIONS, rows, nothing="no generations")
    )


def _becomes(decision: dict[str, Any], *, dry_run: bool) -> str:
    if decision["kept"]:
        return "kept"
    return "would be given up" if dry_run else "given up"
