"""What a workflow has had done at a volume's host: what is down is brought up, nothing twice.

The journal has it, so that a resume or an abandoning behind a stop asks the host only for what is
left: `umount` of what isn't mounted fails, and so does `mount` of what is.
"""

from __future__ import annotations

from pyrep.engine import Cancel, ProgressCallback
from pyrep.engine.caller import Caller
from pyrep.errors import HostAgentError
from pyrep.meta import WorkflowJournal
from pyrep.model import VolumeId, WorkflowId, WorkflowRecord
from pyrep.seams import HostAgent

__all__ = ["HostActions", "is_down"]

_TAKE_DOWN = ("stop", "unmount")
_ALL = frozenset({"stop", "unmount", "recover"})
_UNDOES = {"mount": "unmount", "start": "stop"}
_TOLD = {
    "stop": "stopping the application",
    "unmount": "unmounting",
    "mount": "mounting",
    "recover": "recovering the application's data",
    "start": "starting the application",
}


def is_down(record: WorkflowRecord) -> bool:
    """Whether something at the host was stopped or unmounted for a workflow, or may have been."""
    return bool(record.progress.get("down") or record.progress.get("doing"))


class HostActions:
    """The actions of one workflow at the host of one volume.

    In the workflow's journal, durable before and behind each action: *down*, what was done and not
    undone (`stop`, `unmount`; `recover` is due since an unmounting), and *doing*, the action under
    way. If the system ends amid one, nobody knows whether it had its effect: it is done again, or
    undone, and the agent finds that nothing is left to do. What an agent says has failed has had no
    effect, but for `stop`: an application may be half stopped, and is started again.

    Args:
        progress: told of each action before it begins.
        cancel: ends a taking down between two actions; a bringing up always goes to its end.
    """

    def __init__(
        self,
        journal: WorkflowJournal,
        workflow_id: WorkflowId,
        volume_id: VolumeId,
        agent: HostAgent,
        *,
        progress: ProgressCallback | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        self._journal = journal
        self._workflow_id = workflow_id
        self._volume_id = volume_id
        self._caller = Caller(f"host of volume {volume_id}", progress=progress, cancel=cancel)
        self._actions = {
            "stop": agent.stop,
            "unmount": agent.unmount,
            "mount": agent.mount,
            "recover": agent.recover,
            "start": agent.start,
        }

    def take_down(self) -> None:
        """Have the application stopped and the volume unmounted, unless that is so.

        Raises:
            HostAgentError: an action failed; calling it again goes on with that one.
            CancelledError: the caller gave up; so does calling it again.
        """
        for action in _TAKE_DOWN:
            if action not in self._read()[0]:
                self._caller.check()
                self._do(action)

    def bring_up(self) -> None:
        """Have mounted, recovered and started what is down.

        Raises:
            HostAgentError: an action failed; calling it again goes on with that one.
        """
        down, doing = self._read()
        if "unmount" in down or doing in {"unmount", "mount"}:
            self._do("mount")
        if "recover" in self._read()[0]:
            self._do("recover")
        if "stop" in down or doing in {"stop", "start"}:
            self._do("start")

    def _do(self, action: str) -> None:
        before, doing = self._read()
        down = before - {_UNDOES.get(action, "")}
        if action == "unmount":
            down |= {"recover"}
        self._caller.tell(f"{_TOLD[action]} at its host")  # what that raises comes before
        self._write(down, action)
        try:
            self._actions[action](self._volume_id)
        except HostAgentError as error:
            if doing == action:
                raise HostAgentError(
                    str(error),
                    hint=f"it may have been done when the system stopped: {action} must succeed "
                    f"when nothing is left to do",
                    step=action,
                ) from error
            if action != "stop":
                self._write(before, doing)
            raise
        if action in _TAKE_DOWN:
            down |= {action}
        self._write(down - {action} if action == "recover" else down, "")

    def _read(self) -> tuple[frozenset[str], str]:
        progress = self._journal.get(self._workflow_id).progress
        if "down" not in progress:  # begun by an older version, which didn't say
            return _ALL if progress.get("fenced") else frozenset(), progress.get("doing", "")
        return frozenset(progress["down"]), progress.get("doing", "")

    def _write(self, down: frozenset[str], doing: str) -> None:
        progress = self._journal.get(self._workflow_id).progress
        told = {**progress, "down": sorted(down), "doing": doing}
        self._journal.update(self._workflow_id, progress=told)
