"""What a check found: one line per thing that was looked at, with what a repair would do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["CheckReport", "Finding", "Remedy", "Severity", "failed", "fine", "warning"]


class Severity(StrEnum):
    """How bad it is: `WARNING` mends itself or costs a copy, `FAILED` keeps something from use."""

    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"


_EXIT_CODES = {Severity.OK: 0, Severity.WARNING: 60, Severity.FAILED: 61}


class Remedy(StrEnum):
    """What a repair does about a finding."""

    NONE = "none"
    SPLIT_PAIR = "split_pair"
    FILL_MARKS = "fill_marks"
    TAKE_VOLUME = "take_volume"
    DROP_ROW = "drop_row"
    FAIL_GENERATION = "fail_generation"
    DROP_DIGESTS = "drop_digests"
    DROP_PIN = "drop_pin"
    FREE_LEASE = "free_lease"
    DROP_POLICY = "drop_policy"
    REBUILD_TABLES = "rebuild_tables"
    GO_ON = "go_on"


_REMEDIES = {
    Remedy.NONE: "",
    Remedy.SPLIT_PAIR: "the pair becomes SPLIT (requested) with everything pending, and waits for "
    "a resync in the direction that you choose",
    Remedy.FILL_MARKS: "the marks become all set, and the pairs that share them SPLIT (requested) "
    "with everything pending",
    Remedy.TAKE_VOLUME: "its content is taken as it is now: its pairs become SPLIT (requested) "
    "with everything pending, generations that it holds have failed",
    Remedy.DROP_ROW: "the row is removed; the volumes keep their content",
    Remedy.FAIL_GENERATION: "the generation is marked as failed",
    Remedy.DROP_DIGESTS: "the digests are forgotten; they can be computed again",
    Remedy.DROP_PIN: "the pin is removed",
    Remedy.FREE_LEASE: "the lease is freed",
    Remedy.DROP_POLICY: "the policy is removed",
    Remedy.REBUILD_TABLES: "the tables are made anew from what can still be read of them; every "
    "pair becomes SPLIT (requested) with everything pending; what is lost is named",
    Remedy.GO_ON: "everything that it had begun is done again, and what is found then",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found about one thing.

    Attributes:
        severity: how bad it is.
        thing: what was looked at, in the user's names.
        what: what is wrong with it, or that nothing is.
        remedy: what `repair` does about it.
        key: which record the remedy is about.
        hint: what else can be done, where no repair helps.
    """

    severity: Severity
    thing: str
    what: str
    remedy: Remedy = Remedy.NONE
    key: tuple[str, ...] = ()
    hint: str = ""

    @property
    def repair(self) -> str:
        """What `repair` would do, in words; nothing if it would do nothing."""
        return _REMEDIES[self.remedy]

    def __str__(self) -> str:
        line = f"{self.severity}: {self.thing}: {self.what}"
        if self.repair:
            line += f"; repair: {self.repair}"
        return f"{line}; {self.hint}" if self.hint else line


def fine(thing: str, what: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(severity=Severity.OK, thing=thing, what=what)


def warning(
    thing: str, what: str, remedy: Remedy = Remedy.NONE, *key: str, hint: str = ""
) -> Finding:
    """Return a finding of something that mends itself or costs little."""
    return Finding(
        severity=Severity.WARNING, thing=thing, what=what, remedy=remedy, key=key, hint=hint
    )


def failed(
    thing: str, what: str, remedy: Remedy = Remedy.NONE, *key: str, hint: str = ""
) -> Finding:
    """Return a finding of something that can't be used as it is."""
    return Finding(
        severity=Severity.FAILED, thing=thing, what=what, remedy=remedy, key=key, hint=hint
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check of a whole system found, thing by thing.

    Attributes:
        system_id: the system's id, or nothing if its tables can't be read.
        findings: in the order of looking: tables, volumes, rows, marks, generations, workflows.
    """

    system_id: str
    findings: tuple[Finding, ...] = field(default=())

    @property
    def severity(self) -> Severity:
        """The worst of all."""
        return worst(one.severity for one in self.findings)

    @property
    def exit_code(self) -> int:
        """Exit status of `pyrep system check`: 0 OK, 60 WARNING, 61 FAILED."""
        return _EXIT_CODES[self.severity]

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """Those that aren't OK."""
        return tuple(one for one in self.findings if one.severity is not Severity.OK)


def worst(severities: Iterable[Severity]) -> Severity:
    """Return the worst; OK of none."""
    order = list(Severity)
    return max(severities, key=order.index, default=Severity.OK)
