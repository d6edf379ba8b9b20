"""What copies of remote pairs begin with, whichever way they go, and the jobs that they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pyrep.engine.copyjob import CopyJob
from pyrep.engine.decide import name_of
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_failures import RemoteFailures
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.remote_meeting import Met, RemoteMeetings, Will
from pyrep.engine.state import SystemState
from pyrep.errors import CancelledError, DeviceError, PyrepError, RefusedError
from pyrep.model import (
    Comparison,
    CopyPace,
    Direction,
)

__all__ = ["RemoteCopyJobs", "pace_of", "running_copy"]


class RemoteCopyJobs:
    """Begins copies of remote pairs at the primary; the pair's operation is held.

    Attributes:
        meetings: what both sides hold, by their data identifiers.
        failures: told when a copy has failed.
    """

    def __init__(self, state: SystemState, line: RemoteLine, failures: RemoteFailures) -> None:
        self._state = state
        self.meetings = RemoteMeetings(state, line)
        self.failures = failures

    def met(self, mirror: Mirror, direction: Direction, will: Will) -> Met:
        """Return what the two sides are to each other, if this copy may begin."""
        met = self.meetings.read(mirror)
        try:
            self.meetings.require(mirror, met, direction, will)
        except RefusedError:
            if will.by_itself:  # the operation is held
                self.meetings.note_split_brain(mirror, met)
            raise
        return met

    def comparison(self, mirror: Mirror, pace: CopyPace | None) -> Comparison | None:
        """Return how to compare before this copy; None: everything is sent."""
        options = self._state.options
        asked = (pace and pace.compare) or options.compare
        return asked.plan(overmarked=mirror.is_overmarked, by_itself=options.compare_by)

    def start(
        self, mirror: Mirror, work: Callable[[CopyJob], None], pace: CopyPace | None
    ) -> CopyJob:
        """Start the pair's job; it has its end written down."""
        state = self._state
        asked = pace or CopyPace()

        def ended(error: PyrepError | None) -> None:
            with state.control:
                mirror.job = None
                # Of a copy back the other side may tell of the lost path as of a cancel of its own.
                by_command = isinstance(error, CancelledError) and job.wake.is_set()
                unfinished = replace(asked, rate=job.rate, rests=job.is_paused)
                mirror.pace = None if error is None or by_command else unfinished
                mirror.failed = isinstance(error, DeviceError)
                mirror.stopped = isinstance(error, CancelledError) and not state.closing
            if error is not None and not state.closing:
                self.failures.refresh()

        job = CopyJob(
            what=name_of(mirror.row, state.system_id),
            work=work,
            ended=ended,
            rate=asked.rate or state.options.copy_rate,
            workers=asked.workers or 1,
        )
        if asked.rests:
            job.pause()
        with state.control:
            mirror.job, mirror.failed, mirror.stopped = job, False, False
        job.start()
        return job


def pace_of(mirror: Mirror, will: Will | None, pace: CopyPace | None) -> CopyPace | None:
    """Return a copy's pace: what goes on by itself goes on as the copy that was interrupted.

    Whoever has given it a rate or paused it, to spare the path or the hosts, wasn't asked again.
    """
    return mirror.pace if will is not None and will.by_itself else pace


def running_copy(mirror: Mirror) -> CopyJob | None:
    """Return the pair's copy if it will come to its end; one that won't has ended then."""
    job = mirror.job
    if job is None or not job.is_stopping:
        return job
    job.close()
    return None
