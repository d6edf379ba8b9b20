"""What commands that talk to a served system share: where it is, how answers are shown."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pyrep.api import SOCKET_NAME, Client, failure_to
from pyrep.errors import InvalidArgumentError, PyrepError

__all__ = ["Session", "command", "pairs_of", "print_json"]

_PLAIN_WIDTH = 200
"""Columns where nobody looks: no cell is cut."""

_Function = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One command's talk with a system.

    Attributes:
        client: of the system.
        as_json: whether answers are JSON, a line each.
        console: where people read.
    """

    client: Client
    as_json: bool
    console: Console

    def show(self, told: Any, render: Callable[[Console], None]) -> None:
        """Show an answer: as it is in JSON, else as `render` prints it."""
        if self.as_json:
            print_json(told)
        else:
            render(self.console)

    def say(self, told: Any, text: str) -> None:
        """Show an answer that is one line for people."""
        self.show(told, lambda console: console.print(text, markup=False, soft_wrap=True))


def print_json(told: Any) -> None:
    """Print a line of JSON, at once. Text that isn't ASCII is escaped: any terminal takes it."""
    click.echo(json.dumps(told))
    sys.stdout.flush()


def console_of_stdout() -> Console:
    """Return a console on standard output."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(highlight=False, width=width)


_SYSTEM = click.option(
    "--system",
    "system_directory",
    metavar="DIR",
    envvar="PYREP_SYSTEM",
    type=click.Path(path_type=Path),
    help="The system: the directory that `pyrep serve` serves.  [env: PYREP_SYSTEM]",
)
_SOCKET = click.option(
    "--socket",
    "socket_path",
    metavar="PATH",
    envvar="PYREP_SOCKET",
    type=click.Path(path_type=Path),
    help="The daemon's socket, if it isn't in the directory.  [env: PYREP_SOCKET]",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, a line each.")


def command(group: click.Group, name: str, *, example: str) -> Callable[[_Function], click.Command]:
    """Make a command of a function that takes a `Session` and the command's own parameters.

    Args:
        group: where it is.
        name: its verb.
        example: what stands behind `pyrep` in the example.
    """

    def decorate(function: _Function) -> click.Command:
        @functools.wraps(function)
        def run(
            *,
            system_directory: Path | None,
            socket_path: Path | None,
            as_json: bool,
            **given: Any,
        ) -> None:
            try:
                with Client(_socket_of(system_directory, socket_path)) as client:
                    session = Session(client=client, as_json=as_json, console=console_of_stdout())
                    function(session, **given)
            except PyrepError as error:
                if not as_json:
                    raise
                click.echo(json.dumps(failure_to(error)), err=True)
                sys.exit(error.exit_code)

        made = click.command(name, epilog=f"Example: pyrep {example}")(run)
        for option in (_JSON, _SOCKET, _SYSTEM):
            made = option(made)
        group.add_command(made)
        return made

    return decorate


def _socket_of(directory: Path | None, socket_path: Path | None) -> Path:
    """Return the socket meant; what is named in the command goes before the environment."""
    context = click.get_current_context()
    by_hand = context.get_parameter_source("system_directory")
    if socket_path is not None and (
        directory is None or by_hand is not click.core.ParameterSource.COMMANDLINE
    ):
        return socket_path
    if directory is not None:
        return directory / SOCKET_NAME
    raise InvalidArgumentError(
        "which system is meant isn't said",
        hint="name its directory: --system DIR, or its socket: --socket PATH; "
        "or set PYREP_SYSTEM or PYREP_SOCKET",
    )


def pairs_of(values: Sequence[str], *, what: str) -> dict[str, str | None]:
    """Return `key=value` arguments as a mapping; `key=` takes the key away.

    Raises:
        InvalidArgumentError: one has no `=`.
    """
    found: dict[str, str | None] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals:
            raise InvalidArgumentError(f"{what} {value!r} has no value", hint="KEY=VALUE, or KEY=")
        found[key] = text or None
    return found
