"""The end of an open system: what stops in which order, and what is freed when nobody is inside."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable

from pyrep._core import Fence, LinkMode
from pyrep.engine.closing import close_rows
from pyrep.engine.local import LocalPairs
from pyrep.engine.remote import RemotePairs
from pyrep.engine.state import SystemState
from pyrep.engine.watch import Watch
from pyrep.errors import DeviceError, PyrepError
from pyrep.seams import OwnedPath

__all__ = ["Ending"]

_log = logging.getLogger(__name__)

_DRAIN_MOST_S = 20.0
"""How long a clean close waits for what is queued to arrive, however far it has come."""

_kept: list[SystemState] = []
"""Closed systems that somebody was still inside of: freeing them would pull memory away."""


class Ending:
    """Ends one system, once: cleanly, or as a crash would.

    Args:
        paths: the system's paths, also those that are added later.
        lock: the descriptor of the directory's lock.
    """

    def __init__(
        self,
        state: SystemState,
        local: LocalPairs,
        remote: RemotePairs,
        watch: Watch,
        *,
        paths: Iterable[OwnedPath],
        lock: int,
    ) -> None:
        self._state = state
        self._local = local
        self._remote = remote
        self._watch = watch
        self._paths = paths
        self._lock = lock

    def close(self) -> None:
        """End everything cleanly. Idempotent.

        Copies stop (and go on at the next open), paths are cut, bitmaps and tables are written.

        Raises:
            DeviceError: something couldn't be written; the next open treats it as an unclean end.
        """
        state = self._state
        with state.control:
            if state.closing:
                return
            state.closing = True
            state.control.notify_all()
        try:
            for live in state.live.values():
                live.core.fence(Fence.WRITES)  # what is saved below stays true
            self._drain_all()
            self._stop_work()
            self._settle_all()
            self._local.breaks.note_all_broken()
            close_rows(state)
        finally:
            self._free()
        _log.info("system.close system=%s", state.system_id)

    def _drain_all(self) -> None:
        """Let what is queued arrive, if the path is up: a clean close leaves nothing unsettled.

        All drains together have a bound: a slow path may take hours, and a service manager kills
        what doesn't end in time. What hasn't arrived by then is pending.
        """
        bound = threading.Timer(_DRAIN_MOST_S, self._state.wake.set)
        bound.name = "drain bound"
        bound.start()
        try:
            for mirror in list(self._state.mirrors.values()):
                if mirror.link.info().mode is LinkMode.SHIP:
                    with contextlib.suppress(PyrepError):
                        self._remote.line.drain(mirror)
        finally:
            bound.cancel()
            bound.join()

    def _stop_work(self) -> None:
        """End copies, paths, commands and threads: nobody but hosts is inside the core then."""
        state = self._state
        state.wake.set()
        self._stop_jobs()
        for path in self._paths:
            path.close()
        self._watch.close()
        state.wait_idle()
        self._stop_jobs()  # those that a command began meanwhile
        for thread in list(state.threads):
            thread.join()

    def _stop_jobs(self) -> None:
        for mirror in list(self._state.mirrors.values()):
            if mirror.job:
                mirror.job.close()

    def _settle_all(self) -> None:
        for mirror in list(self._state.mirrors.values()):
            if mirror.link.info().mode is LinkMode.FORWARD:
                with contextlib.suppress(DeviceError):
                    mirror.link.settle()  # what can't be settled is saved as pending

    def _free(self) -> None:
        state = self._state
        timeout_s = state.options.ack_timeout_s
        empty = [live.core.shut(timeout_s) for live in state.live.values()]  # all are shut
        if all(empty):
            self._free_core()
        else:
            _log.warning("system.close system=%s somebody is inside a volume", state.system_id)
            _kept.append(state)
        state.db.close()
        os.close(self._lock)

    def _free_core(self) -> None:
        """Free what the compiled core holds; nobody is inside it any more."""
        state = self._state
        for peer in state.peers.values():
            peer.drop_all()
        for mirror in state.mirrors.values():
            mirror.close()
        for peer in state.peers.values():
            peer.close()
        for live in state.live.values():
            live.close()
        state.trees.close()
        state.mirrors.clear()
        state.live.clear()

    def abort(self) -> None:
        """End as a crash would: nothing is written, marks stay. For tests of the next open."""
        state = self._state
        with state.control:
            if state.closing:
                return
            state.closing = True
            state.control.notify_all()
        self._stop_work()
        self._free()
