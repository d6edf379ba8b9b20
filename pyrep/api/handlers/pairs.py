"""Requests about pairs."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable
from enum import StrEnum
from typing import Any, TypeVar

from pyrep.api.jobtable import RunningJob
from pyrep.api.requests import (
    CreatePair,
    Dissolve,
    EstimateResync,
    Nothing,
    Pending,
    PendingFiles,
    Resync,
    SetProtect,
    SplitOne,
    SplitSeveral,
    VerifyPair,
    WaitFor,
    WaitForMarker,
)
from pyrep.api.routes import Answers, Site, route
from pyrep.api.shapes import changed_json, generation_json, pair_json, plain, verified_json
from pyrep.engine import Cancel, CopyJob, MarkerOutcome, Progress, ProgressCallback
from pyrep.engine.arguments import one_of
from pyrep.errors import FileSystemError, InvalidArgumentError, MissingLibraryError, PyrepError
from pyrep.model import (
    CHUNK_BYTES_DEFAULT,
    AckPoint,
    Compare,
    Congestion,
    CopyRate,
    DigestKind,
    Direction,
    FenceLevel,
    Force,
    Generation,
    PairStatus,
    Protect,
)
from pyrep.workflows import differing_files, pending_files

__all__ = [
    "create_pair",
    "dissolve_pair",
    "estimate_resync",
    "get_pair",
    "get_pending",
    "get_pending_files",
    "list_pairs",
    "pause_pair",
    "resume_pair",
    "resync_pair",
    "set_protect",
    "split_pair",
    "split_pairs",
    "sync_pairs",
    "verify_pair",
    "wait_for_pair",
]

_BEGIN_S = 2.0
"""How long a request waits for a copy to begin, a command to end, or either to be refused."""

_EXTENTS_MOST = 4096
"""Ranges told at once: a bitmap may have millions."""

Json = dict[str, Any]

E = TypeVar("E", bound=StrEnum)


@route("GET", "/pairs")
def list_pairs(site: Site, _: Nothing) -> list[Json]:
    """Return all pairs that this system has a side of, with their state."""
    return [pair_json(site.system, one) for one in site.system.pairs()]


def _begun(site: Site, what: str, do: Callable[[ProgressCallback, Cancel], Json]) -> RunningJob:
    """Begin a command on pairs; what is refused at once is the answer to the request."""
    job = site.jobs.start(what, do)
    job.wait(_BEGIN_S)
    job.check()
    return job


@route("POST", "/pairs", CreatePair, answers=Answers.JOB)
def create_pair(site: Site, asked: CreatePair) -> RunningJob:
    """Mirror a volume; a job with the pair, whose initial copy has begun.

    A cancel is heard of when the other system has answered; it forgets its side then.
    """
    chunk_bytes = CHUNK_BYTES_DEFAULT if asked.chunk_bytes is None else asked.chunk_bytes
    protect = _or(Protect.REQUIRE, asked.protect)
    if asked.system_id is not None:
        return _begun_remote(site, asked, asked.system_id, chunk_bytes, protect)
    if any((asked.group, asked.ack, asked.congestion, asked.fence_level)):
        raise InvalidArgumentError(
            f"cannot mirror {asked.pvol} to {asked.svol}: a local pair has no group, no "
            "acknowledgement point, no congestion policy and no fence level",
            hint="name the secondary's system for a remote pair",
        )

    def create(_progress: ProgressCallback, _cancel: Cancel) -> Json:
        pair = site.system.create_local_pair(asked.pvol, asked.svol, chunk_bytes=chunk_bytes)
        if asked.protect is not None:
            pair.set_protect(protect)
        return pair_json(site.system, pair)

    return _begun(site, f"create a pair {asked.pvol} → {asked.svol}", create)


def _begun_remote(
    site: Site, asked: CreatePair, system_id: str, chunk_bytes: int, protect: Protect
) -> RunningJob:
    ack = _or(AckPoint.RECEIVED, asked.ack)
    congestion = _or(Congestion.BLOCK, asked.congestion)
    fence_level = _or(FenceLevel.NEVER, asked.fence_level)

    def create(progress: ProgressCallback, cancel: Cancel) -> Json:
        pair = site.system.create_remote_pair(
            asked.pvol,
            system_id,
            asked.svol,
            group=asked.group,
            ack=ack,
            congestion=congestion,
            fence_level=fence_level,
            protect=protect,
            chunk_bytes=chunk_bytes,
            progress=progress,
            cancel=cancel,
        )
        return pair_json(site.system, pair)

    return _begun(site, f"create a pair {asked.pvol} → {system_id}:{asked.svol}", create)


def _or(default: E, asked: str | None) -> E:
    return default if asked is None else one_of(type(default), asked)


@route("GET", "/pairs/{pair}")
def get_pair(site: Site, pair: str, _: Nothing) -> Json:
    """Return a pair with its state, and the copy that runs."""
    return pair_json(site.system, site.system.pair(pair))


@route("POST", "/pairs/split", SplitSeveral, answers=Answers.JOB)
def split_pairs(site: Site, asked: SplitSeveral) -> RunningJob:
    """Split several pairs at one point; a job with the generation."""

    def split(progress: ProgressCallback, cancel: Cancel) -> Json:
        made = site.system.split_pairs(
            asked.pair_ids, label=asked.label, progress=progress, cancel=cancel
        )
        return _generation(made)

    return _begun(site, f"split pairs {', '.join(asked.pair_ids)}", split)


@route("POST", "/pairs/sync", WaitForMarker, answers=Answers.JOB)
def sync_pairs(site: Site, asked: WaitForMarker) -> RunningJob:
    """Wait until everything written before is at the secondary; a job with the outcomes."""
    until = one_of(AckPoint, asked.until)
    whose = [*dict.fromkeys(asked.pair_ids)]
    if asked.group is not None:
        whose.append(f"group {asked.group}")
    what = f"wait for what was written, of {', '.join(whose)}"

    def work(_: ProgressCallback, cancel: Cancel) -> Json:
        found = site.system.wait_marker(
            *asked.pair_ids,
            group=asked.group,
            until=until,
            timeout_s=asked.timeout_s,
            cancel=cancel,
        )
        worst = max(found.values(), key=list(MarkerOutcome).index)
        return {"outcome": worst.value, "pairs": {one: how.value for one, how in found.items()}}

    return site.jobs.start(what, work)


@route("POST", "/pairs/{pair}/split", SplitOne, answers=Answers.JOB)
def split_pair(site: Site, pair: str, asked: SplitOne) -> RunningJob:
    """Split a pair; a job with the generation that a local one in DUPLEX becomes.

    What is queued for a remote one is waited for.
    """
    found = site.system.pair(pair)

    def split(progress: ProgressCallback, cancel: Cancel) -> Json:
        return _generation(found.split(label=asked.label, progress=progress, cancel=cancel))

    return _begun(site, f"split of {found.name}", split)


def _generation(made: Generation | None) -> Json:
    return {"generation": None if made is None else generation_json(made)}


@route("POST", "/pairs/{pair}/resync", Resync, answers=Answers.JOB)
def resync_pair(site: Site, pair: str, asked: Resync) -> RunningJob | None:
    """Copy what is pending on either side; a job, or nothing when it is DUPLEX already.

    A copy first waits for those that stand against it: that may be long, and is the job's.
    """
    found = site.system.pair(pair)
    bounds = (asked.ceiling_bytes_s, asked.floor_bytes_s)
    rate = None
    if any(bound is not None for bound in bounds):
        rate = CopyRate(ceiling_bytes_s=bounds[0], floor_bytes_s=bounds[1])
    direction = None if asked.direction is None else Direction(asked.direction)
    force = None if asked.force is None else one_of(Force, asked.force)
    compare = None if asked.compare is None else one_of(Compare, asked.compare)
    begun: queue.SimpleQueue[CopyJob | PyrepError | None] = queue.SimpleQueue()

    def begin(cancel: Cancel) -> CopyJob | None:
        try:
            copy = found.resync(
                direction=direction,
                discard=asked.discard,
                force=force,
                rate=rate,
                workers=asked.workers,
                compare=compare,
                cancel=cancel,
            )
        except PyrepError as error:
            begun.put(error)
            raise
        begun.put(copy)
        return copy

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        progress(Progress(what="waiting until the copy can begin"))
        copy = begin(cancel)
        if copy is not None:
            copy.wait(progress=progress, cancel=cancel)
        return {"pair_id": pair, **plain(found.status())}

    job = site.jobs.start(f"resync of {found.name}", work)
    with contextlib.suppress(queue.Empty):  # it waits: the job says how that ends
        outcome = begun.get(timeout=_BEGIN_S)
        if isinstance(outcome, PyrepError):
            raise outcome  # what is refused at once is the answer to this request
        if outcome is None:
            return None
    return job


@route("GET", "/pairs/{pair}/estimate", EstimateResync)
def estimate_resync(site: Site, pair: str, asked: EstimateResync) -> Json:
    """Tell what a resync would copy, and which way, doing nothing."""
    direction = None if asked.direction is None else Direction(asked.direction)
    found = site.system.pair(pair).estimate(direction=direction, discard=asked.discard)
    return dict(plain(found))


@route("POST", "/pairs/{pair}/verify", VerifyPair, answers=Answers.JOB)
def verify_pair(site: Site, pair: str, asked: VerifyPair) -> RunningJob:
    """Compare both volumes while hosts write; a job with where they differ, and in which files."""
    found = site.system.pair(pair)
    kind = one_of(DigestKind, asked.digest)
    ceiling = asked.ceiling_bytes_s
    rate = None if ceiling is None else CopyRate(ceiling_bytes_s=ceiling)

    def work(progress: ProgressCallback, cancel: Cancel) -> Json:
        result = found.verify(
            percentage=asked.percentage,
            seed=asked.seed,
            kind=kind,
            rate=rate,
            progress=progress,
            cancel=cancel,
        )
        if result.is_equal:
            return verified_json(result, None)
        names = None
        with contextlib.suppress(FileSystemError, MissingLibraryError):
            names = differing_files(site.system, result)
        told = verified_json(result, names)
        if asked.repair:
            copy = found.repair(result, cancel=cancel)
            told["repair"] = "pending" if copy is None else "copied"
            if copy is not None:
                copy.wait(progress=progress, cancel=cancel)
        return told

    return site.jobs.start(f"verify {found.name}", work)


@route("GET", "/pairs/{pair}/pending", Pending)
def get_pending(site: Site, pair: str, asked: Pending) -> Json:
    """Return what is pending on this side, as byte ranges: the first 4096 from `offset` on.

    `next` is where the following ones begin; null: there are none. Writes go on between two calls.
    """
    found = site.system.pair(pair)
    row = found.row
    extents = [one for one in found.pending_extents() if sum(one) > asked.offset]
    told, more = extents[:_EXTENTS_MOST], extents[_EXTENTS_MOST:]
    return {
        "pair_id": row.pair_id,
        "volume_id": row.volume_id,
        "chunk_bytes": row.chunk_bytes,
        "extents": [{"offset": offset, "length": length} for offset, length in told],
        "next": more[0][0] if more else None,
    }


@route("GET", "/pairs/{pair}/pending/files", PendingFiles)
def get_pending_files(site: Site, pair: str, asked: PendingFiles) -> Json:
    """Name the files that what is pending on this side belongs to: an estimate."""
    row = site.system.pair(pair).row
    told = changed_json(pending_files(site.system, pair, partition=asked.partition))
    return {"pair_id": row.pair_id, "volume_id": row.volume_id, **told}


@route("POST", "/pairs/{pair}/protect", SetProtect)
def set_protect(site: Site, pair: str, asked: SetProtect) -> Json:
    """Say what copies do first with the local mirrors of the volume that they copy into."""
    found = site.system.pair(pair)
    found.set_protect(one_of(Protect, asked.protect))
    return pair_json(site.system, found)


@route("POST", "/pairs/{pair}/pause", answers=Answers.NOTHING)
def pause_pair(site: Site, pair: str, _: Nothing) -> None:
    """Let a pair's copy rest."""
    site.system.pair(pair).pause_copy()


