"""Which line of a TOML file a key stands at: the parser of the standard library doesn't tell."""

from __future__ import annotations

import re
import tomllib

__all__ = ["Lines"]

_PART = r"(?:[A-Za-z0-9_-]+|\"[^\"\n]*\"|'[^'\n]*')"
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(rf"\s*({_DOTTED})\s*=")


class Lines:
    """Line numbers, from 1 on, of the tables and keys of a text that is valid TOML.

    Keys that stand inside a value (an inline table) are those of the value's line. A line inside a
    string of several lines that looks like a key may be taken for one.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if found := _TABLE.match(line):
                table = _parts(found[1])
                self._note(table, number)
            elif found := _KEY.match(line):
                self._note(table + _parts(found[1]), number)

    def _note(self, path: tuple[str, ...], number: int) -> None:
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)

    def of(self, path: tuple[str, ...]) -> int:
        """Return the line of a key, or of the nearest thing that it stands in; 1 at worst."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return 1


def _parts(dotted: str) -> tuple[str, ...]:
    """Return a dotted key's parts, unquoted."""
    value: object = tomllib.loads(f"{dotted} = 0")
    parts: list[str] = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)
