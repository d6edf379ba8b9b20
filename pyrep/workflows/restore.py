"""Restore of files (Fig. 5) and of a volume (Fig. 6), led by the system that holds the generation.

Until 550 (Fig. 5) or 640 (Fig. 6) begins, abandoning makes everything as it was: 105a is whole, and
a forward resync by the union undoes what was written to 105b. From then on only going on is left.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from pyrep._core import Bitmap, Io, VolumeIo
from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.engine.bitcodec import from_roaring
from pyrep.engine.mirror import Mirror
from pyrep.errors import (
    DamagedFileSystemError,
    FileSystemError,
    NoSpaceError,
    PathNotInFileSystemError,
    RefusedError,
    WorkflowError,
)
from pyrep.fs import Access, Selection, apply_restore, plan_restore
from pyrep.model import (
    CHUNK_BYTES_DEFAULT,
    Direction,
    Generation,
    GenerationId,
    GenerationMember,
    PairStatus,
    VolumeId,
    WorkflowKind,
    WorkflowState,
)
from pyrep.workflows.estimate import (
    Estimate,
    bytes_of,
    check_selection,
    estimate_files,
    in_chunks,
    open_view,
    provisional_whole,
)
from pyrep.workflows.run import Run, Step, token_of
from pyrep.workflows.site import HereSite, RemoteSite, Site

__all__ = ["Restore", "RestoreReport", "RestoreRequest", "begin_restore"]

_log = logging.getLogger(__name__)

_COPYING_BACK = {550, 560, 640, 650, 660, 670}
"""From these steps on only going on is left."""

_STOPPING_AGAIN = {520: 510, 630: 620}
"""Where to resume: a refusal at the split may have started the application again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreRequest:
    """What is asked at 500 or 600.

    Attributes:
        generation: the generation's id.
        volume: which of its volumes, by its id at either system.
        paths: paths and patterns of the files; empty for the whole volume by name.
        delete_extra: also remove files that a chosen directory has and the generation lacks.
    """

    generation: str
    volume: str
    paths: tuple[bytes, ...] = ()
    delete_extra: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it for the journal and the path; names that aren't UTF-8 survive."""
        return {
            "generation": self.generation,
            "volume": self.volume,
            "paths": [path.hex() for path in self.paths],
            "delete_extra": self.delete_extra,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> RestoreRequest:
        """Return what `to_json` was given."""
        return cls(
            generation=data["generation"],
            volume=data["volume"],
            paths=tuple(bytes.fromhex(path) for path in data["paths"]),
            delete_extra=data["delete_extra"],
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


class Restore:
    """One restore: what it is about, and its steps."""

    def __init__(self, system: StorageSystem, request: RestoreRequest) -> None:
        self._system = system
        self._state = system.state
        self.request = request
        self.generation: Generation = system.generations.get(GenerationId(request.generation))
        if self.generation.home != system.system_id:
            raise RefusedError(
                f"generation {request.generation} is held by system {self.generation.home}",
                hint="ask that system, or any system that is connected to it",
            )
        self.member: GenerationMember = system.generations.member(
            self.generation, VolumeId(request.volume)
        )
        self.remote: Mirror | None = self._state.remote_mirror(self.member.source)
        if self.remote is None and request.volume != self.member.source:
            raise RefusedError(
                f"cannot restore to {self.member.origin_system}:{self.member.origin_volume}: "
                f"volume {self.member.source} is in no remote pair with it any more",
                hint=f"create the remote pair, or restore to volume {self.member.source} itself",
            )
        self.selection = Selection(request.paths) if request.paths else None

    # --- what it is about ------------------------------------------------------------------------

    def site(self, run: Run) -> Site:
        """Return the production site."""
        if self.remote is None:
            return HereSite(self._system, run.workflow_id, volume=self.member.source)
        return RemoteSite(
            self._system,
            run.workflow_id,
            origin=self.member.origin_system,
            volume=self.member.origin_volume,
            pair=self.remote.row.pair_id,
        )

    def _live(self) -> Io:
        return self._state.volume(self.member.source).io

    @property
    def _names(self) -> tuple[str, str]:
        return f"generation {self.generation.generation_id}", f"volume {self.member.source}"

    def check(self) -> None:
        """Refuse what can't work, before anything is touched.

        Raises:
            RefusedError: the generation isn't complete, or the mirror isn't in a state to restore.
            PathNotInFileSystemError, FileSystemError: the selection or the generation.
        """
        if not self.generation.is_complete:
            raise RefusedError(
                f"cannot restore from generation {self.generation.generation_id}: it is "
                f"{self.generation.state}",
                hint="choose a complete generation",
            )
        if self.selection is not None:
            with self._view() as view, open_view(view, self._names[0]) as source:
                check_selection(source, self.selection)

    def _check_copies(self, kind: WorkflowKind, facts: dict[str, Any]) -> None:
        """Refuse copies that 640 or 660 would find ruled out, while everything still runs."""
        for one in self._state.local_svol_mirrors(self.member.source):
            row = one.row
            half_way = row.direction is Direction.REVERSE and not row.target_consistent
            if half_way and row.pair_id != self.member.pair_id:
                raise RefusedError(
                    f"cannot restore: a copy back of local pair {row.pair_id} was broken off, "
                    f"volume {self.member.source} is inconsistent",
                    hint="let it go on first: pair.resync(direction=Direction.REVERSE)",
                )
        if self.remote is None:
            shipping = next(
                (
                    one.row
                    for one in self._state.mirrors_of(self.member.source)
                    if one.row.is_remote and one.row.status is not PairStatus.SPLIT
                ),
                None,
            )
            if kind is WorkflowKind.RESTORE_VOLUME and shipping is not None:
                raise RefusedError(
                    f"cannot restore volume {self.member.source}: it is the PVOL of remote pair "
                    f"{shipping.pair_id}, which is {shipping.status}",
                    hint="split the remote pair first, and resync it forward afterwards",
                )
            return
        pair_id = self.remote.row.pair_id
        if facts["status"] == PairStatus.COPY:
            raise RefusedError(
                f"cannot restore: remote pair {pair_id} is copying",
                hint="wait until it is DUPLEX",
            )
        if facts["broken_off"]:
            raise RefusedError(
                f"cannot restore: the copy of local pair {facts['broken_off']} of volume "
                f"{self.member.origin_system}:{self.member.origin_volume} was broken off",
                hint="let it go on first: pair.resync(direction=...); or stop it: pair.split()",
            )
        if not self.remote.row.target_consistent:
            raise RefusedError(
                f"cannot restore: a copy of remote pair {pair_id} was broken off, volume "
                f"{self.member.source} is inconsistent",
                hint="resync the pair forward first",
            )

    def _view(self) -> AbstractContextManager[Io]:
        return self._system.generations.view(self.generation.generation_id, self.member.source)

    # --- 610 -------------------------------------------------------------------------------------

    def decide(self) -> tuple[int | None, str]:
        """610: Fig. 6 if the whole volume is asked for or meant, else Fig. 5; None: can't tell."""
        if self.selection is None:
            return 6, "the whole volume was asked for"
        with self._view() as view:
            whole, trouble = provisional_whole(
                view, self._live(), self.selection, names=self._names
            )
        if whole is None:
            return None, f"the live volume's files can't be read: {trouble}"
        return (6 if whole.decision else 5), whole.reason

    def estimate(self, cancel: Cancel | None) -> Estimate:
        """Return what the restore would do (dry run)."""
        self.check()
        figure, reason = self.decide()
        if figure == 6:
            return self._estimate_volume(reason)
        if figure is None or self.selection is None:
            return Estimate(figure=5, reason=reason, trouble=reason)
        chunk_bytes = self.remote.row.chunk_bytes if self.remote else CHUNK_BYTES_DEFAULT
        try:
            with self._view() as view:
                found = estimate_files(
                    view,
                    self._live(),
                    self.selection,
                    names=self._names,
                    chunk_bytes=chunk_bytes,
                    delete_extra=self.request.delete_extra,
                    cancel=cancel,
                )
        except DamagedFileSystemError as error:
            return Estimate(figure=5, reason=reason, trouble=str(error))  # torn while written
        cross, revert = self._crossing(found.chunks, chunk_bytes)
        return Estimate(
            figure=5,
            reason=reason,
            changes=found.plan.changes,
            write_bytes=found.write_bytes,
            cross_bytes=cross,
            revert_bytes=revert,
            is_provisional=self._is_live(),
        )

    def _estimate_volume(self, reason: str) -> Estimate:
        pvol, svol = self._state.sides(self.member.pair_id)
        local = pvol.pending()
        local.update(svol.pending())
        cross, revert = self._crossing(local, pvol.row.chunk_bytes)
        return Estimate(
            figure=6,
            reason=reason,
            write_bytes=bytes_of(local, pvol.row.chunk_bytes, self._live().size_bytes),
            cross_bytes=cross,
            revert_bytes=revert,
            is_provisional=self._is_live(),
        )

    def _crossing(self, written: Bitmap, chunk_bytes: int) -> tuple[int, int]:
        """Return the bytes of the union that 550 or 670 copies, and those of 105a's own row."""
        if self.remote is None:
            return 0, 0
        size, own_bytes = self._live().size_bytes, self.remote.row.chunk_bytes
        union = in_chunks(written, chunk_bytes, of_bytes=own_bytes, size_bytes=size)
        union.update(self.remote.link.pending)
        facts = self._system.ask(
            self.remote.row.pair_system_id,
            "restore.pending",
            {"pair": self.remote.row.pair_id},
        )
        there = Bitmap(len(union))
        from_roaring(bytes.fromhex(facts["pending"]), there)
        union.update(there)
        return bytes_of(union, own_bytes, size), bytes_of(there, own_bytes, size)

    def _is_live(self) -> bool:
        return self.remote is None or self.remote.row.status is not PairStatus.SPLIT

    # --- steps -----------------------------------------------------------------------------------

    def prepare(self, run: Run) -> None:
        """500, 600: leases at both sides, pin, and everything that can be refused early."""
        run.report()
        self.check()
        site = self.site(run)
        run.lease([self.member.source])
        run.note(asked=True)
        site.begin(run.kind)
        self._state.catalogue.pin(self.generation.generation_id, self._pin(run))
        facts = site.facts()
        run.note(remote_before=facts["status"])
        self._check_copies(run.kind, facts)
        if run.kind is WorkflowKind.RESTORE_FILES:
            self._check_nothing_pending(facts["status"], facts["pending_count"])
            self._check_room(run.cancel)

    def _pin(self, run: Run) -> str:
        return f"workflow-{run.workflow_id}"

    def _check_nothing_pending(self, status: str, pending: int) -> None:
        """Refuse while 105a's row has pending bits: acknowledged writes would go back in time."""
        if self.remote is None or (status == PairStatus.DUPLEX and not pending):
            return
        if status == PairStatus.SPLIT and not pending:
            return
        volume = f"{self.member.origin_system}:{self.member.origin_volume}"
        raise RefusedError(
            f"cannot restore files into {volume}: its remote pair {self.remote.row.pair_id} is "
            f"{status} with {pending} chunks pending, which would go back in time",
            hint="resync the pair forward first, or restore the whole volume by name (whole=True)",
        )

    def _check_room(self, cancel: Cancel | None) -> None:
        """Plan once while everything still runs: no room and bad paths are found here."""
        if self.selection is None:
            return
        try:
            with (
                self._view() as view,
                open_view(view, self._names[0]) as source,
                open_view(self._live(), self._names[1]) as target,
            ):
                plan_restore(
                    source,
                    target,
                    self.selection,
                    delete_extra=self.request.delete_extra,
                    cancel=cancel,
                )
        except (NoSpaceError, PathNotInFileSystemError):
            raise
        except FileSystemError as error:
            _log.info("restore.estimate the live volume can't be read yet: %s", error)

    def stop_host(self, run: Run) -> None:
        """510, 620: stopped, unmounted, fenced; then every record durable at the secondary."""
        site = self.site(run)
        site.stop()
        pending = site.drain()
        if run.kind is WorkflowKind.RESTORE_FILES and self.remote is not None:
            facts = site.facts()
            try:
                self._check_nothing_pending(facts["status"], pending)
            except RefusedError as error:
                site.start()
                self._free(run, WorkflowState.ABANDONED, str(error))
                raise

    def split(self, run: Run) -> None:
        """520, 630: the remote mirror is split; 105b is the workflow's alone, and was before."""
        site = self.site(run)
        run.note(held=self.member.source)
        self._state.volume(self.member.source).core.lease(token_of(run.workflow_id))
        if self.remote is not None:
            pending = site.split()
            if pending and run.kind is WorkflowKind.RESTORE_FILES:
                self._release_held(run)
                site.forward()
                site.start()
                self._free(run, WorkflowState.ABANDONED, f"{pending} chunks were pending at 520")
                self._check_nothing_pending(PairStatus.SPLIT, pending)

    def decide_again(self, run: Run) -> None:
        """610 again, now that 105b stands still: a changed answer stops with the choices."""
        figure, reason = self.decide()
        if figure != 6:
            due = "" if figure is None else f": Fig. {figure} is due"
            raise WorkflowError(
                f"Fig. 6 was begun, but {reason}{due}",
                hint="abandon this workflow and ask again, for the files or for the whole volume "
                "by name (whole=True)",
                step=610,
            )
        run.note(reason=reason)

    def write_files(self, run: Run) -> None:
        """530: the files are read from the generation's view and written by difference."""
        if self.selection is None:
            raise WorkflowError("no files were chosen", step=530)
        volume = self._state.volume(self.member.source)
        timeout_s = self._state.options.ack_timeout_s
        token = token_of(run.workflow_id)
        with (
            self._view() as view,
            open_view(view, self._names[0]) as source,
            VolumeIo(volume.core, token=token, ack_timeout_s=timeout_s) as io,
            open_view(io, self._names[1], Access.READ_WRITE) as target,
        ):
            plan = plan_restore(
                source,
                target,
                self.selection,
                delete_extra=self.request.delete_extra,
                cancel=run.cancel,
            )
            result = apply_restore(plan, source, target, progress=run.relay, cancel=run.cancel)
        volume.core.flush(ack_timeout_s=timeout_s)
        run.note(
            changed_paths=result.paths_changed,
            written_bytes=result.bytes_written + run.facts.get("written_bytes", 0),
        )

    def await_siblings(self, run: Run) -> None:
        """640: mirrors of 105b that are being copied end first; DUPLEX ones are split at 650."""
        for one in self._state.local_svol_mirrors(self.member.source):
            if one.row.pair_id == self.member.pair_id:
                continue
            job = one.job
            if job is not None:
                job.wait(cancel=run.cancel)
            if one.row.status is PairStatus.COPY:
                # Broken off: nobody else may end it while the workflow holds the tree.
                self._system.pair(one.row.pair_id).split(lease=run.workflow_id)

    def copy_local(self, run: Run) -> None:
        """650: 106b → 105b by the union; DUPLEX siblings are split first, as one generation."""
        if run.facts.get("local_done"):
            return
        pair = self._system.pair(self.member.pair_id)
        job = pair.resync(direction=Direction.REVERSE, lease=run.workflow_id)
        if job is not None:
            job.wait(progress=run.relay, cancel=run.cancel)
            run.note(written_bytes=job.done_bytes)
        run.note(local_done=True)

    def copy_remote(self, run: Run) -> None:
        """540/550, 660/670: 105b → 105a by the union."""
        if self.remote is None:
            return
        before = self._frame_bytes()
        copied = self.site(run).reverse()
        run.note(copied_bytes=copied, crossed_bytes=self._frame_bytes() - before)

    def _frame_bytes(self) -> int:
        if self.remote is None or self.remote.row.group_id is None:
            return 0
        peer = self._state.peer(self.remote.row.pair_system_id)
        outlet = peer.known_outlet(self.remote.row.group_id)
        return outlet.stream.info().frame_bytes if outlet else 0

    def start_host(self, run: Run) -> None:
        """560: unfenced, mounted, recovered, started; 105b is no longer the workflow's alone."""
        self._release_held(run)
        self.site(run).start()

    def _release_held(self, run: Run) -> None:
        run.note(held="")
        self._state.volume(self.member.source).core.lease(0)

    # --- ends ------------------------------------------------------------------------------------

    def finish(self, run: Run) -> RestoreReport:
        """Free what the workflow held."""
        self._free(run, WorkflowState.DONE, None)
        return self.report(run)

    def _free(self, run: Run, state: WorkflowState, error: str | None) -> None:
        self._state.catalogue.unpin(self.generation.generation_id, self._pin(run))
        if run.facts.get("asked"):
            self.site(run).end(state)
        run.end(state, error)

    def report(self, run: Run) -> RestoreReport:
        """Return what it did."""
        facts = run.facts
        return RestoreReport(
            workflow_id=run.workflow_id,
            figure=5 if run.kind is WorkflowKind.RESTORE_FILES else 6,
            reason=facts.get("reason", ""),
            changed_paths=facts.get("changed_paths", 0),
            written_bytes=facts.get("written_bytes", 0),
            copied_bytes=facts.get("copied_bytes", 0),
            crossed_bytes=facts.get("crossed_bytes", 0),
        )

    def abandon(self, run: Run) -> None:
        """Undo what was begun. It may be repeated until it succeeds.

        Raises:
            RefusedError: 105a is being written: only resuming is left.
        """
        at = run.step_number
        written = at >= 530 and run.kind is WorkflowKind.RESTORE_FILES
        if at in _COPYING_BACK or (written and self.remote is None):
            raise RefusedError(
                f"cannot abandon workflow {run.workflow_id}: it is at step {at}, "
                f"the volume is being written",
                hint=f"resume(system, {run.workflow_id!r})",
            )
        site = self.site(run)
        if at not in {500, 600}:
            run.note(abandoning=True)
            self._release_held(run)
            # A pair that was split before is left so, unless 105b was written: 105a is whole.
            if written or run.facts.get("remote_before") != PairStatus.SPLIT:
                site.forward()
            site.start()
        self._free(run, WorkflowState.ABANDONED, "abandoned")

    def refuse(self, run: Run, error: BaseException) -> None:
        """500 or 600 refused: nothing was touched; free what was leased."""
        self._free(run, WorkflowState.ABANDONED, str(error))

    @staticmethod
    def resume_step(step: int) -> int:
        """Return the step from which a workflow that stopped at `step` goes on."""
        return _STOPPING_AGAIN.get(step, step)

    def steps(self, run: Run) -> list[Step]:
        """Return the steps of Fig. 5 or Fig. 6, behind 500 and 600, 610."""
        first = [
            Step(510, "stop the application, unmount, fence, drain", lambda: self.stop_host(run)),
            Step(520, "split the remote mirror", lambda: self.split(run)),
        ]
        last = Step(560, "mount, recover, start the application", lambda: self.start_host(run))
        if run.kind is WorkflowKind.RESTORE_FILES:
            return [
                *first,
                Step(530, "write the files to the SPVOL", lambda: self.write_files(run)),
                Step(540, "resynchronize the remote mirror", run.note),
                Step(550, "copy back what is pending", lambda: self.copy_remote(run)),
                last,
            ]
        return [
            replace(first[0], number=620),
            replace(first[1], number=630),
            Step(610, "is it still the whole volume?", lambda: self.decide_again(run)),
            Step(640, "resynchronize the local mirror", lambda: self.await_siblings(run)),
            Step(650, "copy the generation to the SPVOL", lambda: self.copy_local(run)),
            Step(660, "resynchronize the remote mirror", run.note),
            Step(670, "copy back what is pending", lambda: self.copy_remote(run)),
            last,
        ]


def begin_restore(
    system: StorageSystem,
    restore: Restore,
    *,
    progress: ProgressCallback | None,
    cancel: Cancel | None,
) -> Run:
    """500 or 600, and 610: decide the figure and write the workflow down."""
    figure, reason = restore.decide()
    kind = WorkflowKind.RESTORE_VOLUME if figure == 6 else WorkflowKind.RESTORE_FILES
    run = Run.begin(
        system,
        kind,
        600 if figure == 6 else 500,
        restore.request.to_json(),
        progress=progress,
        cancel=cancel,
    )
    run.facts["reason"] = reason
    return run
