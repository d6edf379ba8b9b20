"""What the command line advises can be typed there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import pyrep
from pyrep.cli import main
from pyrep.cli.hints import in_commands

PACKAGE = Path(pyrep.__file__).parent
CALL = re.compile(r"\b(pair|system)\.\w+\(|\b(abandon|resume|repair_system)\(|StorageSystem")


def _text(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression can give; what it puts in stands as WHAT."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(
                str(part.value)
                if isinstance(part, ast.Constant)
                else "'WHAT'"
                if isinstance(part, ast.FormattedValue) and part.conversion == ord("r")
                else "WHAT"
                for part in parts
            )
        case ast.IfExp(body=one, orelse=other):
            yield from _text(one)
            yield from _text(other)
        case _:
            pass


def _hints() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                found += list(_text(node.value))
            if isinstance(node, ast.Return) and node.value is not None:
                found += [one for one in _text(node.value) if CALL.search(one)]
    return found


CALLED = sorted({one for one in _hints() if CALL.search(one) and not one.startswith("<")})


def test_there_are_hints_that_name_calls() -> None:
    assert len(CALLED) > 10


@pytest.mark.parametrize("hint", CALLED)
def test_a_hint_that_names_a_call_names_the_command_instead(hint: str) -> None:
    assert not CALL.search(in_commands(hint)), in_commands(hint)


@pytest.mark.parametrize("hint", CALLED)
def test_every_command_in_a_hint_is_one_with_these_options(hint: str) -> None:
    commands = in_commands(hint)
    for words, told in re.findall(r"pyrep ([a-z]+(?: [a-z]+)*)((?: --[a-z-]+)?)", commands):
        command: click.Command = main
        for word in words.split():
            if isinstance(command, click.Group):
                command = command.commands[word]
        assert not isinstance(command, click.Group)
        options = [option for one in command.params for option in one.opts]
        assert told.strip() in {"", *options}


def test_what_is_named_in_a_call_is_named_to_the_command() -> None:
    said = "name it: pair.resync(discard=\"100b\") keeps 100a; or abandon(system, 'w1')"
    assert in_commands(said) == (
        "name it: pyrep pair resync --discard 100b keeps 100a; or pyrep workflow abandon w1"
    )
