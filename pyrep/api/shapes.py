"""Nouns as the API tells them: plain data, names of files with their bytes beside."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from pyrep.engine import Pair, PairVerifyResult, StorageSystem, Volume
from pyrep.engine.pairverify_result import TOLD_MAX
from pyrep.engine.retain import RetentionReport
from pyrep.errors import InvalidArgumentError
from pyrep.fs import ChangedFiles, FileStat, PathChange
from pyrep.meta import PolicyRecord
from pyrep.model import Generation, Row, WorkflowRecord
from pyrep.workflows import BackupReport, Estimate, PathVersion, RestoreReport

__all__ = [
    "changed_json",
    "diff_json",
    "estimate_json",
    "generation_json",
    "name_from",
    "name_json",
    "pair_json",
    "plain",
    "policy_json",
    "report_json",
    "retention_json",
    "row_json",
    "stat_json",
    "verified_json",
    "version_json",
    "volume_json",
    "workflow_json",
]

Json = dict[str, Any]


def plain(noun: Any) -> Any:
    """Return a dataclass as JSON-able data; times in ISO 8601, enums by their value."""
    return msgspec.to_builtins(noun)


def name_json(name: bytes, field: str = "path") -> Json:
    """Return a file's name; one that isn't UTF-8 is escaped for people, its bytes beside it."""
    try:
        return {field: name.decode()}
    except UnicodeDecodeError:
        shown = name.decode("utf-8", "backslashreplace")
        return {field: shown, f"{field}_b64": b64encode(name).decode()}


def name_from(text: str, encoded: str | None) -> bytes:
    """Return the name meant: `encoded` is base64 and goes before the text."""
    if encoded is None:
        return text.encode()
    try:
        return b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InvalidArgumentError(f"{encoded!r} is no base64") from error


def row_json(row: Row) -> Json:
    """Return a row of the copy management table."""
    told: Json = plain(row)
    del told["row_key"]
    lineage = row.lineage  # in hex: not every reader of JSON has whole numbers of 64 bits
    told["lineage"] = {
        "current": f"{lineage.current:016x}",
        "common": f"{lineage.common:016x}",
        "written": lineage.written,
        "history": [f"{one:016x}" for one in lineage.history],
        "age": lineage.age,
    }
    return told


def volume_json(volume: Volume) -> Json:
    """Return a volume."""
    return {
        "volume_id": volume.volume_id,
        "size_bytes": volume.size_bytes,
        "path": volume.path,
        "activity": None if (log := volume.activity()) is None else plain(log),
        "rows": [row_json(row) for row in volume.rows],
    }


def pair_json(system: StorageSystem, pair: Pair) -> Json:
    """Return a pair: what its row says, its state, and the copy that runs."""
    row, state, job = pair.row, pair.status(), pair.job
    told = {**row_json(row), **plain(state)}
    here, there = f"{row.volume_id}", f"{row.mirror_volume_id}"
    if row.is_remote:
        there = f"{row.pair_system_id}:{there}"
    told["pvol"], told["svol"] = (here, there) if row.is_primary else (there, here)
    told["name"] = pair.name
    told["system_id"] = system.system_id
    told["copy"] = None if job is None else {**plain(job.progress()), "paused": job.is_paused}
    return told


def generation_json(generation: Generation) -> Json:
    """Return a generation."""
    told: Json = plain(generation)
    told["annotations"] = dict(generation.annotations)
    for when in ("before", "during", "after"):
        told[f"remote_{when}"] = dict(getattr(generation, f"remote_{when}"))
    return told


def policy_json(volume_id: str | None, policy: PolicyRecord) -> Json:
    """Return the policies of a volume, or (None) the system's."""
    told: Json = {"volume_id": volume_id, "next_svol": policy.next_svol, "retention": None}
    if policy.retention is not None:
        kept: Json = plain(policy.retention)
        forget_after = policy.retention.forget_after
        kept["keep_within_s"] = policy.retention.keep_within.total_seconds()
        kept["forget_after_s"] = None if forget_after is None else forget_after.total_seconds()
        del kept["keep_within"], kept["forget_after"]
        told["retention"] = kept
    return told


