"""How values stand in columns: 64-bit unsigned numbers, times, JSON; and known ids in hints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pyrep.errors import FormatError, InvalidArgumentError

__all__ = [
    "decoding",
    "from_json",
    "from_signed",
    "from_text_time",
    "known_hint",
    "to_json",
    "to_pairs",
    "to_signed",
    "to_text_time",
]

_WRAP = 1 << 64
_SIGN = 1 << 63

_NAMED = 20
"""So many ids a hint names."""


def to_signed(number: int) -> int:
    """Return the signed 64-bit number with the bits of an unsigned one: SQLite has no other."""
    return number - _WRAP if number >= _SIGN else number


def from_signed(number: int) -> int:
    """Return the unsigned 64-bit number that `to_signed` stored."""
    return number + _WRAP if number < 0 else number


def to_text_time(time: datetime) -> str:
    """Return a time as text in UTC, to the microsecond; such texts sort as the times do."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def from_text_time(text: str) -> datetime:
    """Return the time that `to_text_time` stored, in UTC."""
    return datetime.fromisoformat(text).astimezone(UTC)


def to_json(value: object) -> str:
    """Return a value as JSON.

    Raises:
        InvalidArgumentError: JSON has no such value.
    """
    try:
        # ASCII, because a file name that isn't UTF-8 (a lone surrogate in a str) can be escaped in
        # it but can't be encoded as SQLite's text.
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"a value can't be stored: {error}") from error


def from_json(text: str) -> Any:  # noqa: ANN401 (JSON's own type)
    """Return the value that `to_json` stored; tuples come back as lists."""
    return json.loads(text)


def to_pairs(text: str) -> tuple[tuple[Any, str], ...]:
    """Return the pairs of strings stored as JSON, as the tuples they were."""
    return tuple((str(first), str(second)) for first, second in from_json(text))


def known_hint(kind: str, ids: Iterable[str]) -> str:
    """Return a hint that names the ids there are, the last ones if they are many."""
    known = sorted(ids)
    more = f" and {len(known) - _NAMED} before them" if len(known) > _NAMED else ""
    return f"known {kind}s: {', '.join(known[-_NAMED:]) or 'none'}{more}"


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Turn a value that no pyrep stored into FormatError while `what` is read."""
    try:
        yield
    except (ValueError, TypeError, KeyError, InvalidArgumentError) as error:
        raise FormatError(
            f"the stored record of {what} can't be read: {error}",
            hint="the system's database was changed by another program; put a copy of it back",
        ) from error
