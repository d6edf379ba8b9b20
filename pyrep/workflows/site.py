"""The production site as a restore sees it: the same calls, over the path or in this system."""

from __future__ import annotations

from typing import Any, Protocol

from pyrep.engine import Cancel, ProgressCallback, StorageSystem
from pyrep.model import SystemId, WorkflowId, WorkflowKind, WorkflowState
from pyrep.workflows.production import ProductionSide
from pyrep.workflows.sending import send

__all__ = ["HereSite", "RemoteSite", "Site"]


class Site(Protocol):
    """Where the volume's hosts are (100a, 110a). What takes long tells how far it is."""

    def facts(self) -> dict[str, Any]:
        """Return the remote pair's status and pending count at its primary."""
        ...

    def begin(self, kind: WorkflowKind) -> None:
        """Lease the volume's tree."""
        ...

    def stop(self, progress: ProgressCallback, cancel: Cancel | None) -> None:
        """510, 620."""
        ...

    def drain(self, progress: ProgressCallback, cancel: Cancel | None) -> int:
        """510: return what is pending once every record is durable at the secondary."""
        ...

    def split(self) -> int:
        """520, 630: return what is pending at the PVOL."""
        ...

    def reverse(self, progress: ProgressCallback, cancel: Cancel | None) -> int:
        """550, 670: return the bytes copied."""
        ...

    def forward(self, progress: ProgressCallback, cancel: Cancel | None) -> None:
        """Undo 520 and 530, or 630."""
        ...

    def start(self, progress: ProgressCallback) -> None:
        """560: goes to its end, for hosts are waiting."""
        ...

    def end(self, state: WorkflowState) -> None:
        """Free the lease."""
        ...


class RemoteSite:
    """The site of a remote pair's primary."""

    def __init__(
        self,
        system: StorageSystem,
        workflow_id: WorkflowId,
        *,
        origin: SystemId,
        volume: str,
        pair: str,
    ) -> None:
        self._system = system
        self._origin = origin
        self._facts = {"workflow": workflow_id, "volume": volume, "pair": pair}

    def _ask(self, verb: str, **more: object) -> dict[str, Any]:
        return self._system.ask(self._origin, f"restore.{verb}", {**self._facts, **more})

    def _send(self, verb: str, progress: ProgressCallback, cancel: Cancel | None) -> dict[str, Any]:
        """Ask for what takes long. When the path is lost the workflow stops, and can be resumed."""
        verb = f"restore.{verb}"
        return send(self._system, self._origin, verb, self._facts, progress=progress, cancel=cancel)

    def facts(self) -> dict[str, Any]:
        """Ask for the pair's facts."""
        return self._ask("facts")

    def begin(self, kind: WorkflowKind) -> None:
        """Ask for the lease."""
        self._ask("begin", kind=kind)

    def stop(self, progress: ProgressCallback, cancel: Cancel | None) -> None:
        """Ask for 510, 620."""
        self._send("stop", progress, cancel)

    def drain(self, progress: ProgressCallback, cancel: Cancel | None) -> int:
        """Ask for the drain."""
        return int(self._send("drain", progress, cancel)["pending"])

    def split(self) -> int:
        """Ask for 520, 630."""
        return int(self._ask("split")["pending"])

    def reverse(self, progress: ProgressCallback, cancel: Cancel | None) -> int:
        """Ask for 550, 670."""
        return int(self._send("reverse", progress, cancel)["copied_bytes"])

    def forward(self, progress: ProgressCallback, cancel: Cancel | None) -> None:
        """Ask for the way back."""
        self._send("forward", progress, cancel)

    def start(self, progress: ProgressCallback) -> None:
        """Ask for 560."""
        self._send("start", progress, None)

    def end(self, state: WorkflowState) -> None:
        """Ask for the end."""
        self._ask("end", state=state)


class HereSite:
    """This system: the generation's source volume is in no remote pair as SVOL."""

    def __init__(self, system: StorageSystem, workflow_id: WorkflowId, *, volume: str) -> None:
        self._side = ProductionSide(system)
        self._workflow = workflow_id
        self._volume = volume

    def facts(self) -> dict[str, Any]:
        """There is no remote pair."""
        return self._side.facts(self._volume, "")

    def begin(self, kind: WorkflowKind) -> None:
        """Lease the volume's tree."""
        self._side.begin(self._workflow, kind, self._volume, leads=True)

    def stop(self, progress: ProgressCallback, cancel: Cancel | None) -> None:
        """Stop, unmount, fence."""
        self._side.stop(self._workflow, self._volume, progress, cancel)

    def drain(self, _progress: ProgressCallback, _cancel: Cancel | None) -> int:
        """Nothing is queued."""
        return 0

    def split(self) -> int:
        """Nothing is to be split."""
        return 0

    def reverse(self, _progress: ProgressCallback, _cancel: Cancel | None) -> int:
        """Nothing is to be copied back."""
        return 0

    def forward(self, _progress: ProgressCallback, _cancel: Cancel | None) -> None:
        """Nothing is to be undone."""
        return

    def start(self, progress: ProgressCallback) -> None:
        """Unfence, mount, recover, start."""
        self._side.start(self._workflow, self._volume, progress)

    def end(self, state: WorkflowState) -> None:
        """The leading record's end frees the lease."""
