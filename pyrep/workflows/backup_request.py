"""What is asked of a backup at 400, and what it tells at its end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyrep.model import Generation

__all__ = ["BackupReport", "BackupRequest", "BackupSides", "HoldAck"]


class BackupSides(StrEnum):
    """Whose local mirrors are split: the secondary's (Fig. 4), the primary's own, or both."""

    SECONDARY = "secondary"
    PRIMARY = "primary"
    BOTH = "both"


class HoldAck(StrEnum):
    """What a synchronous writer gets in the hold: it waits, or is acknowledged, its chunks in U."""

    WAIT = "wait"
    MARK = "mark"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupRequest:
    """What is asked at 400.

    Attributes:
        volumes: volumes of the primary, all backed up at one point (INV-6).
        label: free text for the catalogue.
        sides: whose local mirrors are split.
        hold_ack: see `HoldAck`.
        reuse_last: whether the only complete generation may be given up.
        hold_max_ms: longest hold; past it the backup is refused.
    """

    volumes: tuple[str, ...]
    label: str = ""
    sides: BackupSides = BackupSides.SECONDARY
    hold_ack: HoldAck = HoldAck.WAIT
    reuse_last: bool = False
    hold_max_ms: float = 500.0

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal and the path."""
        return {
            "volumes": list(self.volumes),
            "label": self.label,
            "sides": self.sides,
            "hold_ack": self.hold_ack,
            "reuse_last": self.reuse_last,
            "hold_max_ms": self.hold_max_ms,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BackupRequest:
        """Return what `to_json` was given."""
        return cls(
            volumes=tuple(data["volumes"]),
            label=data["label"],
            sides=BackupSides(data["sides"]),
            hold_ack=HoldAck(data["hold_ack"]),
            reuse_last=data["reuse_last"],
            hold_max_ms=data["hold_max_ms"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupReport:
    """What a backup did.

    Attributes:
        workflow_id: its id in the journal.
        generations: complete, one per side; the secondary's first.
        prepare_ms: 400: all that was done before the hold, while hosts wrote.
        hold_ms: 420 to 470; the four phases below together.
        closed_ms: of these, how long the gates were closed.
        cut_ms: 420: until the gates were closed, the point noted, and the gates open again.
        drain_ms: 410: from the point until it was applied.
        split_ms: 430 to 450.
        uncork_ms: 470.
        queued_max_bytes: most bytes queued in the hold.
    """

    workflow_id: str
    generations: tuple[Generation, ...]
    prepare_ms: float = 0.0
    hold_ms: float = 0.0
    closed_ms: float = 0.0
    cut_ms: float = 0.0
    drain_ms: float = 0.0
    split_ms: float = 0.0
    uncork_ms: float = 0.0
    queued_max_bytes: int = 0

    @property
    def generation(self) -> Generation:
        """The first generation: the secondary's, if it was split."""
        return self.generations[0]
