"""Backup (Fig. 4), led by the primary: hosts write on, the remote mirror stays (INV-7).

The hold is from 420 to 470: gates are closed for one C call that notes each stream's last number
and corks it; what hosts write then is queued; 430 carries the numbers, and the secondary splits
only where it has applied exactly these. Nothing is flushed inside the hold.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pyrep._core import Ack, CutItem, CutVerb, Stream, group_cut
from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.errors import RefusedError, TimedOutError
from pyrep.model import (
    Generation,
    GenerationId,
    GenerationState,
    PairId,
    PairStatus,
    SystemId,
    VolumeId,
    WorkflowKind,
    WorkflowState,
)
from pyrep.workflows.codec import generation_from, generation_to
from pyrep.workflows.pool import Pool
from pyrep.workflows.run import Run, Step

__all__ = ["Backup", "BackupReport", "BackupRequest", "BackupSides", "HoldAck"]

_log = logging.getLogger(__name__)


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
        hold_ms: 420 to 470.
        closed_ms: of these, how long the gates were closed.
        drain_ms: of these, 410.
        split_ms: of these, 430 to 450.
        queued_max_bytes: most bytes queued in the hold.
    """

    workflow_id: str
    generations: tuple[Generation, ...]
    hold_ms: float = 0.0
    closed_ms: float = 0.0
    drain_ms: float = 0.0
    split_ms: float = 0.0
    queued_max_bytes: int = 0

    @property
    def generation(self) -> Generation:
        """The first generation: the secondary's, if it was split."""
        return self.generations[0]


