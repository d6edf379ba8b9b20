"""Generations as plain data, for the path and for reports."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from pyrep.model import Generation, GenerationCause, GenerationMember, GenerationState

__all__ = ["generation_from", "generation_to"]


def generation_to(generation: Generation) -> dict[str, Any]:
    """Return a generation as JSON-able data."""
    data = asdict(generation)
    data["taken_at"] = generation.taken_at.isoformat()
    data["pins"] = ()  # its holder's own business
    given_up_at = generation.given_up_at
    data["given_up_at"] = given_up_at.isoformat() if given_up_at else None
    return data


def generation_from(data: dict[str, Any]) -> Generation:
    """Return what `generation_to` was given."""

    def pairs(name: str) -> tuple[tuple[Any, Any], ...]:
        return tuple((one, other) for one, other in data[name])

    given_up_at = data["given_up_at"]
    return Generation(
        generation_id=data["generation_id"],
        attempt_id=data["attempt_id"],
        label=data["label"],
        cause=GenerationCause(data["cause"]),
        state=GenerationState(data["state"]),
        taken_at=datetime.fromisoformat(data["taken_at"]),
        home=data["home"],
        members=tuple(GenerationMember(**one) for one in data["members"]),
        hold_ms=data["hold_ms"],
        queued_max_bytes=data["queued_max_bytes"],
        remote_before=pairs("remote_before"),
        remote_during=pairs("remote_during"),
        remote_after=pairs("remote_after"),
        protected=data["protected"],
        annotations=pairs("annotations"),
        given_up_at=datetime.fromisoformat(given_up_at) if given_up_at else None,
    )
