"""Paths that are lost and stall, for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pyrep.interconnect import LoopPath
from pyrep.testing.simulated import SimulatedPath

__all__ = ["LoopPath", "lost", "stalled"]


@contextlib.contextmanager
def lost(path: LoopPath | SimulatedPath) -> Iterator[None]:
    """Cut the path; bring it back at the end."""
    path.cut()
    yield
    path.connect()


@contextlib.contextmanager
def stalled(path: LoopPath | SimulatedPath) -> Iterator[None]:
    """Let frames wait, commands still pass; let them go at the end, unless it was cut."""
    path.stall()
    try:
        yield
    finally:
        path.resume()
