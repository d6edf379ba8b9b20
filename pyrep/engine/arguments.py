"""Arguments of public calls: what isn't of the right kind is refused in words."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

from pyrep.errors import InvalidArgumentError

__all__ = ["check_timeout", "one_of", "several"]

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


def check_timeout(timeout_s: object) -> None:
    """Raise InvalidArgumentError for what is no time to wait, in seconds; None is for ever."""
    if timeout_s is None:
        return
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise InvalidArgumentError(f"a time-out of {timeout_s!r} s can't be")


def one_of(kind: type[E], value: str) -> E:
    """Return the member of an enum. InvalidArgumentError names those there are."""
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(one.value for one in kind)
        raise InvalidArgumentError(f"{value!r} is none of: {known}") from error


def several(what: str, values: Iterable[T]) -> list[T]:
    """Return what was given as several. InvalidArgumentError: it is one, or none of them."""
    asked: object = values
    if isinstance(asked, str | bytes) or not isinstance(asked, Iterable):
        raise InvalidArgumentError(
            f"{what} are named as a list, not by {values!r}", hint=f"a list: [{values!r}]"
        )
    return list(values)
