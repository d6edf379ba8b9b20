"""`pyrep`: the group of all commands, and how their errors end."""

from __future__ import annotations

from typing import Any

import click

from pyrep.cli.backup import add_backup
from pyrep.cli.demo import demo
from pyrep.cli.generation import generation
from pyrep.cli.group import group
from pyrep.cli.hints import in_commands
from pyrep.cli.job import job
from pyrep.cli.pair import pair
from pyrep.cli.path import path
from pyrep.cli.pki import pki
from pyrep.cli.policy import policy, retention
from pyrep.cli.restore import restore
from pyrep.cli.serve import serve
from pyrep.cli.system import status, system
from pyrep.cli.volume import volume
from pyrep.cli.workflow import workflow
from pyrep.errors import DeviceError, PyrepError, format_error
from pyrep.version import __version__

__all__ = ["main"]


class _Program(click.Group):
    """Shows an error with its hint and exits with its code; other exceptions are bugs."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PyrepError as error:
            click.echo(f"pyrep: {in_commands(format_error(error))}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            raise  # click's own
        except OSError as error:
            click.echo(f"pyrep: {error}", err=True)
            ctx.exit(DeviceError.exit_code)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pyrep")
def main() -> None:
    """Mirrored block volumes with point-in-time backup and restore, in user space.

    `pyrep demo` shows all of it in about half a minute. `pyrep serve` serves a storage system; the
    other commands talk to one that is served, named by --system or --socket.
    """


for _one in (
    demo,
    generation,
    group,
    job,
    pair,
    path,
    pki,
    policy,
    restore,
    retention,
    serve,
    status,
    system,
    volume,
    workflow,
):
    main.add_command(_one)
add_backup(main)
