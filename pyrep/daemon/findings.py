"""What is wrong in a configuration file: all of it, with lines, before anything is opened."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from pyrep.daemon.tomllines import Lines
from pyrep.errors import InvalidArgumentError, PyrepError

__all__ = ["Findings", "table_of"]

T = TypeVar("T", bound=msgspec.Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`$")
_MISSING = re.compile(r"Object missing required field `(.*)`$")
_AT = re.compile(r"^(?P<why>.*?)(?: - at `\$\.?(?P<key>[^`]*)`)?$", re.DOTALL)


class Findings:
    """Collects errors, and raises them all at the end."""

    def __init__(self, file: Path, lines: Lines) -> None:
        self._file = file
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    @property
    def any(self) -> bool:
        """Whether anything was noted."""
        return bool(self._found)

    def add(self, path: tuple[str, ...], why: str) -> None:
        """Note that something is wrong with a table or key."""
        self._found.append((self._lines.of(path), f"{_name(path)}: {why}"))

    @contextmanager
    def at(self, *path: str) -> Iterator[None]:
        """Note what is raised inside as wrong with this table or key."""
        try:
            yield
        except PyrepError as error:
            self.add(path, f"{error} ({error.hint})" if error.hint else str(error))

    def take(self, value: object, kind: type[T], path: tuple[str, ...]) -> T | None:
        """Return a table as a structure; None, and noted why, if it isn't one."""
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            found = _AT.match(str(error))
            why, key = (found["why"], found["key"] or "") if found else (str(error), "")
            parts = tuple(part for part in re.split(r"\.|\[.*\]", key) if part)
            if unknown := _UNKNOWN.match(why):
                self.unknown((*path, *parts, unknown[1]), kind.__struct_fields__)
            elif missing := _MISSING.match(why):
                self.add((*path, missing[1]), "it is missing")
            else:
                choices = _choices(get_type_hints(kind).get(parts[0])) if parts else []
                told = f"; one of {', '.join(choices)}" if choices else ""
                self.add((*path, *parts), why[:1].lower() + why[1:] + told)
        return None

    def unknown(self, path: tuple[str, ...], known: tuple[str, ...]) -> None:
        """Note a key that nobody knows, with the one that was meant, perhaps."""
        near = difflib.get_close_matches(path[-1], known, n=1)
        meant = f"is {near[0]} meant?" if near else f"there are {', '.join(known)}"
        self.add(path, f"nobody knows this key; {meant}")

    def raise_if_any(self) -> None:
        """Raise InvalidArgumentError if anything was noted: a line for each."""
        if self._found:
            texts = [f"{self._file}:{line}: {text}" for line, text in sorted(self._found)]
            raise InvalidArgumentError(
                "\n".join(texts), hint="docs/serve.md has all keys; --check only looks at the file"
            )


def _choices(kind: object) -> list[str]:
    """Return the words that a key may be, if it may be only some."""
    if get_origin(kind) is Literal:
        return [str(one) for one in get_args(kind)]
    if isinstance(kind, type):
        return [str(one.value) for one in kind] if issubclass(kind, Enum) else []
    return [word for one in get_args(kind) for word in _choices(one)]


def _name(path: tuple[str, ...]) -> str:
    if not path:
        return "the file"
    return f"[{'.'.join(path[:-1])}] {path[-1]}" if len(path) > 1 else f"[{path[0]}]"


def table_of(value: object) -> dict[str, Any]:
    """Return a table's keys; none if it is something else, which is noted elsewhere."""
    return value if isinstance(value, dict) else {}
