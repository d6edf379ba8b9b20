"""Jobs: long operations of a served system, as its API tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from pyrep.api.failures import failure_from
from pyrep.engine import Progress
from pyrep.errors import PyrepError

__all__ = ["Job", "JobState"]


class JobState(StrEnum):
    """How far a job is."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job at one moment.

    Attributes:
        job_id: its id, of this run of the daemon.
        what: what it does, for people.
        state: how far it is.
        progress: what it told last; None: nothing yet.
        trail: the workflow's steps begun so far in their order, each with what it does.
        result: what the operation returned, once it is done.
        error: what it raised, once it failed or was cancelled.
        told: all that the API said.
    """

    job_id: str
    what: str
    state: JobState
    progress: Progress | None = None
    trail: tuple[tuple[int, str], ...] = ()
    result: Any = None
    error: PyrepError | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.state is not JobState.RUNNING

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Self:
        """Return the job that the API tells of."""
        failure = told.get("error")
        return cls(
            job_id=str(told["id"]),
            what=told.get("what", ""),
            state=JobState(told["state"]),
            progress=_progress_from(told.get("progress")),
            trail=tuple((one["step"], one["what"]) for one in told.get("trail") or ()),
            result=told.get("result"),
            error=failure_from(failure) if failure else None,
            told=told,
        )

    @property
    def steps(self) -> tuple[int, ...]:
        """The patent's numbers of the steps begun so far."""
        return tuple(step for step, _ in self.trail)

    def value(self) -> Any:
        """Return the result of one that is over. Raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.result


def _progress_from(told: dict[str, Any] | None) -> Progress | None:
    if not told:
        return None
    return Progress(
        what=told.get("what") or "",
        step=told.get("step"),
        done_bytes=told.get("done_bytes") or 0,
        total_bytes=told.get("total_bytes") or 0,
        rate_bytes_s=told.get("rate_bytes_s"),
        eta_s=told.get("eta_s"),
        compared_bytes=told.get("compared_bytes") or 0,
        sent_bytes=told.get("sent_bytes") or 0,
        final=told.get("final") or "",
    )
