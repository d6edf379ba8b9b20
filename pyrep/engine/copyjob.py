"""A job: threads that work at one pair until it is done, with progress, pace, pause and cancel."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from pyrep._core import Wake
from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.engine.meter import Meter
from pyrep.engine.pacer import Pacer
from pyrep.errors import CancelledError, PathLostError, PyrepError, RefusedError, TimedOutError
from pyrep.model import CopyRate, check_copy_workers

__all__ = ["CopyJob"]

_log = logging.getLogger(__name__)

_POLL_S = 0.05
_SLICE_S = 0.2


class CopyJob:
    """The copy of one pair (steps 460, 550, 650, 670).

    It ends early on cancel, on the system's close, and when the link breaks; what wasn't sent stays
    pending, and the pair stays in COPY in its direction. Paused, it does all that as well.

    A pause isn't durable: a system that is opened goes on with its copies.

    Attributes:
        what: the copy, in the user's words.
        workers: threads that copy.
        done_bytes: bytes of chunks sent so far, holes included.
        total_bytes: bytes of chunks that were pending at the start.
        compared_bytes: bytes of chunks whose digests were compared with the target's.
        equal_bytes: of these, what wasn't sent because the target has it.
        sent_bytes: bytes sent as data: neither zeros nor equal.
        sent_s: how long it took until the last byte was written, pauses included; None before.
    """

    def __init__(
        self,
        *,
        what: str,
        work: Callable[[CopyJob], None],
        ended: Callable[[PyrepError | None], None],
        rate: CopyRate | None = None,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.workers = check_copy_workers(workers)
        self.done_bytes = 0
        self.total_bytes = 0
        self.compared_bytes = 0
        self.equal_bytes = 0
        self.sent_bytes = 0
        self.sent_s: float | None = None
        self._work_of = work
        self._ended = ended
        self._clock = clock
        self._wake = Wake()
        self._done = threading.Event()
        self._error: PyrepError | None = None
        self._reason: PyrepError | None = None
        self._moved = threading.Condition()
        self._pacer = Pacer(rate or CopyRate(), workers=workers)
        self._meter = Meter()
        self._paused = False
        self._thread = threading.Thread(target=self._work, name=f"copy {what}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _work(self) -> None:
        try:
            self._work_of(self)
        except PyrepError as error:
            stopped = isinstance(error, (CancelledError, PathLostError))
            self._error = self._reason if stopped and self._reason else error
            _log.info("copy.stopped what=%s why=%s", self.what, error)
        except Exception as error:  # noqa: BLE001 (told to who waits)
            _log.exception("copy.failed what=%s", self.what)
            self._error = PyrepError(
                f"{self.what} failed: {error!r}",
                hint="this is a fault of pyrep's own: its log has it whole",
            )
        finally:
            try:
                self._ended(self._error)
            finally:
                self._done.set()
                with self._moved:
                    self._moved.notify_all()

    # --- what users ask for ----------------------------------------------------------------------

    def cancel(self, reason: PyrepError | None = None) -> None:
        """Stop soon; `wait` then raises CancelledError unless the copy was done before.

        Args:
            reason: what `wait` raises instead.
        """
        self._reason = self._reason or reason
        self._wake.set()
        with self._moved:
            self._moved.notify_all()

    def pause(self) -> None:
        """Send nothing more until `resume`; what is being sent still goes (some MiB). Idempotent.

        Hosts go on: what they write is marked or passed on as before. The pair stays in COPY.
        """
        self._set_paused(paused=True)

    def resume(self) -> None:
        """Go on after a pause. Idempotent."""
        self._set_paused(paused=False)

    def _set_paused(self, *, paused: bool) -> None:
        with self._moved:
            if self._paused != paused and not self._done.is_set():
                _log.info("copy.%s what=%s", "pause" if paused else "resume", self.what)
            self._paused = paused
            self._meter.restart()
            self._moved.notify_all()

    @property
    def is_paused(self) -> bool:
        """Whether it was paused, and not resumed since."""
        return self._paused

    @property
    def rate(self) -> CopyRate:
        """The bounds of its rate; may be set while it runs."""
        return self._pacer.rate

    @rate.setter
    def rate(self, rate: CopyRate) -> None:
        with self._moved:
            self._pacer.change(rate)
            self._moved.notify_all()

    @property
    def wake(self) -> Wake:
        """What ends the job's waits."""
        return self._wake

    @property
    def is_stopping(self) -> bool:
        """Whether it won't come to its end, or has ended: the copy needs another job."""
        return self._wake.is_set() or self._done.is_set()

    @property
    def is_done(self) -> bool:
        """Whether its thread has nothing left to do."""
        return self._done.is_set()

    def progress(self) -> Progress:
        """Return how far it is, how fast it goes and how long it will take.

        The rate is smoothed over some seconds, of calls of this; rate and time left are None until
        they are known, the time left also in a pause.
        """
        with self._moved:
            done_bytes = self.done_bytes
            rate = self._meter.see(self._clock(), done_bytes)
            left_s = None if self._paused else self._meter.left_s(self.total_bytes - done_bytes)
        return Progress(
            what=self.what,
            done_bytes=done_bytes,
            total_bytes=self.total_bytes,
            rate_bytes_s=rate,
            eta_s=left_s,
            compared_bytes=self.compared_bytes,
            sent_bytes=self.sent_bytes,
        )

    def wait(
        self,
        timeout_s: float | None = None,
        *,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Wait until the pair has reached the copy's end; a paused copy doesn't come there.

        Args:
            timeout_s: seconds; None waits for ever. The copy goes on past it.
            progress: called about 20 times a second, and once at the end.
            cancel: stops the copy.

        Raises:
            TimedOutError: the copy goes on.
            CancelledError, PathLostError, DeviceError: why it stopped; the pair stays in COPY.
        """
        left = timeout_s
        while not self._done.wait(_POLL_S if left is None else min(_POLL_S, max(left, 0))):
            self._report(progress)
            if cancel is not None and cancel.is_cancelled:
                self.cancel()
            if left is not None:
                left -= _POLL_S
                if left <= 0 and not self._done.is_set():
                    raise TimedOutError(
                        f"{self.what}: not done after {timeout_s} s",
                        hint="it goes on: wait for it again",
                    )
        self._report(progress)
        if self._error:
            raise self._error

    def wait_unless_paused(
        self,
        doing: str,
        timeout_s: float | None = None,
        *,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Wait for the copy on behalf of something else that can't begin before.

        Args:
            doing: what can't be done, as a message begins: "cannot back up …".
            timeout_s: as `wait`.
            progress: as `wait`, some times a second.
            cancel: ends the wait; the copy goes on.

        Raises:
            RefusedError: the copy is paused: nobody knows for how long.
            As `wait`.
        """
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _SLICE_S if end_s is None else max(end_s - time.monotonic(), 0.0)
            with self._moved:
                slice_s = min(left_s, _SLICE_S)
                if self._moved.wait_for(lambda: self._paused or self._done.is_set(), slice_s):
                    break
            if end_s is not None and time.monotonic() >= end_s:
                raise TimedOutError(
                    f"{self.what}: not done after {timeout_s} s",
                    hint="it goes on: wait for it again",
                )
            self._report(progress)
            if cancel is not None:
                cancel.check(doing)
        with self._moved:
            if not self._done.is_set():
                raise RefusedError(
                    f"{doing}: the copy of {self.what} is paused",
                    hint="go on with that copy, pair.resume_copy(), or end it, pair.split()",
                )
        self.wait()

    def _report(self, progress: ProgressCallback | None) -> None:
        if progress:
            progress(self.progress())

    def close(self) -> None:
        """Stop and join."""
        self.cancel()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def was_cancelled(self) -> bool:
        """Whether it ended because somebody asked."""
        return isinstance(self._error, CancelledError)

    # --- what workers ask for --------------------------------------------------------------------

    @property
    def batch_bytes(self) -> int:
        """How much a worker sends before it comes back to `breathe`."""
        return self._pacer.batch_bytes

    def note(self, copied_bytes: int, sent_bytes: int = 0) -> None:
        """Note what all workers have copied, and what of that was sent as data."""
        with self._moved:
            self.done_bytes = max(self.done_bytes, self.equal_bytes + copied_bytes)
            self.sent_bytes = max(self.sent_bytes, sent_bytes)

    def note_compared(self, compared_bytes: int, *, equal_bytes: int) -> None:
        """Note that so much more was compared, and found equal: that is done."""
        with self._moved:
            self.compared_bytes += compared_bytes
            self.equal_bytes += equal_bytes
            self.done_bytes += equal_bytes

    def check(self) -> None:
        """Raise CancelledError if it shall stop."""
        if self._wake.is_set():
            raise CancelledError(f"{self.what}: cancelled")

    def breathe(self, *, took_s: float, sent_bytes: int, passes: int, crowded: int) -> None:
        """Rest as the pace wants it, and as long as the job is paused. Ends at once on cancel.

        The numbers are the worker's own, of its last batch.
        """
        with self._moved:
            now_s = self._clock()
            rate = self._pacer.rate
            rest_s = self._pacer.rest_s(
                now_s=now_s, took_s=took_s, sent_bytes=sent_bytes, passes=passes, crowded=crowded
            )
            if rest_s > 0:
                self._moved.wait_for(
                    lambda: self._wake.is_set() or self._pacer.rate is not rate, rest_s
                )
            self._moved.wait_for(lambda: self._wake.is_set() or not self._paused)
