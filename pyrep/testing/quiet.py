"""Waiting until systems have nothing left to do by themselves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from pyrep.engine import StorageSystem
from pyrep.errors import PyrepError, TimedOutError

__all__ = ["wait_quiet", "wait_until"]

_POLL_S = 0.001


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something is so that nobody tells of.

    Raises:
        TimedOutError: it isn't.
    """
    end = time.monotonic() + timeout_s
    pause = threading.Event()
    while not is_so():
        if time.monotonic() > end:
            raise TimedOutError(f"not so after {timeout_s} s")
        pause.wait(_POLL_S)


def wait_quiet(*systems: StorageSystem, timeout_s: float = 60.0) -> None:
    """Wait until no copy and no automatic resume runs in any of the systems.

    Don't call it while a path is stalled: what waits for the path isn't quiet before the path's
    time-out.

    Raises:
        TimedOutError: something still runs; the message names it.
    """
    end = time.monotonic() + timeout_s
    while True:
        busy = [name for system in systems for name in _join_one(system, end)]
        if not busy:
            return
        if time.monotonic() > end:
            raise TimedOutError(f"not quiet after {timeout_s} s: {', '.join(busy)} still runs")


def _join_one(system: StorageSystem, end: float) -> list[str]:
    """Wait for what runs at this moment; return its names (empty: it was quiet)."""
    state = system.state
    with state.control:
        if state.closing:
            return []
        threads = [one for one in state.threads if one.is_alive()]
        jobs = [one.job for one in state.mirrors.values() if one.job and not one.job.is_done]
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for job in jobs:
        with contextlib.suppress(PyrepError):  # how it ended is in the rows
            job.wait(max(0.0, end - time.monotonic()))
    return [thread.name for thread in threads] + [job.what for job in jobs]
