"""`pyrep`: the group of all commands, and how their errors end."""

from __future__ import annotations

from typing import Any

import click

from pyrep.cli.demo import demo
from pyrep.cli.pki import pki
from pyrep.errors import DeviceError, PyrepError, format_error
from pyrep.version import __version__

__all__ = ["main"]


class _Program(click.Group):
    """Shows an error with its hint and exits with its code; other exceptions are bugs."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 (click's)
        try:
            return super().invoke(ctx)
        except PyrepError as error:
            click.echo(f"pyrep: {format_error(error)}", err=True)
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

    `pyrep demo` shows all of it in about half a minute.
    """


main.add_command(demo)
main.add_command(pki)
