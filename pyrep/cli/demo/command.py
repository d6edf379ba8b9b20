"""The command `pyrep demo`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

from pyrep.cli.demo.display import Display
from pyrep.cli.demo.report import print_report
from pyrep.cli.demo.scale import Scale
from pyrep.cli.demo.scenario import run_demo
from pyrep.cli.demo.tools import Tools
from pyrep.cli.demo.workspace import open_workspace

__all__ = ["demo"]

_PLAIN_WIDTH = 110


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """End by way of every `finally` when told to: no process is left."""

    def end(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command(epilog="Example: pyrep demo --directory /var/tmp/look --keep")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help="Work here: a directory that is empty, or isn't there yet.  [default: a temporary one]",
)
@click.option("--keep", is_flag=True, help="Leave the volumes behind, to be looked at.")
def demo(directory: Path | None, *, keep: bool) -> None:
    """Mirror, back up, restore files and restore a volume, and prove each.

    Two storage systems are made in a directory, and each is served by a process of its own: 100a
    with the volumes 105a (ext4) and 205a (numbered records), 100b with their mirrors and the SVOLs
    of two generations. The path between them is mutual TLS, with certificates made for the run. All
    is asked through their API. Real files are written, two generations are taken while a thread
    goes on writing, and files and the whole volume are restored. After each phase every file is
    compared with a record made when it was written, the file system is checked with e2fsck, and
    mirrors are compared byte by byte.

    Takes about 2 GB of disk and half a minute, as any user. The exit status is 1 if anything
    differs or if more crosses the path than differs, else that of the error that ended the run.
    """
    scale, tools = Scale(), Tools.find()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    with (
        _ended_by_sigterm(),
        open_workspace(directory, room_bytes=scale.disk_bytes, keep=keep) as path,
    ):
        with Display(console) as display:
            outcome = run_demo(path, scale=scale, tools=tools, watcher=display)
        print_report(console, outcome, seconds=display.seconds)
        if keep:
            console.print(f"The systems are in {path}", markup=False, soft_wrap=True)
    if outcome.differences:
        sys.exit(1)
