"""docs/cli.md says what the program says; every command has help and an example that parses."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pyrep.cli import main
from pyrep.cli.reference import render_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def leaves(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from leaves(one, *path, name)
        else:
            yield (*path, name)


COMMANDS = sorted(leaves(main))


def find(path: tuple[str, ...]) -> click.Command:
    found: click.Command = main
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


def test_the_page_is_what_the_program_says() -> None:
    assert PAGE.read_text() == render_reference(), (
        "run: python -m pyrep.cli.reference > docs/cli.md"
    )


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_command_has_help_and_an_example_that_it_takes(
    path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk.img").touch()
    monkeypatch.chdir(tmp_path)
    command = find(path)
    assert command.help
    assert all(isinstance(one, click.Argument) or one.help for one in command.params if one.name)
    example = (command.epilog or "").removeprefix("Example: pyrep ")
    words = shlex.split(example)
    assert tuple(words[: len(path)]) == path
    with command.make_context(path[-1], words[len(path) :]):
        pass  # it was parsed


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_but_those_that_only_show_has_json(path: tuple[str, ...]) -> None:
    names = {option for one in find(path).params for option in one.opts}
    assert ("--json" in names) is (path[0] != "demo")
