"""The acts of restoring: files (Fig. 5), the whole volume (Fig. 6); what crosses is counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from pyrep import Progress, RestoreReport, restore
from pyrep.cli.demo.images import count_differing_chunks
from pyrep.cli.demo.inspection import DATABASE, Task
from pyrep.cli.demo.outcome import Check, Transfer
from pyrep.cli.demo.sites import FILES
from pyrep.cli.demo.stage import Stage
from pyrep.cli.demo.writing import BIG, TREE
from pyrep.model import format_bytes

__all__ = ["restore_files", "restore_volume"]

_COPY_BACK = {550, 670}


class _Meter:
    """Counts what differs when data begins to be copied back, and what has crossed at the end."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._before_bytes = stage.sites.path.frame_bytes
        self._chunk_count: int | None = None

    @property
    def _chunk_bytes(self) -> int:
        pair = self._stage.sites.remote_of(FILES)
        return pair.row.chunk_bytes

    def step(self, progress: Progress) -> None:
        """Pass progress on. Both volumes stand still at 550 and 670: 105a is fenced, 105b held."""
        self._stage.step(progress)
        if progress.step in _COPY_BACK and self._chunk_count is None:
            sites = self._stage.sites
            one, other = sites.image(FILES), sites.image(sites.secondary_of(FILES))
            self._chunk_count = count_differing_chunks(one, other, self._chunk_bytes)

    def read(self, report: RestoreReport, *, figure: int) -> list[Check]:
        """Note the transfer and return whether it was as small as it has to be."""
        transfer = Transfer(
            title=self._stage.title,
            figure=report.figure,
            chunk_count=self._chunk_count or 0,
            chunk_bytes=self._chunk_bytes,
            crossed_bytes=self._stage.sites.path.frame_bytes - self._before_bytes,
            volume_bytes=self._stage.scale.volume_bytes,
        )
        self._stage.outcome.transfers.append(transfer)
        return [_check_figure(report, figure, counted=self._chunk_count), _check_limit(transfer)]


def _check_figure(report: RestoreReport, figure: int, *, counted: int | None) -> Check:
    differences = []
    if report.figure != figure:
        differences.append(f"Fig. {report.figure} was taken, not Fig. {figure}: {report.reason}")
    if counted is None:
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
    report = restore(stage.sites.b, first.generation_id, FILES, paths, progress=meter.step)
    expected.files.restore(first.files, paths, since_ns=since_ns, until_ns=time.time_ns())
    expected.database = first.database
    checks = meter.read(report, figure=5)
    return [lambda: checks]


def restore_volume(stage: Stage) -> Sequence[Task]:
    """Restore the whole volume from the last generation."""
    last, expected = stage.expected.generations[-1], stage.expected
    meter = _Meter(stage)
    report = restore(stage.sites.b, last.generation_id, FILES, whole=True, progress=meter.step)
    expected.files = last.files.copy()
    expected.database = last.database
    checks = meter.read(report, figure=6)
    svol = stage.inspector.svol_of(last)
    return [
        lambda: checks,
        partial(stage.inspector.compare_images, f"{FILES}→{svol}"),
        *(partial(stage.inspector.compare_generation, one) for one in expected.generations),
    ]
