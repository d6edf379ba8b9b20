"""The acts of restoring: files (Fig. 5), the whole volume (Fig. 6); what crosses is counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from pyrep import Progress, RestoreReport
from pyrep.api import restore_report_from
from pyrep.cli.demo.courses import follow
from pyrep.cli.demo.images import count_differing_chunks, digest_chunks
from pyrep.cli.demo.inspection import DATABASE, Task
from pyrep.cli.demo.outcome import Check, Transfer
from pyrep.cli.demo.sites import FILES
from pyrep.cli.demo.stage import Stage
from pyrep.cli.demo.writing import BIG, TREE
from pyrep.model import format_bytes

__all__ = ["restore_files", "restore_volume"]

_COPY_BACK = {550, 670}


class _Meter:
    """Counts the chunks of 105a that a restore changes, and what has crossed at its end.

    Those are the chunks in which 105a and 105b differ when 550 or 670 begins: 105a is fenced from
    the beginning and equals 105b at the end, and 105b is written no more once data is copied back.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before_bytes = stage.sites.crossed_bytes()
        self._chunk_bytes = stage.sites.chunk_bytes(FILES)
        self._before = digest_chunks(stage.sites.image(FILES), self._chunk_bytes)
        self._copied_back = False

    def step(self, progress: Progress) -> None:
        """Pass progress on."""
        self._stage.step(progress)
        self._copied_back = self._copied_back or progress.step in _COPY_BACK

    def read(self, report: RestoreReport, *, figure: int) -> list[Check]:
        """Note the transfer and return whether it was as small as it has to be."""
        after = digest_chunks(self._stage.sites.image(FILES), self._chunk_bytes)
        transfer = Transfer(
            title=self._stage.title,
            figure=report.figure,
            chunk_count=count_differing_chunks(self._before, after),
            chunk_bytes=self._chunk_bytes,
            crossed_bytes=self._stage.sites.crossed_bytes() - self._before_bytes,
            volume_bytes=self._stage.scale.volume_bytes,
        )
        self._stage.outcome.transfers.append(transfer)
        return [
            _check_figure(report, figure, copied_back=self._copied_back),
            _check_limit(transfer),
        ]


def _check_figure(report: RestoreReport, figure: int, *, copied_back: bool) -> Check:
    differences = []
    if report.figure != figure:
        differences.append(f"Fig. {report.figure} was taken, not Fig. {figure}: {report.reason}")
    if not copied_back:
        differences.append("no step 550 or 670 was begun")
    return Check(what=f"restored by Fig. {figure}", differences=tuple(differences))


def _check_limit(transfer: Transfer) -> Check:
    crossed = format_bytes(transfer.crossed_bytes)
    limit = format_bytes(transfer.limit_bytes)
    over = transfer.crossed_bytes > transfer.limit_bytes
    return Check(
        what="bytes that crossed",
        extent=f"{crossed} of {limit} allowed",
        differences=(f"{crossed} crossed, {limit} are allowed",) if over else (),
    )


def restore_files(stage: Stage) -> Sequence[Task]:
    """Restore the tree, the database and the large file from generation 1."""
    paths = [TREE, DATABASE, BIG]
    first, expected = stage.expected.generations[0], stage.expected
    meter = _Meter(stage)
    since_ns = time.time_ns()
    job = stage.sites.b.restore(first.generation_id, FILES, paths)
    report = restore_report_from(follow(stage.sites.b, job, meter.step))
    expected.files.restore(first.files, paths, since_ns=since_ns, until_ns=time.time_ns())
    expected.database = first.database
    checks = meter.read(report, figure=5)
    return [lambda: checks]


def restore_volume(stage: Stage) -> Sequence[Task]:
    """Restore the whole volume from the last generation."""
    last, expected = stage.expected.generations[-1], stage.expected
    meter = _Meter(stage)
    job = stage.sites.b.restore(last.generation_id, FILES, whole=True)
    report = restore_report_from(follow(stage.sites.b, job, meter.step))
    expected.files = last.files.copy()
    expected.database = last.database
    checks = meter.read(report, figure=6)
    svol = stage.inspector.svol_of(last)
    return [
        lambda: checks,
        partial(stage.inspector.compare_images, f"{FILES}→{svol}"),
        *(partial(stage.inspector.compare_generation, one) for one in expected.generations),
    ]
