"""Backup (Fig. 4), led by the primary: hosts write on, the remote mirror stays (INV-7).

The hold is from 420 to 470: gates are closed for one C call that notes each stream's last number
and corks it; what hosts write then is queued; 430 carries the numbers, and the secondary splits
only where it has applied exactly these. Nothing is flushed inside the hold.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Any

from pyrep._core import Ack, CutItem, CutVerb, Stream, group_cut
from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.engine.outlet import Outlet
from pyrep.errors import ExistsError, PathLostError, RefusedError, TimedOutError
from pyrep.model import (
    Generation,
    GenerationId,
    PairStatus,
    SystemId,
    VolumeId,
    WorkflowKind,
    WorkflowState,
)
from pyrep.workflows.backup_request import BackupReport, BackupRequest, BackupSides, HoldAck
from pyrep.workflows.codec import generation_from
from pyrep.workflows.copies import refresh_generations
from pyrep.workflows.pool import Pool, complete_generation
from pyrep.workflows.run import Run, Step
from pyrep.workflows.sending import send
from pyrep.workflows.watchdog import Watchdog

__all__ = ["Backup", "begin_backup"]

_log = logging.getLogger(__name__)


_DRAINS = 5


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
            CancelledError: while a mirror was brought to DUPLEX.
        """
        start = time.monotonic()
        run.report()
        run.lease(self._volumes)
        run.note(remote_before=self._statuses())
        for one in self._mirrors:
            self._check_duplex(one)
        if self._mirrors:
            self._tell_ended()
            run.note(asked=True)
            answer = send(
                self._system,
                self._secondary(),
                "backup.prepare",
                {
                    "workflow": run.workflow_id,
                    "pairs": [one.row.pair_id for one in self._mirrors],
                    "label": self.request.label,
                    "reuse_last": self.request.reuse_last,
                },
                progress=run.relay,
                cancel=run.cancel,
            )
            run.note(attempt=answer["attempt"], generation=answer["generation"])
        if self.request.sides != BackupSides.SECONDARY:
            own = self._pool.prepare(
                self._volumes,
                workflow=run.workflow_id,
                label=self.request.label,
                reuse_last=self.request.reuse_last,
                progress=run.relay,
                cancel=run.cancel,
            )
            run.note(own_generation=own.generation_id)
        for outlet in self._outlets():
            self._drain_backlog(outlet)
        run.note(prepare_ms=(time.monotonic() - start) * 1e3)

    def _drain_backlog(self, outlet: Outlet) -> None:
        """Bring an asynchronous stream so far that the rest fits into the hold.

        Hosts write on meanwhile: what came during a drain is drained again, until a drain is quick.
        If hosts write as fast as the path takes it, that never comes, and the hold will tell.
        """
        timeout_s = self._state.options.ack_timeout_s
        for _ in range(_DRAINS):
            start = time.monotonic()
            last = outlet.stream.info().last
            outlet.await_answer(last, Ack.RECEIVED, timeout_s=timeout_s, wake=self._state.wake)
            if time.monotonic() - start < self.request.hold_max_ms / 1e3 / 4:
                return

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
        # Now: one that is stopped here and resumed after a crash would tell what that did to them.
        run.note(split=True, remote_after=self._statuses(), **self._timings)

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
        watchdog = Watchdog(streams, limit_s)
        watchdog.start()
        start = time.monotonic()
        try:
            numbers, closed_ms = group_cut(items, timeout_s=limit_s, wake=self._state.wake)  # 420
            self._check_in_time(watchdog)
            points = {
                outlet.stream_id: number for outlet, number in zip(outlets, numbers, strict=False)
            }
            cut = time.monotonic()
            run.tell(410, "send everything written before the point")
            self._drain(streams, list(points.values()), start + limit_s)  # 410
            drained = time.monotonic()
            if outlets:
                run.tell(430, "the secondary checks (440), brings in sync (460), splits (450)")
                self._ask(
                    "split",
                    run,
                    attempt=run.facts["attempt"],
                    points=[[stream, number] for stream, number in points.items()],
                    limit_s=limit_s,
                )  # 430 to 450
            split = time.monotonic()
            self._check_in_time(watchdog)
            watchdog.uncork()  # 470
            uncorked = time.monotonic()
        finally:
            watchdog.end()
        # A remote pair that left DUPLEX in the hold hasn't come back yet.
        run.facts["remote_during"] = self._statuses()
        peak = max((stream.info().queued_peak_bytes for stream in streams), default=0)
        self._timings = {
            "hold_ms": (uncorked - start) * 1e3 if outlets else 0.0,
            "closed_ms": closed_ms,
            "cut_ms": (cut - start) * 1e3,
            "drain_ms": (drained - cut) * 1e3,
            "split_ms": (split - drained) * 1e3,
            "uncork_ms": (uncorked - split) * 1e3,
            "queued_max_bytes": peak,
        }
        phases = " ".join(f"{name}={value:.3f}" for name, value in self._timings.items())
        _log.info("backup.hold workflow=%s %s", run.workflow_id, phases)

    def _check_in_time(self, watchdog: Watchdog) -> None:
        if watchdog.expired:
            raise RefusedError(
                f"the backup was refused: no answer within {self.request.hold_max_ms} ms",
                hint="try again, or allow a longer hold: hold_max_ms",
            )

    def _drain(self, streams: Sequence[Stream], points: Sequence[int], end: float) -> None:
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

    def confirm(self, run: Run) -> None:
        """After the hold: flushed, committed, confirmed; a copy of the row is kept here."""
        facts = run.facts
        record = {
            "hold_ms": facts["hold_ms"],
            "queued_max_bytes": facts["queued_max_bytes"],
            "remote_before": facts["remote_before"],
            "remote_during": facts["remote_during"],
            # 0.1.0 took it here.
            "remote_after": facts.get("remote_after", facts["remote_during"]),
        }
        if self._mirrors:
            try:
                answer = self._ask("confirm", run, attempt=facts["attempt"], **record)
            except RefusedError:
                run.note(split=False)  # it isn't there any more: resuming takes another
                raise
            generation = generation_from(answer["generation"])
            with self._state.control, contextlib.suppress(ExistsError):
                self._state.catalogue.add(generation)  # unless a listing has learned of it
            self._generations.append(generation)
        if facts.get("own_generation"):
            own = GenerationId(facts["own_generation"])
            self._generations.append(complete_generation(self._system, own, record))

    # --- ends ------------------------------------------------------------------------------------

    def finish(self, run: Run) -> BackupReport:
        """Free the leases and report."""
        self._end_there(run, WorkflowState.DONE)
        run.end(WorkflowState.DONE)
        if self._mirrors:  # this backup may have taken an older one's place there
            refresh_generations(self._system, home=self._secondary())
        facts = run.facts
        return BackupReport(
            workflow_id=run.workflow_id,
            generations=tuple(self._generations),
            hold_ms=facts.get("hold_ms", 0.0),
            prepare_ms=facts.get("prepare_ms", 0.0),
            closed_ms=facts.get("closed_ms", 0.0),
            cut_ms=facts.get("cut_ms", 0.0),
            drain_ms=facts.get("drain_ms", 0.0),
            split_ms=facts.get("split_ms", 0.0),
            uncork_ms=facts.get("uncork_ms", 0.0),
            queued_max_bytes=facts.get("queued_max_bytes", 0),
        )

    def abandon(self, run: Run, *, without_peer: bool = False) -> None:
        """Give the attempt up: what was split but not confirmed is no backup; its SVOL is free.

        Without the peer, that learns of it when the next backup is asked of it.

        Raises:
            PathLostError: the secondary has volumes leased for it and can't be told.
        """
        try:
            self._end_there(run, WorkflowState.ABANDONED)
        except PathLostError:
            if not without_peer:
                raise
            run.note(untold=self._secondary())
        self._end_here(run, "abandoned")

    def _tell_ended(self) -> None:
        """Tell the secondary of workflows that were abandoned while it was away."""
        journal = self._state.journal
        for record in journal.untold():
            if record.progress.get("untold") == self._secondary():
                body = {"workflow": record.workflow_id, "state": WorkflowState.ABANDONED}
                self._system.ask(self._secondary(), "backup.end", body)
                left = {key: one for key, one in record.progress.items() if key != "untold"}
                journal.update(record.workflow_id, progress=left)

    def refuse(self, run: Run, error: BaseException) -> None:
        """400 refused: nothing was begun; free what was leased."""
        self._give_up(run, str(error))

    def _give_up(self, run: Run, why: str) -> None:
        self._end_there(run, WorkflowState.ABANDONED)
        self._end_here(run, why)

    def _end_here(self, run: Run, why: str) -> None:
        self._pool.discard(run.facts.get("own_generation"))
        run.end(WorkflowState.ABANDONED, why)

    def _end_there(self, run: Run, state: WorkflowState) -> None:
        if self._mirrors and run.facts.get("asked"):
            self._ask("end", run, state=state)


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
