"""`pyrep system`: storage systems; `pyrep status`: everything at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pyrep.api import Json
from pyrep.cli.pair import PAIR_COLUMNS, pair_row
from pyrep.cli.path import PATH_COLUMNS, path_row
from pyrep.cli.session import Session, command, print_json
from pyrep.cli.tables import Column, print_facts, print_table
from pyrep.engine import CheckReport, Finding, StorageSystem, check_system, repair_system

__all__ = ["status", "system"]

_TABLE: tuple[Column, ...] = (
    ("pair", "pair_id"),
    ("volume", "volume_id"),
    ("type", "copy_type"),
    ("primary", "primary"),
    ("status", "status"),
    ("cause", "cause"),
    ("mirror system", "pair_system_id"),
    ("mirror volume", "mirror_volume_id"),
    ("group", "group_id"),
)


@click.group()
def system() -> None:
    """Make a storage system, and look at one."""


@system.command("create", epilog="Example: pyrep system create /srv/pyrep/100a 100a")
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("system_id")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, a line each.")
def create(directory: Path, system_id: str, *, as_json: bool) -> None:
    """Make a system of this id in a directory that is empty or isn't there yet.

    No daemon is needed for it; afterwards `pyrep serve DIRECTORY` serves the system.
    """
    with StorageSystem.create(directory, system_id) as made:
        told = {"system_id": made.system_id, "directory": str(made.directory)}
    if as_json:
        print_json(told)
    else:
        click.echo(f"system {told['system_id']} is in {told['directory']}")


@system.command("check", epilog="Example: pyrep system check /srv/pyrep/100a")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--quiet", is_flag=True, help="Say only what isn't OK.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, a line each.")
@click.pass_context
def check(ctx: click.Context, directory: Path, *, quiet: bool, as_json: bool) -> None:
    """Check the system in DIRECTORY, which nothing serves: tables, volumes, bitmaps, digests.

    Changes nothing. Each line names a thing, what is wrong with it and what a repair would do. The
    exit status is a monitor's: 0 OK, 60 WARNING, 61 FAILED.
    """
    report = check_system(directory)
    _show_findings(report, quiet=quiet, as_json=as_json)
    ctx.exit(report.exit_code)


@system.command("repair", epilog="Example: pyrep system repair /srv/pyrep/100a")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--id", "system_id", help="The system's id, if its tables are lost altogether.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, a line each.")
@click.pass_context
def repair(ctx: click.Context, directory: Path, *, system_id: str | None, as_json: bool) -> None:
    """Repair the system in DIRECTORY, as `pyrep system check` says; nothing serves it.

    A pair that can't be trusted becomes SPLIT (requested) with everything pending, and waits for
    `pyrep pair resync` in the direction that you choose. The tables are kept as they were, in
    DIRECTORY/before-repair-NUMBER. The exit status is that of a check afterwards.
    """
    report = repair_system(directory, system_id=system_id)
    if as_json:
        told = {"done": list(report.done), "kept": str(report.kept) if report.kept else None}
        print_json({**told, "severity": report.after.severity})
    else:
        for line in report.done or ("nothing needed a repair",):
            click.echo(line)
        if report.kept:
            click.echo(f"the tables as they were are in {report.kept}")
    _show_findings(report.after, quiet=True, as_json=as_json)
    ctx.exit(report.after.exit_code)


def _show_findings(report: CheckReport, *, quiet: bool, as_json: bool) -> None:
    for one in report.wrong if quiet else report.findings:
        if as_json:
            print_json(_finding_json(one))
        else:
            click.echo(str(one))
    if not as_json and not quiet:
        click.echo(f"{report.severity}: {len(report.wrong)} of {len(report.findings)} aren't OK")


def _finding_json(one: Finding) -> Json:
    return {
        "severity": one.severity,
        "thing": one.thing,
        "what": one.what,
        "repair": one.repair or None,
        "hint": one.hint or None,
    }


@command(system, "status", example="system status --system /srv/pyrep/100a")
def show(session: Session) -> None:
    """Show what the system is: id, version, directory."""
    told = session.client.system()
    session.show(told, lambda console: print_facts(console, told))


@command(system, "table", example="system table --system /srv/pyrep/100a")
def table(session: Session) -> None:
    """Show the copy management table (Fig. 3): a row for each side of each pair."""
    rows = session.client.table()
    session.show(
        rows,
        lambda console: print_table(
            console, _TABLE, rows, nothing="no volume is in a pair: all are SIMPLEX"
        ),
    )


_holder = click.Group()


@command(_holder, "status", example="status --system /srv/pyrep/100a")
def status(session: Session) -> None:
    """Show the system, its pairs, paths, running jobs and stopped workflows.

    The exit status is 0 whatever they are; ask for single things to act on them.
    """
    client = session.client
    jobs = [one.told for one in client.jobs() if not one.is_over]
    told: dict[str, Any] = {
        "system": client.system(),
        "pairs": client.pairs(),
        "paths": client.paths(),
        "jobs": jobs,
        "workflows": [one for one in client.workflows() if one.get("state") == "stopped"],
    }
    session.show(told, lambda console: _print_status(console, told))


def _print_status(console: Console, told: dict[str, Any]) -> None:
    facts: Json = told["system"]
    console.print(
        f"system {facts.get('system_id', '')} in {facts.get('directory', '')}",
        markup=False,
        soft_wrap=True,
    )
    rows = [pair_row(one) for one in told["pairs"]]
    print_table(console, PAIR_COLUMNS, rows, nothing="no pairs")
    paths = [path_row(one) for one in told["paths"]]
    print_table(console, PATH_COLUMNS, paths, nothing="no paths")
    for job in told["jobs"]:
        console.print(f"job {job['id']} runs: {job.get('what', '')}", markup=False, soft_wrap=True)
    for one in told["workflows"]:
        console.print(
            f"workflow {one['workflow_id']} stopped at {one.get('step')}: {one.get('error')}; "
            f"pyrep workflow resume or abandon {one['workflow_id']}",
            markup=False,
            soft_wrap=True,
        )
