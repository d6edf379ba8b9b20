"""Quantities as people type them: sizes and ages."""

from __future__ import annotations

import math
import re
from typing import Any

import click

from pyrep.model import GIB, KIB, MIB, TIB

__all__ = ["FiniteRange", "age", "format_duration", "size"]

_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class FiniteRange(click.FloatRange):
    """Numbers within bounds; `nan` and `inf`, which JSON has no words for, are none."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number. BadParameter: it is outside, or none."""
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value!r} is no number.", param, ctx)
        return found


def size(value: str | int) -> int:
    """Return bytes of a text with K, M, G or T (powers of 1024; KiB is taken too).

    Raises:
        BadParameter: it is something else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(value), re.IGNORECASE)
    if found is None:
        raise click.BadParameter(f"{value!r} is no size: 4096, 64K, 10G, 1.5T")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def age(value: str | float) -> float:
    """Return seconds of a text with s, m, h, d or w.

    Raises:
        BadParameter: it is something else.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", str(value))
    if found is None:
        raise click.BadParameter(f"{value!r} is no time: 90, 10m, 36h, 14d, 8w")
    return float(found[1]) * _AGES[found[2] or "s"]


def format_duration(seconds: float | None) -> str:
    """Return a time for people: `42 s`, `3 min 20 s`, `2 h 5 min`; `-` when nobody knows."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
