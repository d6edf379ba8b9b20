from __future__ import annotations

from pyrep.cli.demo.outcome import Check, Outcome, PhaseOutcome, Transfer
from pyrep.model import MIB


def phase(title: str, *checks: Check) -> PhaseOutcome:
    return PhaseOutcome(title=title, seconds=1.0, checking_s=1.0, crossed_bytes=0, checks=checks)


def test_a_difference_says_where_it_was_found() -> None:
    outcome = Outcome(
        volume_bytes=MIB,
        phases=[
            phase("first", Check(what="files"), Check(what="bytes")),
            phase("second", Check(what="files", differences=("/a is missing", "/b is missing"))),
        ],
    )
    assert outcome.differences == ["second: files: /a is missing", "second: files: /b is missing"]
    assert outcome.check_count == 3


def test_a_tenth_and_a_mib_above_what_differs_may_cross() -> None:
    transfer = Transfer(
        title="restore",
        figure=5,
        chunk_count=100,
        chunk_bytes=8192,
        crossed_bytes=0,
        volume_bytes=1 << 30,
    )
    assert transfer.differing_bytes == 819_200
    assert transfer.limit_bytes == 901_120 + MIB