def retention_json(report: RetentionReport) -> Json:
    """Return what retention decided."""
    return {
        "dry_run": report.dry_run,
        "plans": [
            {"volume_id": volume_id, "decisions": plain(plan.decisions)}
            for volume_id, plan in report.plans
        ],
        "given_up": list(report.given_up),
        "forgotten": list(report.forgotten),
        "left": [{"generation_id": one, "reason": why} for one, why in report.left],
    }


def stat_json(stat: FileStat) -> Json:
    """Return a file."""
    return {
        **name_json(stat.path),
        "kind": stat.kind.name.lower(),
        "mode": stat.mode,
        "uid": stat.uid,
        "gid": stat.gid,
        "size": stat.size,
        "nlink": stat.nlink,
        "inode": stat.inode,
        "mtime": _iso(stat.mtime_ns),
        "mtime_ns": stat.mtime_ns,
    }


def _iso(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds // 10**9, UTC).isoformat()


def version_json(version: PathVersion) -> Json:
    """Return a path as one generation has it."""
    return {
        "generation_id": version.generation_id,
        "taken_at": version.taken_at.isoformat(),
        "is_present": version.is_present,
        "content_changed": version.content_changed,
        "stat": None if version.stat is None else stat_json(version.stat),
    }


def diff_json(change: PathChange) -> Json:
    """Return one path that differs."""
    now = change.after or change.before
    return {
        **name_json(change.path),
        "change": change.change.value,
        "kind": None if now is None else now.kind.name.lower(),
        "aspects": [aspect.value for aspect in change.aspects],
        "bytes_differ": change.bytes_differ,
    }


def changed_json(changed: ChangedFiles) -> Json:
    """Return whose bytes some ranges are."""
    return {
        "files": [name_json(one) for one in changed.files],
        "directories": [name_json(one) for one in changed.directories],
        "file_bytes": changed.file_bytes,
        "metadata_bytes": changed.metadata_bytes,
        "free_bytes": changed.free_bytes,
        "is_estimate": changed.is_estimate,
    }


def verified_json(result: PairVerifyResult, names: ChangedFiles | None) -> Json:
    """Return what a verification found, in whose files if that is known; at most 256 of a kind.

    Reports are kept as long as their jobs.
    """

    def places(extents: Iterable[tuple[int, int]]) -> list[Json]:
        return [{"offset": offset, "length": length} for offset, length in extents]

    files = None
    if names is not None:
        told = replace(
            names, files=names.files[:TOLD_MAX], directories=names.directories[:TOLD_MAX]
        )
        files = {
            **changed_json(told),
            "file_count": len(names.files),
            "directory_count": len(names.directories),
        }
    return {
        "pair_id": result.pair_id,
        "status": result.status.value,
        "percentage": result.percentage,
        "checked_bytes": result.checked_bytes,
        "hole_bytes": result.hole_bytes,
        "differing": places(result.differing),
        "differing_count": result.differing_count,
        "restless": places(result.restless),
        "restless_count": result.restless_count,
        "is_equal": result.is_equal,
        "is_judged": result.is_judged,
        "verdict": result.verdict,
        "files": files,
        "repair": None,
    }


def estimate_json(estimate: Estimate) -> Json:
    """Return what a restore would do."""
    told = estimate.to_json()
    told["changes"] = [
        {
            **name_json(one.path),
            "change": one.change.value,
            "kind": one.kind.name.lower(),
            "bytes_differ": one.bytes_differ,
        }
        for one in estimate.changes
    ]
    return told


def report_json(report: BackupReport | RestoreReport) -> Json:
    """Return what a workflow did."""
    told: Json = plain(report)
    if isinstance(report, BackupReport):
        told["generations"] = [generation_json(one) for one in report.generations]
    return told


def workflow_json(record: WorkflowRecord) -> Json:
    """Return a workflow of the journal."""
    told: Json = plain(record)
    return told
