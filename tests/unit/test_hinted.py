"""Who is told of a failure is told what to do: errors have hints."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrep
from pyrep import errors

PACKAGE = Path(pyrep.__file__).parent

SAY_ENOUGH = {
    "CancelledError",  # who gets it has cancelled
    "InvalidArgumentError",  # names what was given and why it can't be used: but for commands
    "OutOfRangeError",  # names the range and the end that it reaches past
    "WireError",  # what another system sent; who sent it is cut off, and the log has both
}
COMMANDS = ("cli/", "daemon/", "interconnect/pki.py")
"""Where an argument is something that a person has typed or has lying about."""

NOT_FOR_USERS = {
    ("_core/apply.py", "RefusedError"): "the other system binds its channels once",
    ("meta/catalogue.py", "ExistsError"): "ids are drawn by this system",
    ("meta/copytable.py", "ExistsError"): "ids are drawn by this system",
    ("meta/journal.py", "ExistsError"): "ids are drawn by this system",
}
ELSEWHERE = ("cli/demo/", "testing/")
"""What isn't part of a system that is operated."""


def unhinted(name: str, text: str) -> Iterator[tuple[str, str, int]]:
    """Yield the errors that are made without a hint in a file: file, class, line."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        made = node.func.id
        if made not in errors.__all__ or not made.endswith("Error"):
            continue
        given = {one.arg: one.value for one in node.keywords}
        hint = given.get("hint")
        if None in given or (hint is not None and not _is_none(hint)):
            continue
        if made in SAY_ENOUGH and not (
            made == "InvalidArgumentError" and name.startswith(COMMANDS)
        ):
            continue
        yield name, made, node.lineno


def _is_none(hint: ast.expr) -> bool:
    if isinstance(hint, ast.IfExp):
        return _is_none(hint.body) or _is_none(hint.orelse)
    return isinstance(hint, ast.Constant) and hint.value is None


def all_unhinted() -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(ELSEWHERE):
            found += unhinted(name, path.read_text(encoding="utf-8"))
    return found


def test_every_error_that_a_user_may_meet_says_what_to_do() -> None:
    found = all_unhinted()
    assert [one for one in found if one[:2] not in NOT_FOR_USERS] == []
    assert {one[:2] for one in found} == set(NOT_FOR_USERS)  # none of these has gone


@pytest.mark.parametrize(
    ("call", "is_found"),
    [
        ('RefusedError("no")', True),
        ('RefusedError("no", hint=None)', True),
        ('RefusedError("no", hint="do so" if may else None)', True),
        ('RefusedError("no", hint="do so")', False),
        ('RefusedError("no", **more)', False),
        ('WireError("no")', False),
        ('InvalidArgumentError("no")', False),
        ('ValueError("no")', False),
    ],
)
def test_what_lacks_a_hint_is_found(call: str, is_found: bool) -> None:
    assert bool(list(unhinted("engine/pair.py", call))) is is_found


def test_what_a_person_typed_is_told_what_to_type() -> None:
    assert list(unhinted("cli/pair.py", 'InvalidArgumentError("no")'))
