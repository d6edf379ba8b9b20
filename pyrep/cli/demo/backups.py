"""The act of a backup, while numbered records are written to both volumes (Fig. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pyrep import BackupReport
from pyrep.api import backup_report_from
from pyrep.cli.demo.courses import follow
from pyrep.cli.demo.expected import Frozen, note_ring
from pyrep.cli.demo.inspection import Task, check_one_point
from pyrep.cli.demo.outcome import BackupOutcome, Check
from pyrep.cli.demo.records import RecordWriter
from pyrep.cli.demo.sites import FILES, RECORDS
from pyrep.cli.demo.stage import Stage
from pyrep.model import Generation, PairStatus

__all__ = ["take_backup"]

_HOLD_MAX_MS = 5000.0
"""Ten times the default: a machine that is busy with something else is no reason to refuse."""


def take_backup(stage: Stage) -> Sequence[Task]:
    """Take a generation of both volumes at one point; return what is to be compared besides."""
    expected, scale = stage.expected, stage.scale
    name = f"generation {len(expected.generations) + 1}"
    moments = len(stage.timeline.moments)
    writer = RecordWriter(stage.places, slots=scale.record_slots, first=expected.record_count + 1)
    with writer:
        before = writer.wait_for(scale.records_around)
        job = stage.sites.a.backup([FILES, RECORDS], label=name, hold_max_ms=_HOLD_MAX_MS)
        report = backup_report_from(follow(stage.sites.a, job, stage.step))
        writer.wait_for(scale.records_around)
    counts, one_point = check_one_point(
        stage.inspector.read_rings(report.generation.generation_id),
        before=before,
        after=writer.count,
    )
    frozen = _freeze(stage, report.generation, title=name, ring_count=counts[1])
    expected.generations.append(frozen)
    expected.record_count = writer.count
    note_ring(expected.files, writer.count, scale.record_slots)
    stage.outcome.backups.append(
        _outcome(name, report, counts=counts, around=(before, writer.count))
    )
    remote = _check_remote(stage, report.generation, since=moments)
    return [
        lambda: [one_point, remote],
        partial(stage.inspector.compare_generation, frozen),
    ]


def _outcome(
    title: str, report: BackupReport, *, counts: tuple[int, int], around: tuple[int, int]
) -> BackupOutcome:
    return BackupOutcome(
        title=title,
        report=report,
        first_count=counts[0],
        second_count=counts[1],
        before_count=around[0],
        after_count=around[1],
    )


def _freeze(stage: Stage, generation: Generation, *, title: str, ring_count: int) -> Frozen:
    files = stage.expected.files.copy()
    note_ring(files, ring_count, stage.scale.record_slots)
    return Frozen(
        generation_id=generation.generation_id,
        title=title,
        files=files,
        database=stage.expected.database,
        digests=stage.inspector.digest([member.svol for member in generation.members]),
    )


def _check_remote(stage: Stage, generation: Generation, *, since: int) -> Check:
    """The backup left the remote mirrors in operation (INV-7)."""
    differences = [
        f"pair {pair} was {status} {when} it"
        for when, statuses in (
            ("before", generation.remote_before),
            ("during", generation.remote_during),
            ("after", generation.remote_after),
        )
        for pair, status in statuses
        if status != PairStatus.DUPLEX
    ]
    for name in stage.sites.remote:
        others = stage.timeline.seen(name, since=since) - {PairStatus.DUPLEX}
        differences += [f"{name} was seen {status}" for status in sorted(others)]
    return Check(what="remote mirrors stay DUPLEX", differences=tuple(differences))
