"""Errands: what a system does for another one that takes long, at the system that does it.

`errand.begin` starts one in a thread of its own, under an id that the asking system has drawn.
`errand.poll` tells how far it is, carries a cancel there, and has its end: a path that is lost in
between is no end, and what is told twice is the same. An errand is of this process's life; what has
to outlive it, a workflow's journal keeps.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from dataclasses import asdict
from typing import Any

import msgspec

from pyrep.engine import Cancel, Progress, StorageSystem
from pyrep.engine.endpoint import ErrandHandler
from pyrep.engine.peer import Peer
from pyrep.errors import BusyError, CancelledError, NotFoundError, PyrepError, WireError
from pyrep.interconnect.garbled import shown
from pyrep.interconnect.messages import PeerFailed

__all__ = ["Errands"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.5
"""How long a question about an errand waits for something new."""

_MOST = 64
"""Errands of one system under way at once, and those of it that have ended and are remembered."""


class _Errand:
    """One errand. All may be called from any thread."""

    def __init__(self, verb: str) -> None:
        self.verb = verb
        self.cancel = Cancel()
        self._news = threading.Condition()
        self._steps: list[Progress] = []
        self._last: Progress | None = None
        self._end: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._end is not None

    def tell(self, now: Progress) -> None:
        """Take what it tells; the first report of each step is kept, and the last one."""
        with self._news:
            steps = self._steps
            if not steps or (steps[-1].step, steps[-1].what) != (now.step, now.what):
                steps.append(now)
                self._news.notify_all()
            self._last = now

    def end(self, **how: object) -> None:
        """Note how it ended."""
        with self._news:
            self._end = dict(how)
            self._news.notify_all()

    def look(self, seen: int) -> dict[str, Any]:
        """Return what was told behind so many reports, as soon as there is something, and how far.

        The last report is the present state; the asking system gets it again as it changes.
        """
        with self._news:
            self._news.wait_for(lambda: self._end is not None or len(self._steps) > seen, _LOOK_S)
            reports = self._steps[max(seen, 0) :]
            if self._last is not None and (not reports or reports[-1] is not self._last):
                reports = [*reports, self._last]
            return {
                "reports": [asdict(one) for one in reports],
                "seen": len(self._steps),
                "end": self._end,
            }


class Errands:
    """The errands that a system does for others. What it can do stands in its endpoint."""

    def __init__(self, system: StorageSystem) -> None:
        self._system = system
        self._errands: dict[tuple[str, str], _Errand] = {}
        self._lock = threading.Lock()

    def begin(self, peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        """Begin an errand; one of this id that is known goes on.

        Raises:
            NotFoundError: nobody here does such a thing.
            BusyError: too many are under way.
        """
        key, verb = (str(peer.system_id), str(body["errand"])), str(body["verb"])
        handler = self._system.endpoint.errands.get(verb)
        if handler is None:
            raise NotFoundError(
                f"system {self._system.system_id} does no errand {verb!r}",
                hint="update the older of the two systems",
            )
        asked: dict[str, Any] = body["body"]
        with self._lock:
            if key in self._errands:
                return {}
            self._make_room(key[0])
            errand = self._errands[key] = _Errand(verb)
        # Counted in until it has ended: a system that is closed frees nothing below it.
        held = contextlib.ExitStack()
        held.enter_context(self._system.state.at_work())
        threading.Thread(
            target=self._run,
            args=(errand, handler, peer, asked, held),
            name=f"errand {verb} from {peer.system_id}",
            daemon=True,
        ).start()
        return {}

    def _make_room(self, system_id: str) -> None:
        own = [(key, one) for key, one in self._errands.items() if key[0] == system_id]
        if sum(not one.is_over for _, one in own) >= _MOST:
            raise BusyError(
                f"system {system_id} has {_MOST} errands under way at {self._system.system_id}",
                hint="ask again when some have ended",
            )
        over = [key for key, one in own if one.is_over]
        for key in over[: max(0, len(over) - _MOST + 1)]:
            del self._errands[key]

    def _run(
        self,
        errand: _Errand,
        handler: ErrandHandler,
        peer: Peer,
        body: dict[str, Any],
        held: contextlib.ExitStack,
    ) -> None:
        with held:
            try:
                answer = msgspec.to_builtins(handler(peer, body, errand.tell, errand.cancel))
            except PyrepError as error:
                errand.end(**_failure(error))
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                # As in a command: a body that says something else than its verb wants.
                why = shown(f"{type(error).__name__}: {error}")
                _log.warning(
                    "path.garbled_call peer=%s verb=%s why=%s",
                    peer.system_id,
                    shown(errand.verb),
                    why,
                )
                _log.debug("path.garbled_call verb=%s", shown(errand.verb), exc_info=True)
                failed = f"system {self._system.system_id} can't do this {errand.verb!r}: {why}"
                errand.end(**_failure(WireError(failed)))
            except Exception as error:  # noqa: BLE001 (told to who asks)
                _log.exception("errand.failed peer=%s verb=%s", peer.system_id, errand.verb)
                errand.end(
                    **_failure(
                        PyrepError(
                            f"{errand.verb} failed there: {error!r}",
                            hint="this is a fault of pyrep's own: its log has it whole",
                        )
                    )
                )
            else:
                errand.end(answer=answer)

    def poll(self, peer: Peer, body: dict[str, Any]) -> dict[str, Any]:
        """Tell how far an errand is, after a moment or at once if there is something new.

        Raises:
            NotFoundError: none of this id was begun in this process's life.
        """
        with self._lock:
            errand = self._errands.get((str(peer.system_id), str(body["errand"])))
        if errand is None:
            raise NotFoundError(
                f"system {self._system.system_id} knows no such errand of {peer.system_id}",
                hint="it was started anew: list_workflows(system) there tells what became of it",
            )
        if body["cancel"]:
            errand.cancel.cancel()
        return errand.look(int(body["seen"]))


def _failure(error: PyrepError) -> dict[str, Any]:
    """Return what was raised, as it travels; what cancelled a workflow is its cause."""
    cancelled = any(isinstance(one, CancelledError) for one in (error, error.__cause__))
    return {"failed": msgspec.to_builtins(PeerFailed.of(error)), "cancelled": cancelled}