@route("POST", "/pairs/{pair}/resume", answers=Answers.NOTHING)
def resume_pair(site: Site, pair: str, _: Nothing) -> None:
    """Go on with a copy that rests."""
    site.system.pair(pair).resume_copy()


@route("POST", "/pairs/{pair}/dissolve", Dissolve, answers=Answers.JOB)
def dissolve_pair(site: Site, pair: str, asked: Dissolve) -> RunningJob:
    """End a pair, as a job; both volumes keep what they hold.

    A remote one in DUPLEX is split first.
    """
    force = None if asked.force is None else one_of(Force, asked.force)
    found = site.system.pair(pair)

    def dissolve(progress: ProgressCallback, cancel: Cancel) -> Json:
        found.dissolve(
            force=force, without_peer=asked.without_peer, progress=progress, cancel=cancel
        )
        return {"pair_id": pair, "status": PairStatus.SIMPLEX.value}

    return _begun(site, f"dissolve {found.name}", dissolve)


@route("POST", "/pairs/{pair}/wait", WaitFor)
def wait_for_pair(site: Site, pair: str, asked: WaitFor) -> Json:
    """Wait until a pair has one of these statuses (DUPLEX if none is named)."""
    statuses = [one_of(PairStatus, one) for one in asked.statuses]
    state = site.system.pair(pair).wait(*statuses, timeout_s=max(0.0, asked.timeout_s))
    return {"pair_id": pair, **plain(state)}
