"""A job: a thread that works at one pair until it is done, with progress and cancel."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pyrep._core import Copier, LinkCore, Wake
from pyrep.engine.cancel import Cancel, Progress, ProgressCallback
from pyrep.errors import CancelledError, PathLostError, PyrepError, TimedOutError

__all__ = ["CopyJob", "copying"]

_log = logging.getLogger(__name__)

_BATCH_BYTES = 16 << 20
_POLL_S = 0.05


class CopyJob:
    """The copy of one pair (steps 460, 550, 650, 670).

    It ends early on cancel, on the system's close, and when the link breaks; what wasn't sent stays
    pending, and the pair stays in COPY in its direction.

    Attributes:
        what: the copy, in the user's words.
        done_bytes: bytes of chunks sent so far, holes included.
        total_bytes: bytes of chunks that were pending at the start.
    """

    def __init__(
        self,
        *,
        what: str,
        work: Callable[[CopyJob], None],
        ended: Callable[[PyrepError | None], None],
    ) -> None:
        self.what = what
        self.done_bytes = 0
        self.total_bytes = 0
        self._work_of = work
        self._ended = ended
        self._wake = Wake()
        self._done = threading.Event()
        self._error: PyrepError | None = None
        self._reason: PyrepError | None = None
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
            self._error = PyrepError(f"{self.what} failed: {error!r}")
        finally:
            try:
                self._ended(self._error)
            finally:
                self._done.set()

    def cancel(self, reason: PyrepError | None = None) -> None:
        """Stop soon; `wait` then raises CancelledError unless the copy was done before.

        Args:
            reason: what `wait` raises instead.
        """
        self._reason = self._reason or reason
        self._wake.set()

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

    def wait(
        self,
        timeout_s: float | None = None,
        *,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """Wait until the pair has reached the copy's end.

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
                    raise TimedOutError(f"{self.what}: not done after {timeout_s} s")
        self._report(progress)
        if self._error:
            raise self._error

    def _report(self, progress: ProgressCallback | None) -> None:
        if progress:
            progress(
                Progress(what=self.what, done_bytes=self.done_bytes, total_bytes=self.total_bytes)
            )

    def close(self) -> None:
        """Stop and join."""
        self.cancel()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    @property
    def was_cancelled(self) -> bool:
        """Whether it ended because somebody asked."""
        return isinstance(self._error, CancelledError)


def copying(link: LinkCore, finish: Callable[[CopyJob], None]) -> Callable[[CopyJob], None]:
    """Return the work of sending everything pending in `link`'s row, and then finishing."""

    def work(job: CopyJob) -> None:
        job.total_bytes = link.pending.count() * link.chunk_bytes
        with Copier(link) as copier:
            more = True
            while more:
                more = copier.run(_BATCH_BYTES, job.wake)
                job.done_bytes = copier.progress.copied_bytes
        finish(job)

    return work
