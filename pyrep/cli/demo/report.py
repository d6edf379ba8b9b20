"""The report at the end of a run: what crossed, how long backups held, statuses over time."""

from __future__ import annotations

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyrep.cli.demo.outcome import BackupOutcome, Outcome, PhaseOutcome, Transfer
from pyrep.cli.demo.timeline import Moment
from pyrep.model import format_bytes

__all__ = ["print_report"]


def print_report(console: Console, outcome: Outcome, *, seconds: float) -> None:
    """Print all tables, and the verdict last."""
    console.print()
    console.print(_crossed_table(outcome))
    console.print()
    console.print(_backups_table(outcome.backups))
    console.print()
    console.print(_statuses_table(outcome.moments))
    console.print()
    console.print(_verdict(outcome, seconds), soft_wrap=True)


def _table(title: str, *columns: str, left: int) -> Table:
    """Return an empty table; its first `left` columns hold text, the others numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right")
    return table


def _crossed_table(outcome: Outcome) -> Table:
    table = _table(
        f"Bytes that crossed the path, headers of frames included; share of a volume of "
        f"{format_bytes(outcome.volume_bytes)}",
        "",
        "phase",
        "crossed",
        "share",
        "chunks differing",
        "allowed",
        left=2,
    )
    transfers = {transfer.title: transfer for transfer in outcome.transfers}
    for number, phase in enumerate(outcome.phases, 1):
        row = _crossed_row(phase, transfers.get(phase.title), outcome.volume_bytes)
        table.add_row(f"{number}", *row)
    return table


def _crossed_row(
    phase: PhaseOutcome, transfer: Transfer | None, volume_bytes: int
) -> tuple[str, ...]:
    share = f"{phase.crossed_bytes / volume_bytes:.1%}"
    row = (phase.title, format_bytes(phase.crossed_bytes), share)
    if transfer is None:
        return (*row, "", "")
    differed = f"{transfer.chunk_count:,}: {format_bytes(transfer.differing_bytes)}"
    return (*row, differed, format_bytes(transfer.limit_bytes))


def _backups_table(backups: Iterable[BackupOutcome]) -> Table:
    table = _table(
        "Backups: the hold from 420 to 470 with its parts; the records on both volumes",
        "",
        "remote",
        "hold",
        "closed",
        "410",
        "430-450",
        "queued",
        "before",
        "in it (205/105)",
        "at last",
        left=2,
    )
    for one in backups:
        report = one.report
        during = sorted({status for _, status in report.generation.remote_during})
        table.add_row(
            one.title,
            ", ".join(during),
            *(
                _format_ms(ms)
                for ms in (report.hold_ms, report.closed_ms, report.drain_ms, report.split_ms)
            ),
            format_bytes(report.queued_max_bytes),
            f"{one.before_count:,}",
            f"{one.first_count:,} / {one.second_count:,}",
            f"{one.after_count:,}",
        )
    return table


def _format_ms(milliseconds: float) -> str:
    return f"{milliseconds:.2f} ms" if milliseconds < 1 else f"{milliseconds:.1f} ms"


def _statuses_table(moments: Iterable[Moment]) -> Table:
    """Return one row for each change; a status stands where it is new."""
    seen = list(moments)
    names = list(seen[-1].statuses) if seen else []
    table = _table("Statuses over time", "from", "phase", "step", *names, left=3 + len(names))
    before: dict[str, str] = {}
    for moment in seen:
        cells = [
            "" if moment.statuses.get(name) == before.get(name) else moment.statuses.get(name, "")
            for name in names
        ]
        if any(cells):
            step = "" if moment.step is None else f"{moment.step}"
            table.add_row(f"{moment.at_s:.2f} s", f"{moment.phase}", step, *cells)
        before = dict(moment.statuses)
    return table


def _verdict(outcome: Outcome, seconds: float) -> Text:
    differences = outcome.differences
    if differences:
        last = outcome.phases[-1].title
        return Text(
            f"FAILED after {seconds:.1f} s: {len(differences)} differences in the phase: {last}",
            style="bold red",
        )
    return Text(
        f"Done in {seconds:.1f} s: {outcome.check_count} comparisons, all equal.",
        style="bold green",
    )