class Backup:
    """One backup: what it is about, and its steps."""

    def __init__(self, system: StorageSystem, request: BackupRequest) -> None:
        self._system = system
        self._state = system.state
        self.request = request
        self._volumes = [VolumeId(one) for one in request.volumes]
        self._mirrors = self._remote_mirrors() if request.sides != BackupSides.PRIMARY else []
        self._pool = Pool(system)
        self._timings: dict[str, float] = {}
        self._generations: list[Generation] = []

    def _remote_mirrors(self) -> list[Mirror]:
        mirrors = []
        for volume in self._volumes:
            self._state.volume(volume)
            rows = self._state.mirrors_of(volume)
            found = [one for one in rows if one.row.is_remote and one.row.is_primary]
            if not found:
                raise RefusedError(
                    f"cannot back up volume {volume} at a secondary: it is in no remote pair as "
                    f"PVOL",
                    hint="create a remote pair, or use sides=BackupSides.PRIMARY",
                )
            mirrors += found
        systems = {one.row.pair_system_id for one in mirrors}
        if len(systems) > 1:
            raise RefusedError(
                f"cannot back up volumes of several secondaries at one point: "
                f"{', '.join(sorted(systems))}",
                hint="back up the volumes of one secondary at a time",
            )
        return mirrors

    def _secondary(self) -> SystemId:
        return self._mirrors[0].row.pair_system_id

    def _ask(self, verb: str, run: Run, **facts: object) -> dict[str, Any]:
        body: dict[str, Any] = {"workflow": run.workflow_id, **facts}
        return self._system.ask(self._secondary(), f"backup.{verb}", body)

    def _statuses(self) -> list[list[str]]:
        return [
            [one.row.pair_id, self._system.pair(one.row.pair_id).status().status]
            for one in self._mirrors
        ]

    # --- steps -----------------------------------------------------------------------------------

    def steps(self, run: Run) -> list[Step]:
        """Return the steps of Fig. 4 behind 400."""
        return [
            Step(420, "the point: drain, split, go on (410 to 470)", lambda: self.hold(run)),
            Step(470, "make the generation durable and confirm it", lambda: self.confirm(run)),
        ]

    def prepare(self, run: Run) -> None:
        """400: everything that can be done while everything runs.

        Raises:
            RefusedError: a remote pair isn't DUPLEX, or no SVOL is free.
        """
        run.report()
        run.lease(self._volumes)
        run.note(remote_before=self._statuses())
        for one in self._mirrors:
            self._check_duplex(one)
        if self._mirrors:
            run.note(asked=True)
            answer = self._ask(
                "prepare",
                run,
                pairs=[one.row.pair_id for one in self._mirrors],
                label=self.request.label,
                reuse_last=self.request.reuse_last,
            )
            run.note(attempt=answer["attempt"], generation=answer["generation"])
        if self.request.sides != BackupSides.SECONDARY:
            own = self._pool.prepare(
                self._volumes,
                workflow=run.workflow_id,
                label=self.request.label,
                reuse_last=self.request.reuse_last,
            )
            run.note(own_generation=own.generation_id)
        for outlet in self._outlets():
            timeout_s = self._state.options.ack_timeout_s
            last = outlet.stream.info().last
            outlet.stream.wait(last, Ack.RECEIVED, timeout_s=timeout_s, wake=self._state.wake)

    def _check_duplex(self, mirror: Mirror) -> None:
        status = self._system.pair(mirror.row.pair_id).status()
        if status.status is not PairStatus.DUPLEX:
            raise RefusedError(
                f"cannot back up volume {mirror.row.volume_id}: its remote pair "
                f"{mirror.row.pair_id} is {status.status}",
                hint="wait until it is DUPLEX, or resync it",
            )

    def _outlets(self) -> list[Outlet]:
        outlets: dict[int, Outlet] = {}
        for one in self._mirrors:
            if one.row.group_id is not None:
                outlet = self._state.peer(one.row.pair_system_id).outlet(one.row.group_id)
                outlets[outlet.stream_id] = outlet
        return list(outlets.values())

    def hold(self, run: Run) -> None:
        """420, 410, 430 to 450, 470.

        Raises:
            RefusedError: no answer in time, or a pair moved; nothing is held any more, and the
                generation isn't complete. The workflow may be resumed: it tries again.
        """
        if run.facts.get("split"):
            return  # done before a stop
        try:
            self._hold(run)
        except BaseException:
            self._pool.fail_cut(run.facts.get("own_generation"))
            raise
        run.note(split=True, **self._timings)

    def _hold(self, run: Run) -> None:
        outlets = self._outlets()
        own = self._pool.pairs_of(run.facts.get("own_generation"))
        verb = CutVerb.CORK_RELEASE if self.request.hold_ack is HoldAck.MARK else CutVerb.CORK
        items = [
            *(CutItem(verb=verb, on=outlet.stream) for outlet in outlets),
            *(
                CutItem(verb=CutVerb.GATE, on=self._state.volume(volume).core)
                for volume in self._volumes
            ),
            *(CutItem(verb=CutVerb.SPLIT, on=pvol.link) for pvol, _ in own),
        ]
        streams = [outlet.stream for outlet in outlets]
        self._cut_and_split(run, items, outlets, streams)
        if own:
            self._pool.finish(own, GenerationId(run.facts["own_generation"]))

    def _cut_and_split(
        self,
        run: Run,
        items: Sequence[CutItem],
        outlets: Sequence[Outlet],
        streams: Sequence[Stream],
    ) -> None:
        limit_s = self.request.hold_max_ms / 1e3
        start = time.monotonic()
        watchdog = _Watchdog(streams, limit_s)
        try:
            numbers, closed_ms = group_cut(items, timeout_s=limit_s, wake=self._state.wake)  # 420
            points = {
                outlet.stream_id: number for outlet, number in zip(outlets, numbers, strict=False)
            }
            watchdog.start()
            drained = self._drain(streams, list(points.values()), start + limit_s)  # 410
            if outlets:
                self._ask(
                    "split",
                    run,
                    attempt=run.facts["attempt"],
                    points=[[stream, number] for stream, number in points.items()],
                )  # 430 to 450
            split_at = time.monotonic()
            run.facts["remote_during"] = self._statuses()
            if watchdog.expired:
                raise RefusedError(
                    f"the backup was refused: no answer within {self.request.hold_max_ms} ms",
                    hint="try again, or allow a longer hold: hold_max_ms",
                )
        finally:
            watchdog.end()  # 470
        peak = max((stream.info().queued_peak_bytes for stream in streams), default=0)
        self._timings = {
            "hold_ms": (time.monotonic() - start) * 1e3 if outlets else 0.0,
            "closed_ms": closed_ms,
            "drain_ms": (drained - start) * 1e3,
            "split_ms": (split_at - drained) * 1e3,
            "queued_max_bytes": peak,
        }

    def _drain(self, streams: Sequence[Stream], points: Sequence[int], end: float) -> float:
        for stream, point in zip(streams, points, strict=True):
            left = max(end - time.monotonic(), 0.0)
            try:
                stream.wait(point, Ack.RECEIVED, timeout_s=left, wake=self._state.wake)
            except TimedOutError as error:
                raise RefusedError(
                    f"the backup was refused: what was written before it didn't reach the "
                    f"secondary within {self.request.hold_max_ms} ms",
                    hint="try again, or allow a longer hold: hold_max_ms",
                ) from error
        return time.monotonic()

    def confirm(self, run: Run) -> None:
        """After the hold: flushed, committed, confirmed; a copy of the row is kept here."""
        facts = run.facts
        record = {
            "hold_ms": facts["hold_ms"],
            "queued_max_bytes": facts["queued_max_bytes"],
            "remote_before": facts["remote_before"],
            "remote_during": facts["remote_during"],
            "remote_after": self._statuses(),
        }
        if self._mirrors:
            try:
                answer = self._ask("confirm", run, attempt=facts["attempt"], **record)
            except RefusedError:
                run.note(split=False)  # it isn't there any more: resuming takes another
                raise
            generation = generation_from(answer["generation"])
            if not any(
                one.generation_id == generation.generation_id for one in self._state.catalogue.all()
            ):
                self._state.catalogue.add(generation)
            self._generations.append(generation)
        if facts.get("own_generation"):
            own = GenerationId(facts["own_generation"])
            self._generations.append(_complete(self._system, own, record))

    # --- ends ------------------------------------------------------------------------------------

    def finish(self, run: Run) -> BackupReport:
        """Free the leases and report."""
        self._end_there(run, WorkflowState.DONE)
        run.end(WorkflowState.DONE)
        facts = run.facts
        return BackupReport(
            workflow_id=run.workflow_id,
            generations=tuple(self._generations),
            hold_ms=facts.get("hold_ms", 0.0),
            closed_ms=facts.get("closed_ms", 0.0),
            drain_ms=facts.get("drain_ms", 0.0),
            split_ms=facts.get("split_ms", 0.0),
            queued_max_bytes=facts.get("queued_max_bytes", 0),
        )

    def abandon(self, run: Run) -> None:
        """Give the attempt up: what was split but not confirmed is no backup; its SVOL is free.

        Raises:
            PathLostError: the secondary has volumes leased for it and can't be told.
        """
        self._give_up(run, "abandoned")

    def refuse(self, run: Run, error: BaseException) -> None:
        """400 refused: nothing was begun; free what was leased."""
        self._give_up(run, str(error))

    def _give_up(self, run: Run, why: str) -> None:
        self._end_there(run, WorkflowState.ABANDONED)
        self._pool.discard(run.facts.get("own_generation"))
        run.end(WorkflowState.ABANDONED, why)

    def _end_there(self, run: Run, state: WorkflowState) -> None:
        if self._mirrors and run.facts.get("asked"):
            self._ask("end", run, state=state)


