"""Requests about the system as a whole: its table, groups, paths and jobs."""

from __future__ import annotations

from typing import Any

from pyrep.api.jobtable import RunningJob
from pyrep.api.openapi import openapi_document
from pyrep.api.requests import Nothing, WaitForJob
from pyrep.api.routes import Answers, Site, route, routes
from pyrep.api.shapes import plain, row_json
from pyrep.version import __version__

__all__ = [
    "cancel_job",
    "estimate_path",
    "get_group",
    "get_job",
    "get_openapi",
    "get_system",
    "get_table",
    "list_jobs",
    "list_paths",
]

Json = dict[str, Any]

_WAIT_MAX_S = 60.0


@route("GET", "/system")
def get_system(site: Site, _: Nothing) -> Json:
    """Return the system: its id, its directory, the daemon's version."""
    system = site.system
    return {
        "system_id": system.system_id,
        "directory": str(system.directory),
        "version": __version__,
        "volume_count": len(system.volumes()),
        "pair_count": len(system.pairs()),
        "activity": _activity_json(site),
        **site.facts(),
    }


def _activity_json(site: Site) -> Json:
    """Return what a crash would cost at most beside what is pending, and which logs don't work."""
    options = site.system.state.options
    told = {one.volume_id: one.activity() for one in site.system.volumes()}
    logs = {name: log for name, log in told.items() if log is not None}
    return {
        "hot_most": options.hot_regions,
        "region_bytes": options.region_bytes,
        "log_count": sum(one.state != "missing" for one in logs.values()),
        "hot_count": sum(one.hot_count for one in logs.values()),
        "hot_bytes": sum(one.hot_bytes for one in logs.values()),
        "not_working": {
            name: f"{one.state}: {one.error}" for name, one in logs.items() if one.error
        },
    }


@route("GET", "/table")
def get_table(site: Site, _: Nothing) -> list[Json]:
    """Return the copy management table (Fig. 3)."""
    return [row_json(row) for row in site.system.table()]


@route("GET", "/groups/{group}")
def get_group(site: Site, group: str, _: Nothing) -> Json:
    """Return a consistency group: the status of its worst member, and its pairs."""
    status: Json = plain(site.system.group_status(group))
    pairs = [row.pair_id for row in site.system.table() if row.group_id == group]
    return {"group_id": group, **status, "pairs": pairs}


@route("GET", "/paths")
def list_paths(site: Site, _: Nothing) -> list[Json]:
    """Return the paths: those dialled here, and of systems that dial this one; frames sent.

    `version` is the protocol's that was agreed on; null while a path is down.
    `certificate_not_after` is until when this system's own certificate is valid; null without TLS.
    """
    peers = dict(site.system.state.peers)
    more = {
        name: {
            "frame_bytes": peer.frame_bytes,
            "version": peer.terms.version if peer.is_connected else None,
        }
        for name, peer in peers.items()
    }
    none = {"frame_bytes": 0, "version": None}
    until = {"certificate_not_after": site.facts().get("certificate_not_after")}
    dialled = [plain(one) for one in site.system.paths()]
    known = {one["peer_id"] for one in dialled}
    others = [
        {"peer_id": name, "address": None, "is_up": peer.is_connected}
        for name, peer in sorted(peers.items())
        if name not in known
    ]
    return [{**one, **more.get(one["peer_id"], none), **until} for one in (*dialled, *others)]


@route("GET", "/paths/{peer}/estimate")
def estimate_path(site: Site, peer: str, _: Nothing) -> list[Json]:
    """Tell what resyncs of all pairs with a secondary would copy, and which way, doing nothing."""
    return [dict(plain(one)) for one in site.system.estimate_path(peer)]


@route("GET", "/openapi.json")
def get_openapi(_: Site, _asked: Nothing) -> Json:
    """Return the OpenAPI document of this API."""
    return openapi_document(routes())


@route("GET", "/jobs")
def list_jobs(site: Site, _: Nothing) -> list[Json]:
    """Return the jobs that run, and the last that ended, oldest first."""
    return [one.to_json() for one in site.jobs.all()]


@route("GET", "/jobs/{job}", WaitForJob, answers=Answers.JSON)
def get_job(site: Site, job: str, asked: WaitForJob) -> Json:
    """Return a job; with `wait_s` as soon as it is over, or then."""
    found: RunningJob = site.jobs.get(job)
    found.wait(min(max(asked.wait_s, 0.0), _WAIT_MAX_S))
    return found.to_json()


@route("POST", "/jobs/{job}/cancel", answers=Answers.JSON)
def cancel_job(site: Site, job: str, _: Nothing) -> Json:
    """Ask a job to end at its next good point; of one that is over nothing changes.

    The answer is the job: its `progress.final` says why a cancel has no effect any more.
    """
    found = site.jobs.get(job)
    found.cancel()
    return found.to_json()
