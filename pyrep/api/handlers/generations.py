"""Requests about generations: marks, checks, and what is in them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from pyrep.api.jobtable import RunningJob
from pyrep.api.requests import (
    Annotate,
    Digest,
    Look,
    Nothing,
    Pin,
    Retain,
    SetPolicy,
    VerifyGeneration,
)
from pyrep.api.routes import Answers, Site, route
from pyrep.api.shapes import (
    changed_json,
    diff_json,
    generation_json,
    name_from,
    plain,
    policy_json,
    retention_json,
    stat_json,
)
from pyrep.engine import Cancel, ProgressCallback
from pyrep.engine.arguments import one_of
from pyrep.errors import InvalidArgumentError
from pyrep.model import (
    MIB,
    Generation,
    NextSvol,
    RetentionPolicy,
    SystemId,
    VolumeId,
    format_bytes,
)
from pyrep.workflows import browse, changed_files, diff, find_generation, refresh_generations

__all__ = [
    "annotate",
    "apply_retention",
    "cat",
    "digest",
    "find",
    "get_changes",
    "get_diff",
    "get_generation",
    "get_policies",
    "list_files",
    "list_generations",
    "pin",
    "protect",
    "set_policy",
    "unpin",
    "unprotect",
    "verify",
]

Json = dict[str, Any]

_CAT_MAX = 64 * MIB
_ASK_S = 2.0
"""How long a listing waits for other systems: one that is dead, its path finds dead in 16 s."""


@route("GET", "/generations")
def list_generations(site: Site, _: Nothing) -> list[Json]:
    """Return the catalogue, oldest first; who holds generations of volumes here is asked.

    `is_last_known`: who holds it hasn't answered within two seconds, or can't be asked.
    """
    unheard = refresh_generations(site.system, wait_s=_ASK_S)
    return [_known_json(one, unheard) for one in site.system.list_generations()]


def _known_json(generation: Generation, unheard: Collection[SystemId]) -> Json:
    return {**generation_json(generation), "is_last_known": generation.home in unheard}


@route("GET", "/generations/{generation}")
def get_generation(site: Site, generation: str, _: Nothing) -> Json:
    """Return a generation; who holds it is asked, if the path is up. `is_last_known` as above."""
    home = find_generation(site.system, generation, wait_s=_ASK_S).home
    unheard: Collection[SystemId] = ()
    if home != site.system.system_id:
        unheard = refresh_generations(site.system, home=home, wait_s=_ASK_S)
    return _known_json(site.system.generation(generation), unheard)


@route("POST", "/generations/{generation}/protect")
def protect(site: Site, generation: str, _: Nothing) -> Json:
    """Keep a generation from being given up."""
    return generation_json(site.system.kept(generation).protect())


@route("POST", "/generations/{generation}/unprotect")
def unprotect(site: Site, generation: str, _: Nothing) -> Json:
    """Let it be given up again."""
    return generation_json(site.system.kept(generation).unprotect())


@route("POST", "/generations/{generation}/pin", Pin)
def pin(site: Site, generation: str, asked: Pin) -> Json:
    """Keep a generation while a holder uses it, also over a restart."""
    return generation_json(site.system.kept(generation).pin(asked.holder))


@route("POST", "/generations/{generation}/unpin", Pin)
def unpin(site: Site, generation: str, asked: Pin) -> Json:
    """End a holder's pin."""
    return generation_json(site.system.kept(generation).unpin(asked.holder))


@route("POST", "/generations/{generation}/annotate", Annotate)
def annotate(site: Site, generation: str, asked: Annotate) -> Json:
    """Set annotations or take them away (null); set another label."""
    kept = site.system.kept(generation)
    if asked.values:
        kept.annotate(asked.values)
    if asked.label is not None:
        kept.rename(asked.label)
    return generation_json(kept.record)


@route("POST", "/generations/{generation}/digest", Digest, answers=Answers.JOB)
def digest(site: Site, generation: str, asked: Digest) -> RunningJob:
    """Compute the digests that it lacks."""
    kept = site.system.kept(generation)

    def work(progress: ProgressCallback, cancel: Cancel) -> None:
        kept.digest(again=asked.again, progress=progress, cancel=cancel)

    return site.jobs.start(f"digest generation {generation}", work)


@route("POST", "/generations/{generation}/verify", VerifyGeneration, answers=Answers.JOB)
def verify(site: Site, generation: str, asked: VerifyGeneration) -> RunningJob:
    """Read a share of it again and compare that with its digests; damage is the job's error."""
    kept = site.system.kept(generation)

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        found = kept.verify(asked.percentage, seed=asked.seed, progress=progress, cancel=cancel)
        found.raise_if_damaged()
        told: Json = plain(found)
        return told

    return site.jobs.start(f"verify generation {generation}", work)