class _Watchdog:
    """Uncorks when the hold has lasted too long, whatever else is waiting."""

    def __init__(self, streams: Sequence[Stream], limit_s: float) -> None:
        self._streams = streams
        self._timer = threading.Timer(limit_s, self._expire)
        self._timer.name = "hold watchdog"
        self._timer.daemon = True
        self.expired = False

    def start(self) -> None:
        """Begin to watch."""
        self._timer.start()

    def _expire(self) -> None:
        self.expired = True
        self._uncork()

    def _uncork(self) -> None:
        for stream in self._streams:
            stream.uncork()

    def end(self) -> None:
        """The hold is over."""
        self._timer.cancel()
        self._uncork()


class SecondaryBackup:
    """What the primary's commands do at the secondary (430 to 450)."""

    def __init__(self, system: StorageSystem) -> None:
        self._system = system
        self._state = system.state
        self._pool = Pool(system)
        self._split: dict[str, threading.Event] = {}

    def prepare(self, peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """Bring an SVOL of each volume to DUPLEX, flushed; write the intent row."""
        volumes = [self._spvol(peer, PairId(pair)) for pair in body["pairs"]]
        generation = self._pool.prepare(
            volumes,
            workflow=body["workflow"],
            label=body["label"],
            reuse_last=body["reuse_last"],
            lease=True,
        )
        return {"attempt": generation.attempt_id, "generation": generation.generation_id}

    def _spvol(self, peer: str, pair_id: PairId) -> VolumeId:
        row = self._state.mirror(pair_id).row
        if row.pair_system_id != peer or row.is_primary:
            raise RefusedError(f"pair {pair_id} isn't one of system {peer}")
        return row.volume_id

    def _attempt(self, attempt_id: str) -> Generation:
        for one in self._state.catalogue.all():
            if one.attempt_id == attempt_id and one.home == self._system.system_id:
                return one
        raise RefusedError(f"there is no backup attempt {attempt_id}")

    def split(self, peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """440, 460, 450: split all volumes at one point, where applied = number."""
        generation = self._attempt(body["attempt"])
        if generation.state is not GenerationState.TAKING:
            raise RefusedError(
                f"backup attempt {body['attempt']} is {generation.state}: too late to split"
            )
        pairs = self._pool.pairs_of(generation.generation_id)
        for pvol, _ in pairs:
            if pvol.row.status is not PairStatus.DUPLEX:  # 440
                job = self._system.local_pairs.resync_forward(
                    pvol.row.pair_id, lease=body["workflow"]
                )  # 460
                if job is not None:
                    job.wait()
        applies = self._state.peer(SystemId(peer))
        checks = [
            CutItem(verb=CutVerb.APPLIED, on=applies.incoming(stream), number=number)
            for stream, number in body["points"]
        ]
        self._system.local_pairs.cut(pairs, checks)  # 450
        done = self._split[generation.generation_id] = threading.Event()

        def settle() -> None:
            try:
                self._pool.finish(pairs, generation.generation_id)
            finally:
                done.set()

        # After the hold: the split's rows and the flush are no part of it.
        self._state.background(f"flush {generation.generation_id}", settle)
        return {}

    def confirm(self, _peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """Flushed, committed and confirmed: complete."""
        generation = self._attempt(body["attempt"])
        done = self._split.get(generation.generation_id)
        if done is not None and not done.wait(self._state.options.ack_timeout_s):
            raise TimedOutError(f"generation {generation.generation_id} isn't flushed yet")
        generation = self._attempt(body["attempt"])
        if generation.state is GenerationState.COMPLETE:
            return {"generation": generation_to(generation)}
        if generation.state is not GenerationState.UNCONFIRMED:
            raise RefusedError(
                f"generation {generation.generation_id} is {generation.state}, not split"
            )
        generation = _complete(self._system, generation.generation_id, body)
        self._split.pop(generation.generation_id, None)
        return {"generation": generation_to(generation)}

    def end(self, _peer: str, body: dict[str, Any]) -> dict[str, Any]:
        """The workflow has ended: an attempt that wasn't split has failed; the lease is free."""
        for one in self._state.catalogue.all():
            if one.state is GenerationState.TAKING and one.generation_id not in self._split:
                holder = self._state.journal.holder(self._state.root_of(one.members[0].source))
                if one.home == self._system.system_id and holder == body["workflow"]:
                    self._system.generations.change(one.generation_id, state=GenerationState.FAILED)
        self._state.journal.release(body["workflow"])
        return {}


def _complete(
    system: StorageSystem, generation_id: GenerationId, record: dict[str, Any]
) -> Generation:
    """Say that a generation is complete, and what the backup did to the remote mirror (INV-7)."""
    return system.generations.change(
        generation_id,
        state=GenerationState.COMPLETE,
        hold_ms=record["hold_ms"],
        queued_max_bytes=record["queued_max_bytes"],
        remote_before=_pairs_of(record["remote_before"]),
        remote_during=_pairs_of(record["remote_during"]),
        remote_after=_pairs_of(record["remote_after"]),
    )


def _pairs_of(listed: Sequence[Sequence[str]]) -> tuple[tuple[PairId, str], ...]:
    return tuple((PairId(pair), status) for pair, status in listed)


def begin_backup(
    system: StorageSystem,
    request: BackupRequest,
    *,
    progress: ProgressCallback | None,
    cancel: Cancel | None,
) -> tuple[Backup, Run]:
    """400: check what can be refused before anything is written, then write the workflow down."""
    if not request.volumes:
        raise RefusedError("cannot back up nothing", hint="name at least one volume")
    backup = Backup(system, request)
    run = Run.begin(
        system,
        WorkflowKind.BACKUP,
        400,
        request.to_json(),
        progress=progress,
        cancel=cancel,
    )
    return backup, run
