"""A workflow's run: its journal, its leases, its steps by the patent's numbers."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import xxhash

from pyrep.engine import Cancel, Progress, ProgressCallback, StorageSystem
from pyrep.errors import PyrepError, RefusedError, WorkflowError
from pyrep.model import VolumeId, WorkflowId, WorkflowKind, WorkflowRecord, WorkflowState

__all__ = ["Run", "Step", "token_of"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_KEPT_BY_SITE = {"fenced", "down", "doing"}
"""What the production site keeps in the same record, if it is in this system: never this run's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a figure.

    Attributes:
        number: the patent's; 0 for what the patent doesn't number.
        text: what it does, in the user's words.
        do: does it; doing it again is harmless.
        final: why the workflow isn't cancelled from here on; empty: it may be.
    """

    number: int
    text: str
    do: Callable[[], None]
    final: str = ""


def token_of(workflow_id: WorkflowId) -> int:
    """Return the number with which a workflow passes its own fence (never 0)."""
    return int(xxhash.xxh3_64_intdigest(workflow_id.encode())) | 1


class Run:
    """One workflow under way in the system that leads it.

    The journal has the number of the last step begun, durably, before the step does anything. When
    a step raises, the workflow is STOPPED there: volumes stay as the step left them, leases are
    kept, and the error says how to go on.
    """

    def __init__(
        self,
        system: StorageSystem,
        record: WorkflowRecord,
        *,
        progress: ProgressCallback | None,
        cancel: Cancel | None,
    ) -> None:
        self.system = system
        self.workflow_id = record.workflow_id
        self.kind = record.kind
        self.step_number = record.step
        self.facts: dict[str, Any] = {
            key: fact for key, fact in record.progress.items() if key not in _KEPT_BY_SITE
        }
        self.cancel = cancel
        self._progress = progress
        self._text = "prepare"
        self._final = ""
        self._has_ended = False
        self._has_stopped = False

    @classmethod
    @contextlib.contextmanager
    def take_up(
        cls,
        system: StorageSystem,
        workflow_id: WorkflowId,
        *,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> Iterator[Run]:
        """Go on with a stopped workflow: this block's alone until it ends or stops again.

        If the block raises without having done either, it is stopped where it was. A crash amid
        the block leaves it running in the journal: the next open says that it is stopped.

        Raises:
            RefusedError: it isn't stopped.
        """
        record = system.state.journal.claim(workflow_id)
        run = cls(system, record, progress=progress, cancel=cancel)
        try:
            yield run
        except BaseException as error:
            if not run._has_ended and not run._has_stopped:
                refused = isinstance(error, RefusedError)
                run._stop(record.error or "" if refused else str(error) or type(error).__name__)
            raise

    @classmethod
    def begin(
        cls,
        system: StorageSystem,
        kind: WorkflowKind,
        step: int,
        request: dict[str, Any],
        *,
        progress: ProgressCallback | None,
        cancel: Cancel | None,
    ) -> Run:
        """Write a new workflow into the journal."""
        now = datetime.now(UTC)
        record = WorkflowRecord(
            workflow_id=WorkflowId(f"w{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"),
            kind=kind,
            state=WorkflowState.RUNNING,
            step=step,
            request=request,
            started_at=now,
            updated_at=now,
        )
        system.state.journal.add(record)
        return cls(system, record, progress=progress, cancel=cancel)

    # --- steps -----------------------------------------------------------------------------------

    def perform(self, steps: Sequence[Step], *, from_step: int | None = None) -> None:
        """Do the steps, each journalled before it begins; or those from a number on.

        Raises:
            WorkflowError: a step failed; its cause is chained.
        """
        numbers = [step.number for step in steps]
        start = numbers.index(from_step) if from_step in numbers else 0
        for step in steps[start:]:
            self._perform(step)

    def _perform(self, step: Step) -> None:
        def do() -> None:
            self._begin(step)
            step.do()

        self.attempt(do)

    def attempt(self, do: Callable[[], T]) -> T:
        """Do something of the present step; when it raises, the workflow is stopped there.

        Raises:
            WorkflowError: it stopped; the cause is chained. What a step raises that has ended the
                workflow itself (a refusal, everything undone) comes as it is.
        """
        try:
            return do()
        except BaseException as error:
            if self._has_ended:
                raise
            self.stop(error)
            if isinstance(error, Exception):
                raise self._stopped(error) from error
            raise  # an interrupt stays one; the workflow can be resumed all the same

    def prepare(self, do: Callable[[], None], undo: Callable[[BaseException], None]) -> None:
        """Do the first part, which may be refused: then it is undone, and the workflow ends.

        Raises:
            WorkflowError: it can't be undone now (the path is lost): stopped, to be abandoned.
        """
        try:
            do()
        except BaseException as error:
            cause = error
            self.attempt(lambda: undo(cause))
            raise

    def _begin(self, step: Step) -> None:
        self.step_number = step.number
        self._text = step.text
        self._final = step.final
        with self.system.state.db.transaction():
            self._check_its_own()
            self.system.state.journal.update(
                self.workflow_id, step=step.number, progress=self._merged()
            )
        _log.info("workflow.step workflow=%s step=%d %s", self.workflow_id, step.number, step.text)
        self.report()
        if self.cancel and not step.final:
            self.cancel.check(f"{self.kind} at step {step.number}")

    def _check_its_own(self) -> None:
        """Raise RefusedError if somebody else has ended it, or has its volumes."""
        journal = self.system.state.journal
        state = journal.get(self.workflow_id).state
        if state is not WorkflowState.RUNNING:
            raise RefusedError(
                f"workflow {self.workflow_id} can't go on: it is {state}",
                hint="list_workflows(system) tells who has ended it",
            )
        if not journal.leased(self.workflow_id):
            raise RefusedError(
                f"workflow {self.workflow_id} can't go on: its volumes are free",
                hint="abandon it: what it held may have changed since",
            )

    def tell(self, number: int, text: str) -> None:
        """Tell a step inside a step: logged and reported, not journalled.

        In a hold every write to the journal would keep hosts waiting, and a resume goes on from the
        outer step anyway.
        """
        self.step_number, self._text = number, text
        _log.info("workflow.step workflow=%s step=%d %s", self.workflow_id, number, text)
        self.report()

    def report(
        self,
        done_bytes: int = 0,
        total_bytes: int = 0,
        *,
        rate_bytes_s: float | None = None,
        eta_s: float | None = None,
        part: str = "",
    ) -> None:
        """Tell the caller where it is, and at which part of the step."""
        if self._progress:
            self._progress(
                Progress(
                    what=f"{self._text}: {part}" if part else self._text,
                    step=self.step_number,
                    done_bytes=done_bytes,
                    total_bytes=total_bytes,
                    rate_bytes_s=rate_bytes_s,
                    eta_s=eta_s,
                    final=self._final,
                )
            )

    def relay(self, progress: Progress) -> None:
        """Pass a part's progress on under this step's number."""
        self.report(
            progress.done_bytes,
            progress.total_bytes,
            rate_bytes_s=progress.rate_bytes_s,
            eta_s=progress.eta_s,
        )

    def relay_part(self, progress: Progress) -> None:
        """Pass on under this step's number what a part is about that isn't counted in bytes."""
        self.report(part=progress.what)

    def _stopped(self, error: Exception) -> PyrepError:
        name, where = repr(self.workflow_id), self.system.system_id
        hint = (
            f"at system {where}, resume(system, {name}) goes on from there, "
            f"abandon(system, {name}) undoes it"
        )
        own = error.hint if isinstance(error, PyrepError) else None
        return WorkflowError(
            f"workflow {self.workflow_id} ({self.kind}) stopped at step {self.step_number} "
            f"({self._text}): {error}",
            hint=f"{own}; then {hint}" if own else hint,
            step=self.step_number,
        )

    def _merged(self) -> dict[str, Any]:
        """Return what the journal holds (a site keeps its fence there) with this run's facts."""
        stored = self.system.state.journal.get(self.workflow_id).progress
        return {**stored, **self.facts}

    # --- journal ---------------------------------------------------------------------------------

    def note(self, **facts: object) -> None:
        """Keep facts that a resume needs, durably."""
        self.facts.update(facts)
        self.system.state.journal.update(self.workflow_id, progress=self._merged())

    def stop(self, error: BaseException) -> None:
        """Write down that it stopped, and why: somebody else may take it up from then on."""
        self._stop(str(error) or type(error).__name__)
        _log.warning(
            "workflow.stopped workflow=%s step=%d why=%s",
            self.workflow_id,
            self.step_number,
            error,
        )

    def _stop(self, why: str) -> None:
        self.system.state.journal.update(
            self.workflow_id,
            step=self.step_number,
            state=WorkflowState.STOPPED,
            progress=self._merged(),
            error=why,
        )
        self._has_stopped = True

    def end(self, state: WorkflowState, error: str | None = None) -> None:
        """Write down that it has ended, and free its leases here."""
        with self.system.state.db.transaction():
            self.system.state.journal.update(
                self.workflow_id, state=state, progress=self._merged(), error=error
            )
            self.system.state.journal.release(self.workflow_id)
            self.system.state.journal.forget_ended()
        self._has_ended = True
        _log.info("workflow.end workflow=%s state=%s", self.workflow_id, state)

    def lease(self, volumes: Iterable[VolumeId]) -> None:
        """Lease the trees of these volumes. BusyError names the workflow that has one."""
        state = self.system.state
        state.journal.acquire(self.workflow_id, [state.root_of(one) for one in volumes])