# --- looking into one -----------------------------------------------------------------------------


@route("GET", "/generations/{generation}/ls", Look)
def list_files(site: Site, generation: str, asked: Look) -> list[Json]:
    """List a directory in it."""
    path = name_from(asked.path, asked.path_b64)
    with browse(site.system, generation, asked.volume, partition=asked.partition) as files:
        return [stat_json(one) for one in files.ls(path)]


@route("GET", "/generations/{generation}/find", Look)
def find(site: Site, generation: str, asked: Look) -> list[Json]:
    """List what a pattern (`path`) matches in it."""
    pattern = name_from(asked.path, asked.path_b64)
    with browse(site.system, generation, asked.volume, partition=asked.partition) as files:
        return [stat_json(one) for one in files.find(pattern)]


@route("GET", "/generations/{generation}/cat", Look, answers=Answers.OCTETS)
def cat(site: Site, generation: str, asked: Look) -> bytes:
    """Return bytes of a file in it: `length` from `offset` on, by default all."""
    path = name_from(asked.path, asked.path_b64)
    with browse(site.system, generation, asked.volume, partition=asked.partition) as files:
        size = files.stat(path).size
        length = size if asked.length is None else asked.length
        if min(length, size - asked.offset) > _CAT_MAX:
            raise InvalidArgumentError(
                f"cannot send {format_bytes(length)} at once",
                hint=f"ask for pieces of up to {format_bytes(_CAT_MAX)}: offset, length",
            )
        return b"".join(files.cat(path, offset=asked.offset, length=length))


@route("GET", "/generations/{generation}/diff", Look)
def get_diff(site: Site, generation: str, asked: Look) -> list[Json]:
    """Return by path what is different in `other`, a later generation."""
    found = diff(site.system, generation, _other(asked), asked.volume, partition=asked.partition)
    return [diff_json(one) for one in found]


@route("GET", "/generations/{generation}/changes", Look)
def get_changes(site: Site, generation: str, asked: Look) -> Json:
    """Name the files whose bytes may have changed since `other`, an earlier generation."""
    found = changed_files(
        site.system, generation, _other(asked), asked.volume, partition=asked.partition
    )
    return changed_json(found)


def _other(asked: Look) -> str:
    if asked.other is None:
        raise InvalidArgumentError("compared with what isn't said", hint="other=GENERATION")
    return asked.other


# --- what is kept ---------------------------------------------------------------------------------


@route("GET", "/policies")
def get_policies(site: Site, _: Nothing) -> list[Json]:
    """Return the policies that hold: the system's, and what is in effect for each source volume."""
    system = site.system
    table = system.state.policies
    sources = sorted({row.volume_id for row in system.table() if row.is_primary})
    own = [(None, table.get(None)), *((one, table.effective(VolumeId(one))) for one in sources)]
    return [policy_json(volume_id, policy) for volume_id, policy in own]


@route("POST", "/policies", SetPolicy)
def set_policy(site: Site, asked: SetPolicy) -> Json:
    """Say what becomes of the generations of a volume, or (null) of those without a policy."""
    site.system.set_policy(
        asked.volume_id,
        next_svol=None if asked.next_svol is None else one_of(NextSvol, asked.next_svol),
        retention=None if asked.retention is None else _retention(asked.retention),
    )
    volume_id = None if asked.volume_id is None else VolumeId(asked.volume_id)
    return policy_json(volume_id, site.system.state.policies.get(volume_id))


def _retention(told: Json) -> RetentionPolicy:
    rules = dict(told)
    for name in ("keep_within", "forget_after"):
        seconds = rules.pop(f"{name}_s", None)
        if seconds is not None:
            rules[name] = timedelta(seconds=seconds)
    if "keep_labels" in rules:
        rules["keep_labels"] = tuple(rules["keep_labels"])
    try:
        return RetentionPolicy(**rules)
    except TypeError as error:
        raise InvalidArgumentError(
            f"the retention rules can't be used: {error}",
            hint="pyrep policy set --help tells what they may be",
        ) from error


@route("POST", "/retention", Retain)
def apply_retention(site: Site, asked: Retain) -> Json:
    """Give up what no rule keeps; a dry run only tells."""
    return retention_json(site.system.apply_retention(*asked.volumes, dry_run=asked.dry_run))
