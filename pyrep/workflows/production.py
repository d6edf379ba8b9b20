"""What a restore does at the system whose hosts use the volume (100a; steps 510, 520, 550, 560).

The leading system (100b, where the generation is) sends these as commands over the path; when the
generation is held by the producing system itself, they are called directly. Every one of them may
be repeated. What is fenced is in this system's own journal, so that it stays fenced over a reopen.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from pyrep.engine import Cancel, Pair, PairState, ProgressCallback, StorageSystem, Will
from pyrep.engine.caller import Caller
from pyrep.engine.endpoint import ErrandHandler
from pyrep.engine.peer import Peer
from pyrep.errors import FileSystemError, MissingLibraryError, NotFoundError, RefusedError
from pyrep.host import CommandHostAgent, NoHostAgent
from pyrep.model import (
    Direction,
    Force,
    PairId,
    PairStatus,
    VolumeId,
    WorkflowId,
    WorkflowKind,
    WorkflowRecord,
    WorkflowState,
)
from pyrep.workflows.browse import pending_files
from pyrep.workflows.host_actions import HostActions
from pyrep.workflows.run import token_of

__all__ = ["ProductionSide", "production_errands", "production_verbs"]

_log = logging.getLogger(__name__)

_NAMED = 20
"""So many files, or ranges, a refusal names."""

_SLICE_S = 0.2


class ProductionSide:
    """The commands, performed here."""

    def __init__(self, system: StorageSystem) -> None:
        self._system = system
        self._state = system.state

    def _host(
        self,
        workflow_id: WorkflowId,
        volume_id: VolumeId,
        progress: ProgressCallback | None,
        cancel: Cancel | None = None,
    ) -> HostActions:
        agent = self._state.options.host_agents.get(volume_id, NoHostAgent())
        if cancel is not None and isinstance(agent, CommandHostAgent):
            agent = agent.cancelled_by(cancel)
        return HostActions(
            self._state.journal, workflow_id, volume_id, agent, progress=progress, cancel=cancel
        )

    @contextlib.contextmanager
    def _turn(
        self,
        workflow_id: WorkflowId,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[None]:
        """Act at a workflow's host when those that were asked for before have ended.

        An order whose path was lost goes on here while its workflow stops: what a resume or an
        abandoning asks for mustn't run beside it, or be undone by its end.

        Raises:
            CancelledError: the caller gave up waiting.
            RefusedError: another order came meanwhile, which is the one that counts.
        """
        caller = Caller(f"workflow {workflow_id}", progress=progress, cancel=cancel)
        control, mine = self._state.control, object()
        with control:
            queue = self._state.acting.setdefault(workflow_id, [])
            queue.append(mine)
            waits = len(queue) > 1
        try:
            if waits:
                caller.tell("waiting until what was asked of the host before has ended")
            with control:
                while queue[0] is not mine:
                    control.wait(_SLICE_S)
                    caller.check()
                if queue[-1] is not mine:
                    raise RefusedError(
                        f"workflow {workflow_id} has asked something else of its host meanwhile",
                        hint="follow what was asked last: list_workflows(system) tells",
                    )
            yield
        finally:
            with control:
                queue.remove(mine)
                if not queue:
                    del self._state.acting[workflow_id]
                control.notify_all()

    def facts(self, volume: str, pair: str) -> dict[str, Any]:
        """Tell the remote pair's status at its primary."""
        if not pair:
            return {"status": "", "pending_count": 0, "volume": volume}
        state = self._system.pair(pair).status()
        return {
            "status": state.status,
            "direction": state.direction,
            "pending_count": state.pending_count,
            "volume": volume,
            "broken_off": self._broken_off(VolumeId(volume)),
            "apart": "" if state.status is PairStatus.DUPLEX else self._apart(PairId(pair)),
        }

    def _apart(self, pair: PairId) -> str:
        """Return why 550 or 670 couldn't go by the bits of a pair, or nothing.

        It never begins a full copy: which side is given up then is for somebody to say.
        """
        meetings = self._system.remote_pairs.meetings
        meeting = meetings.read(self._state.mirror(pair)).meeting
        return "" if meeting.bits_suffice else f"{meeting.relation}: {meeting.reason}"

    def _broken_off(self, volume: VolumeId) -> str:
        """Return a local pair of the volume whose copy has stopped half-way, or nothing."""
        for one in self._state.local_svol_mirrors(volume):
            if one.row.status is PairStatus.COPY and one.job is None:
                return one.row.pair_id
        return ""

    def pending(self, pair: str) -> str:
        """Return what is pending in the PVOL's row, as it travels."""
        return self._state.mirror(PairId(pair)).link.pending.to_roaring().hex()

    def touched(self, pair: str) -> dict[str, Any]:
        """Tell which files have pending chunks, the first ones by name; or which bytes have."""
        try:
            found = pending_files(self._system, pair).paths
        except (FileSystemError, MissingLibraryError) as error:
            _log.info("restore.touched pair=%s no files: %s", pair, error)
            found = ()
        extents = self._system.pair(pair).pending_extents()
        return {
            "paths": [one.hex() for one in found[:_NAMED]],
            "extents": extents[:_NAMED],
            "count": len(found) or len(extents),
        }

    def begin(self, workflow: str, kind: str, volume: str, *, leads: bool) -> None:
        """Lease the volume's tree here, and keep a record of the workflow that another leads."""
        workflow_id = WorkflowId(workflow)
        state = self._state
        root = state.root_of(VolumeId(volume))  # the system's lock comes before the database's
        with state.db.transaction():
            state.journal.acquire(workflow_id, [root])
            if leads:
                progress = {"down": [], **state.journal.get(workflow_id).progress}
                state.journal.update(workflow_id, progress=progress)
                return
            try:
                state.journal.get(workflow_id)
            except NotFoundError:
                now = datetime.now(UTC)
                state.journal.add(
                    WorkflowRecord(
                        workflow_id=workflow_id,
                        kind=WorkflowKind(kind),
                        state=WorkflowState.RUNNING,
                        step=0,
                        request={"led_elsewhere": True, "volume": volume},
                        progress={"down": []},
                        started_at=now,
                        updated_at=now,
                    )
                )

    def has_ended(self, workflow: str) -> bool:
        """Whether this system has ended a workflow that another leads."""
        try:
            return self._state.journal.get(WorkflowId(workflow)).state.has_ended
        except NotFoundError:
            return False

    def check_goes_on(self, workflow: str) -> None:
        """Raise RefusedError for a workflow that was abandoned here while its leader was away.

        Hosts may have written since then.
        """
        if self.has_ended(workflow) or workflow in self._state.ending:
            raise RefusedError(
                f"workflow {workflow} was ended at system {self._state.system_id} while the system "
                f"that leads it was away",
                hint=f"abandon it there, too: abandon(system, {workflow!r}, without_peer=True)",
            )

    def stop(
        self,
        workflow: str,
        volume: str,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """510, 620: the application stops, the volume is unmounted, then fenced by the system.

        Raises:
            HostAgentError: the host can't; CancelledError: the caller gave up. What is down by then
                is in the journal; another call goes on, `start` undoes it.
        """
        workflow_id, volume_id = WorkflowId(workflow), VolumeId(volume)
        with self._turn(workflow_id, progress, cancel):
            self.check_goes_on(workflow)
            self._host(workflow_id, volume_id, progress, cancel).take_down()
            self._fence(workflow_id, volume_id)

    def _fence(self, workflow_id: WorkflowId, volume_id: VolumeId) -> None:
        """Durable first: after a reopen the volume is fenced as it was (INV-2, INV-5)."""
        record = self._state.journal.get(workflow_id)
        self._state.journal.update(workflow_id, progress={**record.progress, "fenced": volume_id})
        self._state.volume(volume_id).core.lease(token_of(workflow_id))

    def drain(
        self,
        workflow: str,
        pair: str,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> int:
        """510: wait until every record is durable at the secondary; return the pending count.

        A pair that would resume by itself (the path was lost meanwhile) is resumed here first: its
        copy must not begin behind 520.
        """
        mirror = self._state.mirror(PairId(pair))
        cause, direction = mirror.row.cause, mirror.row.direction
        is_copying = mirror.row.status is PairStatus.COPY and direction is Direction.FORWARD
        if is_copying or (cause is not None and cause.resumes_by_itself):
            self.forward(workflow, pair, progress, cancel)
        if mirror.row.status is PairStatus.DUPLEX and mirror.row.group_id is not None:
            outlet = self._state.peer(mirror.row.pair_system_id).outlet(mirror.row.group_id)
            timeout_s = self._state.options.ack_timeout_s
            outlet.drain(timeout_s=timeout_s, wake=self._state.wake, links=[mirror.link])
        return mirror.link.pending_count()

    def split(self, workflow: str, pair: str) -> int:
        """520, 630: split the remote mirror; return what is pending at the PVOL."""
        self._system.pair(pair).split(lease=WorkflowId(workflow))
        return self._system.pair(pair).status().pending_count

    def reverse(
        self,
        workflow: str,
        pair: str,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, Any]:
        """550, 670: copy everything pending from the SPVOL to the PVOL; wait for its end.

        Raises:
            CancelledError: the copy stopped where it was; the PVOL is half-way until it goes on.
        """
        here = self._system.pair(pair)
        while True:
            now = here.status()
            try:
                return self._reverse(workflow, here, now, progress, cancel)
            except RefusedError:
                # The copy of before goes on by itself when its path is back: it may have ended
                # between the look and the order.
                after = here.status()
                looks = [(one.status, one.direction, one.cause) for one in (now, after)]
                if looks[0] == looks[1]:
                    raise

    def _reverse(
        self,
        workflow: str,
        here: Pair,
        now: PairState,
        progress: ProgressCallback | None,
        cancel: Cancel | None,
    ) -> dict[str, Any]:
        if now.status is PairStatus.DUPLEX:
            return {"copied_bytes": 0}  # done before a stop
        copies = now.status is PairStatus.COPY and now.direction is Direction.FORWARD
        if copies or (now.cause is not None and now.cause.resumes_by_itself):
            # 520 split it on request, which never resumes: this copy had ended, DUPLEX, before the
            # crash or the path's loss that the pair comes back from by itself.
            self.forward(workflow, here.pair_id, progress, cancel)
            return {"copied_bytes": 0}
        # 630 may have found something pending here: the union reverts it, as the workflow says.
        # Whether the SPVOL is whole its own system knows, and was asked: this one's row may have
        # missed the end of a forward copy that broke off in its last moment.
        job = here.resync(
            direction=Direction.REVERSE,
            discard=self._state.system_id,
            force=Force.INCONSISTENT_SOURCE,
            lease=WorkflowId(workflow),
            cancel=cancel,
        )
        if job is None:
            raise RefusedError(
                f"pair {here.pair_id} has nothing to copy back",
                hint="resume the workflow: list_workflows(system) tells which",
            )
        job.wait(progress=progress, cancel=cancel)
        return {"copied_bytes": job.done_bytes}

    def forward(
        self,
        workflow: str,
        pair: str,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        """The PVOL is whole, the SPVOL gets what differs; no-op if the pair is DUPLEX."""
        job = self._system.remote_pairs.copies.resync_forward(
            PairId(pair),
            lease=WorkflowId(workflow),
            timeout_s=self._state.options.ack_timeout_s,
            # What 530 or 650 has written to the SPVOL is undone.
            will=Will(discard=self._state.mirror(PairId(pair)).row.pair_system_id, by_bits=True),
            cancel=cancel,
        )
        if job is not None:
            job.wait(progress=progress, cancel=cancel)

    def start(self, workflow: str, volume: str, progress: ProgressCallback | None = None) -> None:
        """560: unfenced; mounted, recovered and started is what was taken down.

        Raises:
            HostAgentError: the host can't; another call goes on.
        """
        workflow_id, volume_id = WorkflowId(workflow), VolumeId(volume)
        with self._turn(workflow_id, progress):
            self._state.volume(volume_id).core.lease(0)
            record = self._state.journal.get(workflow_id)
            facts = {key: value for key, value in record.progress.items() if key != "fenced"}
            self._state.journal.update(workflow_id, progress=facts)
            self._host(workflow_id, volume_id, progress).bring_up()

    def end(self, workflow: str, state: str) -> None:
        """The workflow has ended: free the lease here."""
        workflow_id = WorkflowId(workflow)
        with self._state.db.transaction():
            self._state.journal.release(workflow_id)
            try:
                if not self._state.journal.get(workflow_id).state.has_ended:
                    self._state.journal.update(workflow_id, state=WorkflowState(state))
            except NotFoundError:
                _log.debug("workflow %s left no record here", workflow_id)

    def refence(self) -> None:
        """At open: fence what workflows that haven't ended had fenced."""
        for record in self._state.journal.all():
            for key in ("fenced", "held"):
                volume = record.progress.get(key)
                if volume and not record.state.has_ended and volume in self._state.live:
                    core = self._state.volume(VolumeId(volume)).core
                    core.lease(token_of(record.workflow_id))


def production_verbs(side: ProductionSide) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
    """Return the commands by their name on the path, but for those that take long."""

    def answer(**facts: int | str) -> dict[str, Any]:
        return facts

    def begin(body: dict[str, Any]) -> dict[str, Any]:
        side.begin(body["workflow"], body["kind"], body["volume"], leads=False)
        return {}

    def end(body: dict[str, Any]) -> dict[str, Any]:
        side.end(body["workflow"], body["state"])
        return {}

    return {
        "restore.facts": lambda body: {
            **side.facts(body["volume"], body["pair"]),
            "ended": side.has_ended(body["workflow"]),
        },
        "restore.pending": lambda body: answer(pending=side.pending(body["pair"])),
        "restore.touched": lambda body: side.touched(body["pair"]),
        "restore.begin": begin,
        "restore.split": lambda body: answer(pending=side.split(body["workflow"], body["pair"])),
        "restore.end": end,
    }


def production_errands(side: ProductionSide) -> dict[str, ErrandHandler]:
    """Return the commands that take long: they wait for a host, or copy whatever differs."""

    def stop(
        _peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        side.stop(body["workflow"], body["volume"], progress, cancel)
        return {}

    def start(
        _peer: Peer, body: dict[str, Any], progress: ProgressCallback, _cancel: Cancel
    ) -> dict[str, Any]:
        side.start(body["workflow"], body["volume"], progress)
        return {}

    def drain(
        _peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        return {"pending": side.drain(body["workflow"], body["pair"], progress, cancel)}

    def reverse(
        _peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        return side.reverse(body["workflow"], body["pair"], progress, cancel)

    def forward(
        _peer: Peer, body: dict[str, Any], progress: ProgressCallback, cancel: Cancel
    ) -> dict[str, Any]:
        side.forward(body["workflow"], body["pair"], progress, cancel)
        return {}

    return {
        "restore.stop": stop,
        "restore.drain": drain,
        "restore.reverse": reverse,
        "restore.forward": forward,
        "restore.start": start,
    }
