"""The API's client: a served system as an object, for the commands and for programs."""

from __future__ import annotations

import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pyrep._core import Buffer
from pyrep.api.connection import ApiConnections, Query
from pyrep.api.jobs import Job
from pyrep.engine import ProgressCallback
from pyrep.errors import TimedOutError

__all__ = ["SOCKET_NAME", "Client", "Json"]

SOCKET_NAME = "pyrep.sock"
"""Of the socket in a system's directory."""

Json = dict[str, Any]

_TIMEOUT_S = 60.0
_LOOK_S = 0.2
_POLL_S = 0.05
_SLICE_S = 20.0


class Client:
    """A storage system that `pyrep serve` serves. A context manager; usable from any thread.

    Methods return what the API tells, as plain data; where names of files aren't UTF-8 a field
    `…_b64` beside has their bytes. Long operations return a `Job`; `finish` waits for its result.
    Every method raises what the engine raised, in its class, with its hint.

    Args:
        socket_path: of the system's socket: `pyrep.sock` in its directory.
        timeout_s: longest silence of the daemon that is put up with.

    Raises:
        NotServedError: no daemon listens there, or this user may not talk to it.
        TimedOutError: it was silent for too long; what was asked may still happen.
    """

    def __init__(self, socket_path: Path | str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connections = ApiConnections(Path(socket_path), timeout_s=timeout_s)

    @classmethod
    def of_system(cls, directory: Path | str) -> Self:
        """Return a client of the system in a directory."""
        return cls(Path(directory) / SOCKET_NAME)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections. Idempotent."""
        self._connections.close()

    @property
    def socket_path(self) -> Path:
        """The daemon's socket."""
        return self._connections.path

    # --- system -----------------------------------------------------------------------------------

    def system(self) -> Json:
        """Return the system: id, version, directory, what it is doing."""
        return self._get("system")

    def table(self) -> list[Json]:
        """Return the copy management table (Fig. 3), a row each."""
        return self._list("table")

    def paths(self) -> list[Json]:
        """Return the paths to other systems, with what has crossed each."""
        return self._list("paths")

    def estimate_path(self, system_id: str) -> list[Json]:
        """Return what resyncs of all pairs with a secondary would copy; nothing is done."""
        return self._list("paths", system_id, "estimate")

    def wait_for_path(self, system_id: str, *, timeout_s: float) -> None:
        """Wait until the path to a system is up.

        Raises:
            TimedOutError: it isn't; the message has why.
        """
        end = time.monotonic() + timeout_s
        while True:
            found = [one for one in self.paths() if one["peer_id"] == system_id]
            if any(one["is_up"] for one in found):
                return
            if time.monotonic() >= end:
                why = "; ".join(str(one.get("last_error")) for one in found) or "none is dialled"
                raise TimedOutError(
                    f"the path to {system_id} isn't up: {why}",
                    hint="look at both systems: pyrep path list says why it is down",
                )
            time.sleep(_POLL_S)

    def openapi(self) -> Json:
        """Return the API's OpenAPI document."""
        return self._get("openapi.json")

    # --- volumes ----------------------------------------------------------------------------------

    def volumes(self) -> list[Json]:
        """Return all volumes."""
        return self._list("volumes")

    def volume(self, volume_id: str) -> Json:
        """Return a volume."""
        return self._get("volumes", volume_id)

    def create_volume(self, volume_id: str, size_bytes: int) -> Json:
        """Make a volume on a new sparse file."""
        return self._post("volumes", body={"volume_id": volume_id, "size_bytes": size_bytes})

    def attach_volume(self, volume_id: str, path: Path | str) -> Json:
        """Make a volume of a file or block device of the daemon's machine, as it is."""
        body = {"volume_id": volume_id, "path": os.fspath(Path(path).absolute())}
        return self._post("volumes", body=body)

    def delete_volume(self, volume_id: str) -> None:
        """Forget a volume that is in no pair."""
        self._connections.ask("DELETE", ("volumes", volume_id))

    def read(self, volume_id: str, length: int, offset: int) -> bytes:
        """Return `length` bytes of a volume."""
        query = {"offset": offset, "length": length}
        return self._connections.send("GET", ("volumes", volume_id, "data"), query=query)

    def write(self, volume_id: str, data: Buffer, offset: int) -> None:
        """Write to a volume as its host; it returns when synchronous mirrors have it."""
        parts = ("volumes", volume_id, "data")
        self._connections.send("PUT", parts, query={"offset": offset}, data=data)

    def flush(self, volume_id: str) -> None:
        """Make everything written to a volume before durable."""
        self._post("volumes", volume_id, "flush")

    # --- pairs ------------------------------------------------------------------------------------

    def pairs(self) -> list[Json]:
        """Return all pairs that this system has a side of, with their state."""
        return self._list("pairs")

    def pair(self, pair_id: str) -> Json:
        """Return a pair with its state."""
        return self._get("pairs", pair_id)

    def create_pair(
        self,
        pvol: str,
        svol: str,
        *,
        system_id: str | None = None,
        group: str | None = None,
        ack: str | None = None,
        **more: str | float | None,
    ) -> Job:
        """Mirror a volume; the job ends with the pair when its initial copy has begun.

        Args:
            pvol: a volume of this system.
            svol: the target, of the same size: a volume here, or of `system_id`.
            system_id: the secondary of a remote pair; None: a local pair.
            group: consistency group of a remote pair; None: one of its own.
            ack: when a write is acknowledged, of a remote pair.
            more: what the API takes beside: congestion, fence_level, protect, chunk_bytes.
        """
        body = {"pvol": pvol, "svol": svol, "system_id": system_id, "group": group, "ack": ack}
        return Job.from_json(self._post("pairs", body=_given({**body, **more})))

    def split_pair(self, pair_id: str, *, label: str = "") -> Job:
        """Split a pair; of a local one in DUPLEX the result has the generation."""
        return Job.from_json(self._post("pairs", pair_id, "split", body={"label": label}))

    def split_pairs(self, pair_ids: Sequence[str], *, label: str = "") -> Job:
        """Split several pairs at one point (INV-6)."""
        body = {"pair_ids": list(pair_ids), "label": label}
        return Job.from_json(self._post("pairs", "split", body=body))

    def resync_pair(self, pair_id: str, **options: str | float | bool | None) -> Job | None:
        """Begin to copy what is pending; None: nothing is to be done.

        Args:
            pair_id: the pair.
            options: direction, discard, force, ceiling_bytes_s, floor_bytes_s, workers, compare.
        """
        told = self._post("pairs", pair_id, "resync", body=_given(options))
        return _job_or_none(told)

    def estimate_resync(
        self, pair_id: str, *, direction: str | None = None, discard: str | None = None
    ) -> Json:
        """Return what a resync would copy, and which way; nothing is done."""
        query = _given({"direction": direction, "discard": discard})
        found: Json = self._connections.ask("GET", ("pairs", pair_id, "estimate"), query=query)
        return found

    def verify_pair(self, pair_id: str, **options: str | float | bool | None) -> Job:
        """Compare both volumes of a pair while hosts write.

        Args:
            pair_id: the pair.
            options: percentage, seed, digest, ceiling_bytes_s, repair.
        """
        return Job.from_json(self._post("pairs", pair_id, "verify", body=_given(options)))

    def pending_extents(self, pair_id: str) -> Iterator[tuple[int, int]]:
        """Yield what is pending on this side as byte ranges (offset, length), ascending.

        Asked for by pieces: what hosts write meanwhile may be among them or not.
        """
        at: int | None = 0
        while at is not None:
            parts = ("pairs", pair_id, "pending")
            found: Json = self._connections.ask("GET", parts, query={"offset": at})
            yield from ((one["offset"], one["length"]) for one in found["extents"])
            at = found["next"]

    def pending_files(self, pair_id: str, *, partition: int | None = None) -> Json:
        """Return the files that what is pending on this side belongs to: an estimate."""
        query = _given({"partition": partition})
        found: Json = self._connections.ask(
            "GET", ("pairs", pair_id, "pending", "files"), query=query
        )
        return found

    def set_protect(self, pair_id: str, protect: str) -> Json:
        """Say what copies do first with the target's local mirrors: require, try or off."""
        return self._post("pairs", pair_id, "protect", body={"protect": protect})

    def pause_pair(self, pair_id: str) -> None:
        """Let a pair's copy rest."""
        self._post("pairs", pair_id, "pause")

    def resume_pair(self, pair_id: str) -> None:
        """Go on with a copy that rests."""
        self._post("pairs", pair_id, "resume")

    def dissolve_pair(self, pair_id: str, **options: str | bool | None) -> Job:
        """End a pair; `options`: force, without_peer."""
        return Job.from_json(self._post("pairs", pair_id, "dissolve", body=_given(options)))

    def wait_for_pair(self, pair_id: str, *statuses: str, timeout_s: float | None = None) -> Json:
        """Wait until a pair has one of these statuses (DUPLEX if none is named).

        Raises:
            TimedOutError: it hasn't yet. RefusedError: it won't by itself.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = _SLICE_S if end is None else max(0.0, end - time.monotonic())
            slice_s = min(left, _SLICE_S)
            body = {"statuses": list(statuses) or ["DUPLEX"], "timeout_s": slice_s}
            try:
                return self._post("pairs", pair_id, "wait", body=body, wait_s=slice_s)
            except TimedOutError as error:
                if end is not None and time.monotonic() >= end:
                    wanted = "/".join(statuses or ("DUPLEX",))
                    raise TimedOutError(
                        f"pair {pair_id} isn't {wanted} after {timeout_s:g} s",
                        hint="wait on, or look what it is doing: pyrep pair show",
                    ) from error

    def sync_pairs(self, *pair_ids: str, **options: str | float | None) -> Job:
        """Begin to wait until everything written before is at the secondary.

        Args:
            pair_ids: remote pairs.
            options: group, until (received, durable), timeout_s.
        """
        body = {"pair_ids": list(pair_ids), **_given(options)}
        return Job.from_json(self._post("pairs", "sync", body=body))

    def group(self, group: str) -> Json:
        """Return a consistency group: the status of its worst member, and its members."""
        return self._get("groups", group)

    # --- generations ------------------------------------------------------------------------------

    def generations(self) -> list[Json]:
        """Return the catalogue, oldest first."""
        return self._list("generations")

    def generation(self, generation_id: str) -> Json:
        """Return a generation."""
        return self._get("generations", generation_id)

    def protect(self, generation_id: str) -> Json:
        """Keep a generation from being given up."""
        return self._post("generations", generation_id, "protect")

    def unprotect(self, generation_id: str) -> Json:
        """Let it be given up again."""
        return self._post("generations", generation_id, "unprotect")

    def pin(self, generation_id: str, holder: str) -> Json:
        """Keep a generation while a holder uses it, also over a restart; once for each holder."""
        return self._post("generations", generation_id, "pin", body={"holder": holder})

    def unpin(self, generation_id: str, holder: str) -> Json:
        """End a holder's pin. NotFoundError: it has none."""
        return self._post("generations", generation_id, "unpin", body={"holder": holder})

    def annotate(
        self,
        generation_id: str,
        values: Mapping[str, str | None],
        *,
        label: str | None = None,
    ) -> Json:
        """Set annotations, or take away those whose value is None; set another label."""
        body = {"values": dict(values), "label": label}
        return self._post("generations", generation_id, "annotate", body=_given(body))

    def verify_generation(
        self, generation_id: str, *, percentage: float = 100.0, seed: int | None = None
    ) -> Job:
        """Read a share of it again and compare that with its digests."""
        body = _given({"percentage": percentage, "seed": seed})
        return Job.from_json(self._post("generations", generation_id, "verify", body=body))

    def digest(self, generation_id: str, *, again: bool = False) -> Job:
        """Compute the digests that it lacks."""
        body = {"again": again}
        return Job.from_json(self._post("generations", generation_id, "digest", body=body))

    def look(
        self,
        generation_id: str,
        what: str,
        *,
        path: str | bytes | None = None,
        **query: str | int | bool | None,
    ) -> Any:
        """Look into a generation: `ls`, `find`, `diff`, `changes`.

        Args:
            generation_id: which.
            what: which of these.
            path: where; bytes are a file's name as it is.
            query: volume, partition, other, pattern, …
        """
        chosen: Query = {**query, **_path_query(path)}
        return self._connections.ask("GET", ("generations", generation_id, what), query=chosen)

    def cat(self, generation_id: str, path: str | bytes, **query: str | int | None) -> bytes:
        """Return a file in a generation; `query`: volume, partition, offset, length."""
        chosen: Query = {**query, **_path_query(path)}
        return self._connections.send("GET", ("generations", generation_id, "cat"), query=chosen)

    def history(self, volume_id: str, path: str | bytes, **query: str | int | None) -> list[Json]:
        """Return one path as each complete generation of a volume has it, oldest first."""
        chosen: Query = {**query, **_path_query(path)}
        found = self._connections.ask("GET", ("volumes", volume_id, "history"), query=chosen)
        return _items(found)

    def policies(self) -> list[Json]:
        """Return the policies: the system's, and those of its volumes."""
        return self._list("policies")

    def set_policy(self, volume_id: str | None, policy: Mapping[str, Any]) -> Json:
        """Say what becomes of a volume's generations; None: of volumes without a policy."""
        return self._post("policies", body={"volume_id": volume_id, **policy})

    def apply_retention(self, volumes: Sequence[str] = (), *, dry_run: bool = False) -> Json:
        """Give up what no rule keeps; a dry run only tells."""
        return self._post("retention", body={"volumes": list(volumes), "dry_run": dry_run})

    # --- workflows --------------------------------------------------------------------------------

    def backup(self, volumes: Sequence[str], **options: str | float | bool | None) -> Job:
        """Take a backup of volumes at one point (Fig. 4).

        Args:
            volumes: at the primary.
            options: label, sides, hold_ack, hold_max_ms, reuse_last, primary.
        """
        return Job.from_json(
            self._post("backups", body={"volumes": list(volumes), **_given(options)})
        )

    def restore(
        self,
        generation: str,
        volume: str,
        paths: Sequence[str | bytes] = (),
        **options: str | float | bool | None,
    ) -> Job:
        """Restore files (Fig. 5) or, with `whole`, a volume (Fig. 6).

        Args:
            generation: its id, or its SVOL's.
            volume: which of its volumes.
            paths: of files; bytes are names as they are.
            options: whole, delete_extra, partition, discard_pending, dry_run.
        """
        names = [os.fsencode(path) for path in paths]
        body = {
            "generation": generation,
            "volume": volume,
            "paths": [os.fsdecode(name) for name in names if _is_text(name)],
            "paths_b64": [b64encode(name).decode() for name in names if not _is_text(name)],
            **_given(options),
        }
        return Job.from_json(self._post("restores", body=body))

    def workflows(self) -> list[Json]:
        """Return the workflows of the journal, oldest first."""
        return self._list("workflows")

    def resume_workflow(self, workflow_id: str) -> Job:
        """Go on with a stopped workflow."""
        return Job.from_json(self._post("workflows", workflow_id, "resume"))

    def abandon_workflow(self, workflow_id: str, *, without_peer: bool = False) -> Job:
        """Undo a stopped workflow; what can't be undone now leaves it stopped."""
        body = {"without_peer": without_peer}
        return Job.from_json(self._post("workflows", workflow_id, "abandon", body=body))

    # --- jobs -------------------------------------------------------------------------------------

    def jobs(self) -> list[Job]:
        """Return the jobs that run, and the last that ended."""
        return [Job.from_json(one) for one in self._list("jobs")]

    def job(self, job_id: str, *, wait_s: float = 0.0) -> Job:
        """Return a job; with `wait_s` as soon as it is over, or then."""
        query = {"wait_s": wait_s} if wait_s else {}
        told = self._connections.ask("GET", ("jobs", job_id), query=query, wait_s=wait_s)
        return Job.from_json(told)

    def cancel_job(self, job_id: str) -> Job:
        """Ask a job to end; `progress.final` of the answer says why it has no effect any more."""
        return Job.from_json(self._post("jobs", job_id, "cancel"))

    def finish(
        self,
        job: Job,
        *,
        progress: ProgressCallback | None = None,
        look: Callable[[Job], None] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Wait for a job; return its result.

        Args:
            job: from one of the commands.
            progress: told what the job told last, several times a second.
            look: called with the job at each look.
            timeout_s: longest wait; None: until it is over.

        Raises:
            PyrepError: what the operation raised. TimedOutError: it goes on.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            if look is not None:
                look(job)
            if progress is not None and job.progress is not None:
                progress(job.progress)
            if job.is_over:
                return job.value()
            left = _LOOK_S if end is None else min(_LOOK_S, end - time.monotonic())
            if left <= 0:
                raise TimedOutError(
                    f"job {job.job_id} goes on after {timeout_s} s: {job.what}",
                    hint=f"wait on: pyrep job wait {job.job_id}",
                )
            job = self.job(job.job_id, wait_s=left)

    # --- requests ---------------------------------------------------------------------------------

    def _get(self, *parts: str) -> Json:
        found: Json = self._connections.ask("GET", parts)
        return found

    def _list(self, *parts: str) -> list[Json]:
        return _items(self._connections.ask("GET", parts))

    def _post(self, *parts: str, body: Json | None = None, wait_s: float = 0.0) -> Json:
        told = self._connections.ask("POST", parts, body=body or {}, wait_s=wait_s)
        return told if isinstance(told, dict) else {}


def _items(found: Any) -> list[Json]:
    """Return a list that may stand below a name of its own."""
    if isinstance(found, dict):
        (found,) = (value for value in found.values() if isinstance(value, list))
    return list(found)


def _given(options: Mapping[str, Any]) -> Json:
    return {name: value for name, value in options.items() if value is not None}


def _job_or_none(told: Json) -> Job | None:
    return Job.from_json(told) if "state" in told else None


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _path_query(path: str | bytes | None) -> dict[str, str]:
    if path is None:
        return {}
    name = os.fsencode(path)
    if _is_text(name):
        return {"path": name.decode()}
    return {"path_b64": b64encode(name).decode()}
