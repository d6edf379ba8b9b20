"""What is asked of a restore at 500 or 600, and what it tells at its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["RestoreReport", "RestoreRequest"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What is asked at 500 or 600.

    Attributes:
        generation: the generation's id.
        volume: which of its volumes, by its id at either system.
        paths: paths and patterns of the files; empty for the whole volume by name.
        delete_extra: also remove files that a chosen directory has and the generation lacks.
        partition: the partition that holds the files; None: the volume itself does.
        discard_pending: of Fig. 5, let what is pending in 105a's row go back in time.
    """

    generation: str
    volume: str
    paths: tuple[bytes, ...] = ()
    delete_extra: bool = False
    partition: int | None = None
    discard_pending: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal and the path; names that aren't UTF-8 survive."""
        return {
            "generation": self.generation,
            "volume": self.volume,
            "paths": [path.hex() for path in self.paths],
            "delete_extra": self.delete_extra,
            "partition": self.partition,
            "discard_pending": self.discard_pending,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RestoreRequest:
        """Return what `to_json` was given."""
        return cls(
            generation=data["generation"],
            volume=data["volume"],
            paths=tuple(bytes.fromhex(path) for path in data["paths"]),
            delete_extra=data["delete_extra"],
            partition=data.get("partition"),  # one written before there were any
            discard_pending=data.get("discard_pending", False),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        workflow_id: its id in the journal.
        figure: 5 (files) or 6 (the whole volume).
        reason: why this figure (step 610).
        changed_paths: paths that were changed in 105b, of Fig. 5.
        written_bytes: bytes written to 105b at 530 or 650, metadata included.
        copied_bytes: bytes of chunks copied back at 550 or 670.
        crossed_bytes: bytes of all frames that crossed for it, headers included.
    """

    workflow_id: str
    figure: int
    reason: str
    changed_paths: int = 0
    written_bytes: int = 0
    copied_bytes: int = 0
    crossed_bytes: int = 0
