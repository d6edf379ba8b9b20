"""What workflows and generations are told as, back into the engine's nouns."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pyrep.model import Generation
from pyrep.workflows import BackupReport, RestoreReport
from pyrep.workflows.codec import generation_from

__all__ = ["backup_report_from", "generation_from_json", "restore_report_from"]

Json = dict[str, Any]


def generation_from_json(told: Json) -> Generation:
    """Return the generation that the API tells of."""
    pairs = ("remote_before", "remote_during", "remote_after", "annotations")
    return generation_from({**told, **{name: list(told[name].items()) for name in pairs}})


def backup_report_from(told: Json) -> BackupReport:
    """Return the report of a backup that is done."""
    generations = tuple(generation_from_json(one) for one in told["generations"])
    return BackupReport(**{**_known(BackupReport, told), "generations": generations})


def restore_report_from(told: Json) -> RestoreReport:
    """Return the report of a restore that is done."""
    return RestoreReport(**_known(RestoreReport, told))


def _known(kind: type[BackupReport | RestoreReport], told: Json) -> Json:
    """Return the fields that this version knows."""
    names = {one.name for one in fields(kind)}
    return {name: value for name, value in told.items() if name in names}
