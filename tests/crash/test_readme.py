"""The table of what is recorded where names every command, and nothing that isn't."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from crash.workloads import WORKLOADS
from pyrep.cli import main

_TEXT = Path(__file__).with_name("README.md").read_text()
_ROWS = [line for line in _TEXT.splitlines() if line.startswith("| ")]
_READS = {
    *("list", "show", "status", "table", "wait", "ls", "find", "cat", "history", "diff", "changes"),
    *(
        "verify",
        "export",
        "estimate",
        "check",
        "sync",
        "pause",
        "resume",
        "cancel",
        "demo",
        "pending",
    ),
}
"""Commands that write nothing durable, or nothing of a system."""


def _commands(group: click.Group, *before: str) -> list[str]:
    found = []
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            found += _commands(one, *before, name)
        else:
            found.append(" ".join([*before, name]))
    return found


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_stands_in_it(name: str) -> None:
    assert any(f"`{name}`" in row for row in _ROWS)


def test_every_command_that_writes_stands_in_it() -> None:
    named = " ".join(re.findall(r"`([^`]*)`", "".join(row.split("|")[1] for row in _ROWS)))
    missing = [
        one
        for one in _commands(main)
        if one.split()[-1] not in _READS
        and not one.startswith(("pki", "serve"))
        and one not in named
    ]
    assert missing == []
