"""Sending another system on an errand: begin it, follow it, take its answer (`errands.py`)."""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec

from pyrep.engine import Cancel, Progress, ProgressCallback, StorageSystem
from pyrep.errors import CancelledError, NotFoundError, PathLostError
from pyrep.interconnect.messages import PeerFailed
from pyrep.model import SystemId

__all__ = ["LED_AWAY_S", "send"]

LED_AWAY_S = 600.0
"""How long the return of a path is waited for by who follows a workflow that goes on beyond it."""

_SLICE_S = 0.2


def send(
    system: StorageSystem,
    there: SystemId,
    verb: str,
    body: dict[str, Any],
    *,
    progress: ProgressCallback | None = None,
    cancel: Cancel | None = None,
    away_s: float = 0.0,
) -> dict[str, Any]:
    """Let another system do something that takes long, and return its answer.

    Args:
        system: the one that asks.
        there: the one that does it.
        verb: what.
        body: its arguments.
        progress: told what is told there, the beginning of each step at least.
        cancel: is told there, and has the effect that it would have had for a caller there.
        away_s: for how long a lost path is waited for, while the errand goes on beyond it.

    Raises:
        PathLostError: the path was lost; what was begun there may go on.
        CancelledError: as there; or `cancel` while the path was down, which nobody there knows of.
        PyrepError: what was raised there.
    """
    sent = _Sent(system, there, verb, away_s)
    sent.begin(body)
    seen = 0
    last: Progress | None = None
    while True:
        told = sent.ask(seen, cancel)
        seen = int(told["seen"])
        for now in (Progress(**one) for one in told["reports"]):
            if progress and now != last:
                progress(now)
            last = now
        if told["end"] is not None:
            return _answer(told["end"])


def _answer(end: dict[str, Any]) -> dict[str, Any]:
    if "failed" not in end:
        answer: dict[str, Any] = end["answer"]
        return answer
    error = msgspec.convert(end["failed"], PeerFailed).to_error()
    if end["cancelled"] and not isinstance(error, CancelledError):
        raise error from CancelledError(str(error))
    raise error


class _Sent:
    """One errand, as who asked follows it."""

    def __init__(self, system: StorageSystem, there: SystemId, verb: str, away_s: float) -> None:
        self._system = system
        self._there = there
        self._verb = verb
        self._away_s = away_s
        self._errand = secrets.token_hex(16)
        self._is_known = False

    def begin(self, body: dict[str, Any]) -> None:
        """Begin it. When the path is lost before an answer, nobody knows yet whether that was done.

        It isn't sent again: a system that was started anew meanwhile would do it twice.
        """
        asked = {"errand": self._errand, "verb": self._verb, "body": body}
        try:
            self._system.ask(self._there, "errand.begin", asked)
        except PathLostError as error:
            if not self._away_s or not self._has_peer():
                raise
            self._await_path(error, None)
        else:
            self._is_known = True

    def ask(self, seen: int, cancel: Cancel | None) -> dict[str, Any]:
        """Return what there is to tell."""
        while True:
            cancelled = cancel is not None and cancel.is_cancelled
            body = {"errand": self._errand, "seen": seen, "cancel": cancelled}
            try:
                told = self._system.ask(self._there, "errand.poll", body)
            except PathLostError as error:
                if not self._away_s:
                    raise
                self._await_path(error, cancel)
            except NotFoundError as error:
                raise self._forgotten() from error
            else:
                self._is_known = True
                return told

    def _forgotten(self) -> PathLostError:
        since = "was started anew meanwhile" if self._is_known else "may not have heard of it"
        return PathLostError(
            f"the path was lost, and what became of {self._verb} isn't known: system "
            f"{self._there} {since}",
            hint=f"at system {self._there}, list_workflows(system) tells",
        )

    def _has_peer(self) -> bool:
        return self._there in self._system.state.peers

    def _await_path(self, error: PathLostError, cancel: Cancel | None) -> None:
        """Wait for the path's return.

        Raises:
            PathLostError: it doesn't come, or this system is being closed.
            CancelledError: nobody waits any more.
        """
        state = self._system.state
        end_s = time.monotonic() + self._away_s
        where = f"at system {self._there}, list_workflows(system) tells how it ends"
        while True:
            peer = state.peers.get(self._there)
            if peer is not None and peer.is_connected:
                return
            if cancel is not None and cancel.is_cancelled:
                raise CancelledError(
                    f"{self._verb} isn't followed any more; system {self._there}, to which the "
                    f"path is down, wasn't told, and goes on with it",
                    hint=where,
                )
            if state.closing or time.monotonic() >= end_s:
                raise PathLostError(
                    f"{self._verb} isn't followed any more: {error}", hint=where
                ) from error
            with state.control:
                state.control.wait_for(lambda: state.closing, _SLICE_S)
