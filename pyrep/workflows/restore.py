"""Restore of files (Fig. 5) and of a volume (Fig. 6), led by the system that holds the generation.

Until 550 (Fig. 5) or 640 (Fig. 6) begins, abandoning makes everything as it was: 105a is whole, and
a forward resync by the union undoes what was written to 105b. From then on only going on is left.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from pyrep._core import VolumeIo
from pyrep.engine import Cancel, CopyJob, ProgressCallback, StorageSystem
from pyrep.engine.mirror import Mirror
from pyrep.errors import (
    PathLostError,
    RefusedError,
    WorkflowError,
)
from pyrep.fs import Access, apply_restore, plan_restore
from pyrep.model import (
    Direction,
    PairStatus,
    WorkflowKind,
    WorkflowState,
)
from pyrep.workflows.alone import check_is_gone
from pyrep.workflows.estimate import open_view
from pyrep.workflows.restore_request import RestoreReport, RestoreRequest
from pyrep.workflows.restore_subject import RestoreSubject
from pyrep.workflows.run import Run, Step, token_of
from pyrep.workflows.site import HereSite, RemoteSite, Site

__all__ = ["Restore", "begin_restore"]

_log = logging.getLogger(__name__)

_COPYING_BACK = {550, 560, 640, 650, 660, 670}
"""From these steps on only going on is left."""

_STOPPING_AGAIN = {520: 510, 630: 620, 650: 640}
"""Where to resume: a refusal at the split may have started the application again; after a crash
mirrors of 105b may be copied again, which 640 waits for."""


class Restore:
    """One restore: what it is about, and its steps."""

    def __init__(self, system: StorageSystem, request: RestoreRequest) -> None:
        self._system = system
        self._state = system.state
        self.request = request
        self.subject = RestoreSubject(system, request)

    # --- what it is about ------------------------------------------------------------------------

    def site(self, run: Run) -> Site:
        """Return the production site."""
        if self.subject.remote is None:
            return HereSite(self._system, run.workflow_id, volume=self.subject.member.source)
        return RemoteSite(
            self._system,
            run.workflow_id,
            origin=self.subject.member.origin_system,
            volume=self.subject.member.origin_volume,
            pair=self.subject.remote.row.pair_id,
        )

    # --- steps -----------------------------------------------------------------------------------

    def prepare(self, run: Run) -> None:
        """500, 600: leases at both sides, pin, and everything that can be refused early."""
        run.report()
        self.subject.check()
        site = self.site(run)
        run.lease([self.subject.member.source])
        run.note(asked=True)
        site.begin(run.kind)
        self._state.catalogue.pin(self.subject.generation.generation_id, self._pin(run))
        facts = site.facts()
        run.note(remote_before=facts["status"])
        self.subject.check_copies(run.kind, facts)
        if run.kind is WorkflowKind.RESTORE_FILES:
            self.subject.check_nothing_pending(facts["status"], facts["pending_count"])
            self.subject.check_room(run.cancel)

    def _pin(self, run: Run) -> str:
        return f"workflow-{run.workflow_id}"

    def stop_host(self, run: Run) -> None:
        """510, 620: stopped, unmounted, fenced; then every record durable at the secondary."""
        site = self.site(run)
        site.stop(run.relay_part, run.cancel)
        if run.facts.get("held") and run.facts.get("remote_before") != PairStatus.SPLIT:
            # 520 has split the pair before, with nothing pending. If 105a's system ended unclean
            # since then, its hot regions are: they would refuse 520, or be reverted by 670.
            site.forward(run.relay, run.cancel)
        pending = site.drain(run.relay, run.cancel)
        if run.kind is WorkflowKind.RESTORE_FILES and self.subject.remote is not None:
            facts = site.facts()
            try:
                self.subject.check_nothing_pending(facts["status"], pending)
            except RefusedError as error:
                site.start(run.relay_part)
                self._free(run, WorkflowState.ABANDONED, str(error))
                raise

    def split(self, run: Run) -> None:
        """520, 630: the remote mirror is split; 105b is the workflow's alone, and was before."""
        site = self.site(run)
        run.note(held=self.subject.member.source)
        self._state.volume(self.subject.member.source).core.lease(token_of(run.workflow_id))
        if self.subject.remote is not None:
            pending = site.split()
            may_lose = run.kind is WorkflowKind.RESTORE_VOLUME or self.request.discard_pending
            if pending and not may_lose:
                self._release_held(run)
                site.forward(run.relay, run.cancel)
                site.start(run.relay_part)
                self._free(run, WorkflowState.ABANDONED, f"{pending} chunks were pending at 520")
                self.subject.check_nothing_pending(PairStatus.SPLIT, pending)

    def decide_again(self, run: Run) -> None:
        """610 again, now that 105b stands still: a changed answer stops with the choices."""
        figure, reason = self.subject.decide()
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
        if self.subject.selection is None:
            raise WorkflowError(
                "no files were chosen", step=530, hint="abandon it, and name files or whole=True"
            )
        volume = self._state.volume(self.subject.member.source)
        timeout_s = self._state.options.ack_timeout_s
        token = token_of(run.workflow_id)
        names, partition = self.subject.names, self.subject.partition
        self._state.note_written(self.subject.member.source)  # its file system writes from C
        with (
            self.subject.view() as view,
            open_view(view, names[0], partition=partition) as source,
            VolumeIo(volume.core, token=token, ack_timeout_s=timeout_s) as io,
            open_view(io, names[1], Access.READ_WRITE, partition=partition) as target,
        ):
            plan = plan_restore(
                source,
                target,
                self.subject.selection,
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
        for one in self._state.local_svol_mirrors(self.subject.member.source):
            if one.row.pair_id == self.subject.member.pair_id:
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
        job = self._begin_local(run)
        if job is not None:
            job.wait(progress=run.relay, cancel=run.cancel)
            run.note(written_bytes=job.done_bytes)
        run.note(local_done=True)

    def _begin_local(self, run: Run) -> CopyJob | None:
        """Begin 650. A sibling that an unclean end had split may begin to follow since 640."""
        pair = self._system.pair(self.subject.member.pair_id)
        for _ in self._state.local_svol_mirrors(self.subject.member.source):  # each does so once
            try:
                return pair.resync(direction=Direction.REVERSE, lease=run.workflow_id)
            except RefusedError:
                if not self._siblings_copied():
                    raise
            self.await_siblings(run)
        return pair.resync(direction=Direction.REVERSE, lease=run.workflow_id)

    def _siblings_copied(self) -> list[Mirror]:
        mine = self.subject.member.pair_id
        mirrors = self._state.local_svol_mirrors(self.subject.member.source)
        busy = {PairStatus.COPY, PairStatus.DUPLEX}  # DUPLEX: it ended between
        return [one for one in mirrors if one.row.pair_id != mine and one.row.status in busy]

    def copy_remote(self, run: Run) -> None:
        """540/550, 660/670: 105b → 105a by the union."""
        if self.subject.remote is None:
            return
        before = self._frame_bytes()
        copied = self.site(run).reverse(run.relay, run.cancel)
        run.note(copied_bytes=copied, crossed_bytes=self._frame_bytes() - before)

    def _frame_bytes(self) -> int:
        if self.subject.remote is None or self.subject.remote.row.group_id is None:
            return 0
        peer = self._state.peer(self.subject.remote.row.pair_system_id)
        outlet = peer.known_outlet(self.subject.remote.row.group_id)
        return outlet.stream.info().frame_bytes if outlet else 0

    def start_host(self, run: Run) -> None:
        """560: unfenced, mounted, recovered, started; 105b is no longer the workflow's alone."""
        self._release_held(run)
        self.site(run).start(run.relay_part)

    def _release_held(self, run: Run) -> None:
        run.note(held="")
        self._state.volume(self.subject.member.source).core.lease(0)

    # --- ends ------------------------------------------------------------------------------------

    def finish(self, run: Run) -> RestoreReport:
        """Free what the workflow held."""
        self._free(run, WorkflowState.DONE, None)
        return self.report(run)

    def _free(self, run: Run, state: WorkflowState, error: str | None) -> None:
        # First: a stop between the other system's end and this one's would leave a workflow that
        # the other one takes for ended behind its leader's back, with nothing to resume.
        run.note(ending=state)
        self._state.catalogue.unpin(self.subject.generation.generation_id, self._pin(run))
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
            CancelledError: it stopped in the copy; only abandoning again is left.
        """
        if run.facts.get("ending") == WorkflowState.ABANDONED:
            self._free(run, WorkflowState.ABANDONED, "abandoned")
            return
        at = run.step_number
        written = at >= 530 and run.kind is WorkflowKind.RESTORE_FILES
        if at in _COPYING_BACK or (written and self.subject.remote is None):
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
                run.tell(at, "copy forward what differs: undo the restore")
                site.forward(run.relay, run.cancel)
            site.start(run.relay_part)
        self._free(run, WorkflowState.ABANDONED, "abandoned")

    def abandon_alone(self, run: Run) -> None:
        """End it here, because 105a's system is gone or has ended it by itself.

        105b keeps what was written to it; the pair's bitmaps know of it.

        Raises:
            RefusedError: that system can be asked, and goes on with it.
        """
        if self.subject.remote is not None:
            origin = self.subject.remote.row.pair_system_id
            try:
                ended = self.site(run).facts().get("ended", False)
            except PathLostError:
                ended = True
            if not ended:
                check_is_gone(self._system, origin, run.workflow_id)
        self._release_held(run)
        self._state.catalogue.unpin(self.subject.generation.generation_id, self._pin(run))
        run.end(WorkflowState.ABANDONED, "abandoned without the other system")

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
        last = Step(
            560,
            "mount, recover, start the application",
            lambda: self.start_host(run),
            final="the volume is restored, and its hosts get it back",
        )
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
    figure, reason = restore.subject.decide()
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
