"""What a run of the demonstration did and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyrep import BackupReport
from pyrep.cli.demo.timeline import Moment
from pyrep.model import MIB

__all__ = ["BackupOutcome", "Check", "Outcome", "PhaseOutcome", "Transfer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One comparison.

    Attributes:
        what: what was compared with what.
        extent: how much of it, for people.
        differences: what wasn't as it has to be.
    """

    what: str
    extent: str = ""
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseOutcome:
    """One phase.

    Attributes:
        seconds: what it took, its comparisons not counted.
        checking_s: what these took.
        crossed_bytes: of frames over the path, headers included.
    """

    title: str
    seconds: float
    checking_s: float
    crossed_bytes: int
    checks: tuple[Check, ...]

    @property
    def differences(self) -> list[str]:
        """All that its comparisons found, each with what was compared."""
        return [f"{check.what}: {text}" for check in self.checks for text in check.differences]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOutcome:
    """One backup.

    Attributes:
        first_count, second_count: numbered records in the generation, in the volume that they are
            written to first and in the other.
        before_count, after_count: records acknowledged before it was asked for, and at its end.
    """

    title: str
    report: BackupReport
    first_count: int
    second_count: int
    before_count: int
    after_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What a restore sent over the path.

    Attributes:
        figure: 5 or 6.
        chunk_count: chunks in which 105a and 105b differed when 550 or 670 began.
        crossed_bytes: all frames of the restore, headers included.
    """

    title: str
    figure: int
    chunk_count: int
    chunk_bytes: int
    crossed_bytes: int
    volume_bytes: int

    @property
    def differing_bytes(self) -> int:
        """The chunks that differed, in bytes."""
        return self.chunk_count * self.chunk_bytes

    @property
    def limit_bytes(self) -> int:
        """The most that may cross: a tenth and 1 MiB above what differs."""
        return self.differing_bytes * 11 // 10 + MIB


@dataclass(slots=True, kw_only=True)
class Outcome:
    """All of it, as far as the run came."""

    volume_bytes: int
    phases: list[PhaseOutcome] = field(default_factory=list)
    backups: list[BackupOutcome] = field(default_factory=list)
    transfers: list[Transfer] = field(default_factory=list)
    moments: Sequence[Moment] = ()

    @property
    def differences(self) -> list[str]:
        """What was found in all phases."""
        return [f"{phase.title}: {text}" for phase in self.phases for text in phase.differences]

    @property
    def check_count(self) -> int:
        """How many comparisons were made."""
        return sum(len(phase.checks) for phase in self.phases)
