"""Following a job step by step: none is left out, however quickly it passed."""

from __future__ import annotations

from typing import Any

from pyrep import Progress, ProgressCallback
from pyrep.api import Client, Job

__all__ = ["follow"]


def follow(client: Client, job: Job, tell: ProgressCallback) -> Any:
    """Wait for a job; tell each step that it has begun, once, and how far it is.

    Returns:
        The job's result.
    """
    told = 0

    def look(now: Job) -> None:
        nonlocal told
        for step, what in now.trail[told:]:
            tell(Progress(what=what, step=step))
        told = len(now.trail)
        if now.progress is not None and now.progress.total_bytes:
            tell(now.progress)

    return client.finish(job, look=look)
