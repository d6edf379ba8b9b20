"""Answers as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyrep.model import format_bytes

__all__ = ["Column", "print_facts", "print_table", "text_of"]

Column = tuple[str, str]
"""Heading, and the name of the field; a field ending in `_bytes` is a size."""

_STYLES = {
    "DUPLEX": "green",
    "COPY": "cyan",
    "SPLIT": "yellow",
    "up": "green",
    "down": "red",
    "done": "green",
    "failed": "red",
    "stopped": "yellow",
    "paused": "yellow",
    "running": "cyan",
    "complete": "green",
}


def text_of(name: str, value: Any) -> Text:
    """Return a value as a cell: nothing for none, sizes in units, statuses in their colour."""
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int) and name.endswith("_bytes"):
        return Text(format_bytes(value))
    if isinstance(value, float) and name.endswith("_bytes_s"):
        return Text(f"{format_bytes(int(value))}/s")
    if isinstance(value, float):
        return Text(f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}")
    if isinstance(value, list):
        return Text(", ".join(text_of(name, one).plain for one in value))
    if isinstance(value, Mapping):
        return Text(", ".join(f"{key}={one}" for key, one in value.items()))
    return Text(str(value), style=_STYLES.get(str(value), ""))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def print_table(
    console: Console,
    columns: Sequence[Column],
    rows: Iterable[Mapping[str, Any]],
    *,
    nothing: str,
) -> None:
    """Print rows as a table, or the sentence when there are none; an empty column is left out."""
    found = list(rows)
    if not found:
        console.print(nothing, markup=False, soft_wrap=True)
        return
    table = Table(box=SIMPLE_HEAD)
    used = [
        (heading, name)
        for index, (heading, name) in enumerate(columns)
        if index == 0 or any(text_of(name, row.get(name)).plain for row in found)
    ]
    for heading, name in used:
        numbers = all(_is_number(row.get(name)) for row in found if row.get(name) is not None)
        table.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in found:
        table.add_row(*(text_of(name, row.get(name)) for _, name in used))
    console.print(table)


def print_facts(console: Console, facts: Mapping[str, Any], *, prefix: str = "") -> None:
    """Print all fields of an object, a line each; objects inside it below their name."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        label = f"{prefix}{name.replace('_', ' '):{width}}  "
        if isinstance(value, Mapping):
            console.print(Text(f"{prefix}{name.replace('_', ' ')}"))
            print_facts(console, value, prefix=f"{prefix}    ")
        elif isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
            console.print(Text(f"{prefix}{name.replace('_', ' ')}"))
            for one in value:
                line = ", ".join(f"{key}={text_of(key, each).plain}" for key, each in one.items())
                console.print(Text(f"{prefix}    {line}"), soft_wrap=True)
        else:
            console.print(Text.assemble(label, text_of(name, value)), soft_wrap=True)
