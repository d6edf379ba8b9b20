"""The watch: a thread that notices what nobody asks about, and tries again what was put off."""

from __future__ import annotations

import logging
import threading

from pyrep.engine.activity import Activity
from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.local import LocalPairs
from pyrep.engine.nextsvol import NextSvols
from pyrep.engine.remote import RemotePairs
from pyrep.engine.settling import Settling
from pyrep.engine.unwaited import logging_errors

__all__ = ["Watch"]

_log = logging.getLogger(__name__)

_EVERY_S = 0.2


class Watch:
    """Looks after an open system: broken streams and links, copies that may go on by now.

    Attributes:
        settling: begins and ends with it, in a thread of its own: its flushes may take long.
    """

    def __init__(
        self,
        endpoint: SystemEndpoint,
        local: LocalPairs,
        remote: RemotePairs,
        *,
        next_svols: NextSvols,
        activity: Activity,
        settling: Settling,
    ) -> None:
        self.settling = settling
        self._rounds = (
            endpoint.close_broken,
            local.breaks.refresh,
            remote.failures.refresh,
            remote.congestion.refresh,
            remote.congestion.resume_drained,
            remote.congestion.look_at_copies,
            local.copies.resume_unclean,
            remote.resumes.resume_refused,
            remote.ageing.look,
            next_svols.look,
            activity.tend,
        )
        self._stop = threading.Event()
        name = f"watch {endpoint.system_id}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self.settling.start()

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self.look()

    def look(self) -> None:
        """Look once at everything, and try what may go on; what fails is logged."""
        for one in self._rounds:
            with logging_errors(_log, f"watch.{one.__name__}"):
                one()

    def close(self) -> None:
        """End it."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.settling.close()
