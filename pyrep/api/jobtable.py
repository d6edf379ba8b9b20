"""The jobs of a served system: a thread each, with progress, cancel and the result kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pyrep.api.failures import failure_to
from pyrep.api.jobs import JobState
from pyrep.engine import Cancel, Progress, ProgressCallback
from pyrep.errors import CancelledError, NotFoundError, PyrepError

__all__ = ["JobTable", "RunningJob", "Work"]

_log = logging.getLogger(__name__)

Work = Callable[[ProgressCallback, Cancel], Any]
"""What a job does; it returns JSON-able data."""

_KEPT = 200
"""Jobs that have ended are remembered, so many."""


class RunningJob:
    """One job. All may be called from any thread."""

    def __init__(self, job_id: str, what: str, work: Work) -> None:
        self.job_id = job_id
        self._what = what
        self._work = work
        self._cancel = Cancel()
        self._state = JobState.RUNNING
        self._progress: Progress | None = None
        self._trail: list[tuple[int, str]] = []
        self._result: Any = None
        self._error: PyrepError | None = None
        self._began_at = datetime.now(UTC)
        self._ended_at: datetime | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"job {job_id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    def cancel(self) -> None:
        """Ask it to end at its next good point."""
        self._cancel.cancel()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end, at most so long."""
        self._over.wait(timeout_s)

    def check(self) -> None:
        """Raise what it raised, if it has failed already."""
        if self.is_over and self._error is not None:
            raise self._error

    def close(self) -> None:
        """Cancel it and wait for its end."""
        self.cancel()
        self._thread.join()

    def to_json(self) -> dict[str, Any]:
        """Return what is known of it."""
        progress = self._progress
        return {
            "id": self.job_id,
            "what": self._what,
            "state": self._state.value,
            "progress": None if progress is None else _progress_json(progress),
            "steps": [step for step, _ in self._trail],
            "trail": [{"step": step, "what": what} for step, what in self._trail],
            "result": self._result,
            "error": None if self._error is None else failure_to(self._error),
            "began_at": self._began_at.isoformat(),
            "ended_at": None if self._ended_at is None else self._ended_at.isoformat(),
        }

    def _tell(self, progress: Progress) -> None:
        self._progress = progress
        if progress.step is not None:
            here = (progress.step, progress.what)
            if not self._trail or self._trail[-1][0] != progress.step:
                self._trail.append(here)

    def _run(self) -> None:
        state = JobState.DONE
        try:
            self._result = self._work(self._tell, self._cancel)
        except PyrepError as error:
            self._error = error
            state = _state_after(error, was_cancelled=self._cancel.is_cancelled)
        except Exception as error:  # noqa: BLE001 (a bug: told to who asked, and logged whole)
            _log.exception("job.failed job=%s what=%s", self.job_id, self._what)
            self._error = PyrepError(
                f"{self._what} failed: {error!r}",
                hint="this is a fault of pyrep's own: its log has it whole",
            )
            state = JobState.FAILED
        self._ended_at = datetime.now(UTC)
        self._state = state
        self._over.set()
        _log.info("job.end job=%s state=%s what=%s", self.job_id, state.value, self._what)


def _state_after(error: PyrepError, *, was_cancelled: bool) -> JobState:
    cause = error.__cause__
    by_cancel = isinstance(error, CancelledError) or isinstance(cause, CancelledError)
    return JobState.CANCELLED if by_cancel and was_cancelled else JobState.FAILED


def _progress_json(progress: Progress) -> dict[str, Any]:
    return {
        "what": progress.what,
        "step": progress.step,
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "rate_bytes_s": progress.rate_bytes_s,
        "eta_s": progress.eta_s,
        "compared_bytes": progress.compared_bytes,
        "sent_bytes": progress.sent_bytes,
        "final": progress.final,
    }


class JobTable:
    """The jobs that run and the last that have ended, by number. Ids are of this process's run."""

    def __init__(self) -> None:
        self._jobs: dict[str, RunningJob] = {}
        self._count = 0
        self._lock = threading.Lock()

    def start(self, what: str, work: Work) -> RunningJob:
        """Begin a job; return it."""
        with self._lock:
            self._count += 1
            job = RunningJob(f"{self._count}", what, work)
            self._jobs[job.job_id] = job
            ended = [one for one in self._jobs.values() if one.is_over]
            for one in ended[: max(0, len(ended) - _KEPT)]:
                del self._jobs[one.job_id]
        _log.info("job.begin job=%s what=%s", job.job_id, what)
        job.start()
        return job

    def get(self, job_id: str) -> RunningJob:
        """Return a job. NotFoundError: there is none of this id, or it ended long ago."""
        with self._lock:
            found = self._jobs.get(job_id)
        if found is None:
            raise NotFoundError(
                f"there is no job {job_id}", hint="ids are new in each run of the daemon: list them"
            )
        return found

    def all(self) -> list[RunningJob]:
        """Return all of them, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def cancel(self, timeout_s: float) -> bool:
        """Cancel all, wait so long for their ends; return whether all have ended."""
        running = [one for one in self.all() if not one.is_over]
        for one in running:
            one.cancel()
        end_s = time.monotonic() + timeout_s
        for one in running:
            one.wait(max(0.0, end_s - time.monotonic()))
        return all(one.is_over for one in running)

    def close(self) -> None:
        """Cancel all and wait for their ends."""
        running = [one for one in self.all() if not one.is_over]
        for one in running:
            one.cancel()
        for one in running:
            one.close()
