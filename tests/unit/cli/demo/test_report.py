from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from pyrep import BackupReport
from pyrep.cli.demo.outcome import BackupOutcome, Check, Outcome, PhaseOutcome, Transfer
from pyrep.cli.demo.report import print_report
from pyrep.cli.demo.timeline import Moment
from pyrep.model import (
    GIB,
    MIB,
    Generation,
    GenerationCause,
    GenerationId,
    GenerationMember,
    GenerationState,
    PairId,
    SystemId,
    VolumeId,
)


def backup_outcome() -> BackupOutcome:
    generation = Generation(
        generation_id=GenerationId("g1"),
        attempt_id="a1",
        label="",
        cause=GenerationCause.BACKUP,
        state=GenerationState.COMPLETE,
        taken_at=datetime(2026, 1, 1, tzinfo=UTC),
        home=SystemId("100b"),
        members=(
            GenerationMember(
                source=VolumeId("105b"),
                origin_system=SystemId("100a"),
                origin_volume=VolumeId("105a"),
                svol=VolumeId("106b"),
                pair_id=PairId("100b.1"),
            ),
        ),
        remote_during=((PairId("100a.1"), "DUPLEX"),),
    )
    report = BackupReport(
        workflow_id="w1",
        generations=(generation,),
        hold_ms=12.345,
        closed_ms=0.0123,
        drain_ms=4.5,
        split_ms=6.7,
        queued_max_bytes=8192,
    )
    return BackupOutcome(
        title="generation 1",
        report=report,
        first_count=1001,
        second_count=1000,
        before_count=100,
        after_count=2000,
    )


def outcome(*differences: str) -> Outcome:
    check = Check(what="files", differences=differences)
    phase = PhaseOutcome(
        title="restore", seconds=1.0, checking_s=1.0, crossed_bytes=11 * MIB, checks=(check,)
    )
    transfer = Transfer(
        title="restore",
        figure=6,
        chunk_count=1280,
        chunk_bytes=8192,
        crossed_bytes=11 * MIB,
        volume_bytes=GIB,
    )
    moments = (
        Moment(at_s=0.5, phase=1, step=None, statuses={"105a→105b": "COPY"}),
        Moment(at_s=1.0, phase=1, step=None, statuses={"105a→105b": "DUPLEX"}),
        Moment(at_s=2.0, phase=2, step=630, statuses={"105a→105b": "DUPLEX", "105b→106b": "SPLIT"}),
    )
    return Outcome(
        volume_bytes=GIB,
        phases=[phase],
        backups=[backup_outcome()],
        transfers=[transfer],
        moments=moments,
    )


def printed(what: Outcome) -> list[list[str]]:
    out = io.StringIO()
    print_report(Console(file=out, width=120, color_system=None), what, seconds=3.21)
    return [line.split() for line in out.getvalue().splitlines() if line.strip()]


def test_it_tells_what_crossed_against_the_volumes_size() -> None:
    assert ["1", "restore", "11", "MiB", "1.1%", "1,280:", "10", "MiB", "12", "MiB"] in printed(
        outcome()
    )


def test_it_tells_the_hold_with_its_parts_and_the_records() -> None:
    (row,) = [line for line in printed(outcome()) if line[:2] == ["generation", "1"]]
    assert " ".join(row[2:]) == (
        "DUPLEX 12.3 ms 0.01 ms 4.5 ms 6.7 ms 8 KiB 100 1,001 / 1,000 2,000"
    )


def test_a_status_stands_where_it_is_new() -> None:
    lines = printed(outcome())
    assert ["0.50", "s", "1", "COPY"] in lines
    assert ["1.00", "s", "1", "DUPLEX"] in lines
    assert ["2.00", "s", "2", "630", "SPLIT"] in lines


def test_the_verdict_stands_last() -> None:
    assert " ".join(printed(outcome())[-1]) == "Done in 3.2 s: 1 comparisons, all equal."
    last = " ".join(printed(outcome("/a is missing"))[-1])
    assert last == "FAILED after 3.2 s: 1 differences in the phase: restore"


def test_a_run_that_ended_at_once_has_a_report_too() -> None:
    assert printed(Outcome(volume_bytes=GIB))
