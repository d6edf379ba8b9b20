"""The copy itself: what the threads of a job do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pyrep._core import Copier, LinkCore
from pyrep.engine.copyjob import CopyJob

__all__ = ["copying"]


def copying(
    link: LinkCore,
    finish: Callable[[CopyJob], None],
    *,
    before: Callable[[CopyJob], None] | None = None,
    onto_blank: bool = False,
) -> Callable[[CopyJob], None]:
    """Return the work of sending everything pending in `link`'s row, and then finishing.

    Args:
        link: the row's.
        finish: called when everything was sent.
        before: called first: it may find that not all that is pending needs sending.
        onto_blank: the target of a new remote pair is without data: zeros aren't sent.
    """

    def work(job: CopyJob) -> None:
        nonlocal onto_blank
        start_s = time.monotonic()
        job.total_bytes = link.pending.count() * link.chunk_bytes
        if before is not None:
            before(job)
        while True:
            with Copier(link, workers=job.workers) as copier:
                if onto_blank:
                    copier.expect_blank()
                _Crew(job, link, copier).run()
            if link.follow():
                break  # else hosts wrote what found no room, and left it to the copy
            onto_blank = False
        job.sent_s = time.monotonic() - start_s
        finish(job)

    return work


class _Crew:
    """The workers of one copy. The job's own thread is the first of them."""

    def __init__(self, job: CopyJob, link: LinkCore, copier: Copier) -> None:
        self._job = job
        self._link = link
        self._copier = copier
        self._failed = threading.Event()
        self._errors: list[Exception] = []

    def run(self) -> None:
        """Copy everything. Raises what the first worker that failed has raised."""
        others = [
            threading.Thread(
                target=self._copy, args=(worker,), name=f"copy {self._job.what} {worker}"
            )
            for worker in range(1, self._job.workers)
        ]
        for one in others:
            one.start()
        self._copy(0)
        for one in others:
            one.join()
        if self._errors:
            raise self._errors[0]

    def _copy(self, worker: int) -> None:
        try:
            self._send(worker)
        except Exception as error:  # noqa: BLE001 (raised by run)
            self._errors.append(error)
            self._failed.set()

    def _send(self, worker: int) -> None:
        job, copier = self._job, self._copier
        more = True
        while more and not self._failed.is_set():
            before, start_s = copier.progress_of(worker), time.monotonic()
            more = copier.run(job.batch_bytes, job.wake, worker=worker)
            after = copier.progress_of(worker)
            progress = copier.progress
            job.note(progress.copied_bytes, progress.data_bytes)
            if not self._link.pending.any():
                continue  # nobody rests for the sake of nothing
            job.breathe(
                took_s=time.monotonic() - start_s,
                sent_bytes=after.data_bytes - before.data_bytes,
                passes=after.passes - before.passes,
                crowded=after.crowded - before.crowded,
            )
