from __future__ import annotations

import io
import itertools

from rich.console import Console

from pyrep import Progress
from pyrep.cli.demo.display import Display
from pyrep.cli.demo.outcome import Check, PhaseOutcome


def phase(*differences: str) -> PhaseOutcome:
    check = Check(what="files", differences=differences)
    return PhaseOutcome(
        title="back up [1]", seconds=1.25, checking_s=0.5, crossed_bytes=2048, checks=(check,)
    )


def shown(*, is_terminal: bool, outcome: PhaseOutcome) -> str:
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=is_terminal, width=200, color_system=None, legacy_windows=False
    )
    ticks = itertools.count()
    with Display(console, clock=lambda: float(next(ticks))) as display:
        display.run_begins(3, lambda: 4096)
        display.phase_begins("back up [1]")
        for done in range(3):
            display.step(Progress(what="the point", step=420, done_bytes=done, total_bytes=3))
        display.step(Progress(what="comparing"))
        display.phase_ends(outcome)
    return out.getvalue()


def test_without_a_terminal_each_step_is_one_plain_line() -> None:
    lines = shown(is_terminal=False, outcome=phase()).splitlines()
    assert [line.split("s  ")[1] for line in lines] == [
        "1/3 back up [1]",
        "    420 the point",
        "    comparing",
        "    1.2 s, 2 KiB crossed; 1 comparisons in 0.5 s: all equal",
    ]


def test_on_a_terminal_a_phase_leaves_one_line() -> None:
    text = shown(is_terminal=True, outcome=phase())
    assert "1/3 back up [1]: 1.2 s, 2 KiB crossed; 1 comparisons in 0.5 s: all equal" in text
    assert "4 KiB crossed" in text


def test_differences_are_shown_up_to_a_number() -> None:
    outcome = phase(*(f"/file{number} [differs]" for number in range(30)))
    lines = shown(is_terminal=False, outcome=outcome).splitlines()
    assert "30 DIFFERENCES" in "\n".join(lines)
    assert "    files: /file0 [differs]" in lines
    assert "    files: /file19 [differs]" in lines
    assert "    files: /file20 [differs]" not in lines
    assert lines[-1] == "    and 10 more"
