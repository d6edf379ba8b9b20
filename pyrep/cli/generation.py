"""`pyrep generation`: what is kept, and what is in it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console

from pyrep.api import Json
from pyrep.cli.following import perform, waiting
from pyrep.cli.names import text_of_name
from pyrep.cli.quantities import FiniteRange
from pyrep.cli.session import Session, command, pairs_of
from pyrep.cli.tables import Column, print_facts, print_table
from pyrep.model import MIB

__all__ = ["generation"]

_COLUMNS: tuple[Column, ...] = (
    ("generation", "generation_id"),
    ("taken", "taken_at"),
    ("state", "state"),
    ("cause", "cause"),
    ("label", "label"),
    ("of", "sources"),
    ("on", "svols"),
    ("home", "home"),
    ("protected", "protected"),
    ("used by", "pins"),
    ("notes", "annotations"),
    ("told", "told"),
)
_FILES: tuple[Column, ...] = (
    ("mode", "mode"),
    ("owner", "owner"),
    ("size", "size"),
    ("changed", "mtime"),
    ("name", "name"),
)
_GENERATION = click.argument("generation_id", metavar="GENERATION")


@click.group()
def generation() -> None:
    """List, mark, check and look into generations."""


def _row(told: Json) -> Json:
    members = told.get("members") or ()
    return {
        **told,
        "sources": sorted({one["origin_volume"] for one in members}),
        "svols": [one["svol"] for one in members],
        "protected": told.get("protected") or None,
        "told": "as last known" if told.get("is_last_known") else None,
    }


@command(generation, "list", example="generation list --system /srv/pyrep/100b")
@click.option("--volume", "volume_id", help="Only of this volume, by its id at either system.")
@click.option("--all", "also_ended", is_flag=True, help="Those that were given up, too.")
def list_generations(session: Session, *, volume_id: str | None, also_ended: bool) -> None:
    """List the catalogue, oldest first.

    Systems that hold generations of volumes here are asked, for two seconds at most; what one that
    doesn't answer holds is told as last known.
    """
    found = [
        one
        for one in session.client.generations()
        if (also_ended or one.get("state") not in {"given_up", "failed"})
        and (volume_id is None or _is_of(one, volume_id))
    ]
    rows = [_row(one) for one in found]
    session.show(
        found, lambda console: print_table(console, _COLUMNS, rows, nothing="no generations")
    )


def _is_of(told: Json, volume_id: str) -> bool:
    ends = ("source", "origin_volume", "svol")
    return any(volume_id in {one[end] for end in ends} for one in told.get("members") or ())


@command(generation, "show", example="generation show 100b.g1")
@_GENERATION
def show(session: Session, *, generation_id: str) -> None:
    """Show a generation: when, on which SVOLs, what it did to the remote mirror."""
    told = session.client.generation(generation_id)
    session.show(told, lambda console: print_facts(console, told))


@command(generation, "protect", example="generation protect 100b.g1")
@_GENERATION
def protect(session: Session, *, generation_id: str) -> None:
    """Keep it from being given up, by backups and by retention."""
    told = session.client.protect(generation_id)
    session.say(told, f"generation {generation_id} is protected")


@command(generation, "unprotect", example="generation unprotect 100b.g1")
@_GENERATION
def unprotect(session: Session, *, generation_id: str) -> None:
    """Let it be given up again."""
    told = session.client.unprotect(generation_id)
    session.say(told, f"generation {generation_id} isn't protected")


@command(generation, "pin", example="generation pin 100b.g1 auditor")
@_GENERATION
@click.argument("holder")
def pin(session: Session, *, generation_id: str, holder: str) -> None:
    """Keep it while HOLDER uses it, also over a restart: it can't be given up meanwhile.

    Several may; the same one counts once.
    """
    told = session.client.pin(generation_id, holder)
    session.say(told, f"generation {generation_id} is used by {', '.join(told['pins'])}")


@command(generation, "unpin", example="generation unpin 100b.g1 auditor")
@_GENERATION
@click.argument("holder")
def unpin(session: Session, *, generation_id: str, holder: str) -> None:
    """Say that HOLDER uses it no more."""
    told = session.client.unpin(generation_id, holder)
    left = ", ".join(told["pins"]) or "nobody"
    session.say(told, f"generation {generation_id} is used by {left}")


@command(generation, "annotate", example="generation annotate 100b.g1 ticket=4711 owner=")
@_GENERATION
@click.argument("values", metavar="KEY=VALUE...", nargs=-1, required=True)
def annotate(session: Session, *, generation_id: str, values: Sequence[str]) -> None:
    """Set annotations; KEY= takes one away."""
    chosen = pairs_of(values, what="annotation")
    told = session.client.annotate(generation_id, chosen)
    session.say(told, f"generation {generation_id} is annotated")


@command(generation, "label", example="generation label 100b.g1 'before the upgrade'")
@_GENERATION
@click.argument("label")
def rename(session: Session, *, generation_id: str, label: str) -> None:
    """Give it another label."""
    told = session.client.annotate(generation_id, {}, label=label)
    session.say(told, f"generation {generation_id} is labelled {label!r}")


@command(generation, "digest", example="generation digest 100b.g1")
@_GENERATION
@click.option("--again", is_flag=True, help="Forget those that there are, and read everything.")
@waiting
def digest(session: Session, *, generation_id: str, again: bool, no_wait: bool) -> None:
    """Compute the digests that it lacks; backups get theirs by themselves."""
    job = session.client.digest(generation_id, again=again)

    def render(console: Console, _: Any) -> None:
        console.print(f"generation {generation_id} has its digests", markup=False)

    perform(session, job, render, no_wait=no_wait)


@command(generation, "verify", example="generation verify 100b.g1 --percentage 5")
@_GENERATION
@click.option(
    "--percentage",
    type=FiniteRange(0, 100, min_open=True),
    default=100.0,
    show_default=True,
    help="Share of its spans, chosen at random.",
)
@click.option("--seed", type=int, help="Makes the choice repeatable.")
@waiting
def verify(
    session: Session, *, generation_id: str, percentage: float, seed: int | None, no_wait: bool
) -> None:
    """Read a share of it again and compare it with its digests."""
    job = session.client.verify_generation(generation_id, percentage=percentage, seed=seed)
    perform(session, job, print_facts, no_wait=no_wait)


# --- looking into one -----------------------------------------------------------------------------


def _place(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--partition", type=int, help="The one that holds the files."),
        click.option("--volume", help="Which of its volumes, if it has several."),
    ):
        function = option(function)
    return function


def _file_row(told: Json) -> Json:
    owner = f"{told['uid']}:{told['gid']}" if "uid" in told else None
    mode = told.get("mode")
    return {
        **told,
        "owner": owner,
        "mode": f"{mode:o}" if isinstance(mode, int) else mode,
        "name": text_of_name(told),
    }


def _show_files(session: Session, found: list[Json]) -> None:
    rows = [_file_row(one) for one in found]
    session.show(found, lambda console: print_table(console, _FILES, rows, nothing="no files"))


@command(generation, "ls", example="generation ls 100b.g1 /home")
@_GENERATION
@click.argument("path", default="/", type=click.UNPROCESSED)
@_place
def list_files(session: Session, *, generation_id: str, path: str, **place: Any) -> None:
    """List a directory in it; no root, no mount."""
    found = session.client.look(generation_id, "ls", path=os.fsencode(path), **place)
    _show_files(session, found)


@command(generation, "find", example="generation find 100b.g1 '/home/**/*.db'")
@_GENERATION
@click.argument("pattern", type=click.UNPROCESSED)
@_place
def find(session: Session, *, generation_id: str, pattern: str, **place: Any) -> None:
    """List what a pattern matches in it."""
    found = session.client.look(generation_id, "find", path=os.fsencode(pattern), **place)
    _show_files(session, found)


@command(generation, "cat", example="generation cat 100b.g1 /etc/fstab")
@_GENERATION
@click.argument("path", type=click.UNPROCESSED)
@_place
def cat(session: Session, *, generation_id: str, path: str, **place: Any) -> None:
    """Write a file in it to standard output, as it is (with --json too)."""
    offset = 0
    while True:
        piece = session.client.cat(
            generation_id, os.fsencode(path), offset=offset, length=MIB, **place
        )
        sys.stdout.buffer.write(piece)
        offset += len(piece)
        if len(piece) < MIB:
            break
    sys.stdout.buffer.flush()


@command(generation, "history", example="generation history 105a /etc/fstab")
@click.argument("volume_id", metavar="VOLUME")
@click.argument("path", type=click.UNPROCESSED)
@click.option("--partition", type=int, help="The one that holds the files.")
def history(session: Session, *, volume_id: str, path: str, partition: int | None) -> None:
    """Show one path as each complete generation of a volume has it."""
    found = session.client.history(volume_id, os.fsencode(path), partition=partition)
    columns: tuple[Column, ...] = (
        ("generation", "generation_id"),
        ("taken", "taken_at"),
        ("there", "is_present"),
        ("size", "size"),
        ("changed since the one before", "content_changed"),
    )
    rows = [{**one, **(one.get("stat") or {})} for one in found]
    session.show(
        found, lambda console: print_table(console, columns, rows, nothing="no generations")
    )


@command(generation, "diff", example="generation diff 100b.g1 100b.g2")
@_GENERATION
@click.argument("other")
@_place
def diff(session: Session, *, generation_id: str, other: str, **place: Any) -> None:
    """Show by path what is different in OTHER, a later generation."""
    found = session.client.look(generation_id, "diff", other=other, **place)
    columns: tuple[Column, ...] = (("change", "change"), ("kind", "kind"), ("name", "name"))
    rows = [{**one, "name": text_of_name(one)} for one in found]
    session.show(
        found, lambda console: print_table(console, columns, rows, nothing="nothing differs")
    )


@command(generation, "changes", example="generation changes 100b.g2 --since 100b.g1")
@_GENERATION
@click.option("--since", "other", required=True, metavar="GENERATION", help="An earlier one.")
@_place
def changes(session: Session, *, generation_id: str, other: str, **place: Any) -> None:
    """Name the files whose bytes may have changed, from the mirrors' marks alone."""
    told = session.client.look(generation_id, "changes", other=other, **place)
    session.show(told, lambda console: print_facts(console, told))
