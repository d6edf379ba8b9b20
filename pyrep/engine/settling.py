"""Settling: what bounds the cost of a crash, every few seconds, for pairs of every status."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pyrep._core import LinkMode
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.engine.unwaited import logging_errors
from pyrep.model import PairStatus
from pyrep.model.units import MIB

__all__ = ["Settling"]

_log = logging.getLogger(__name__)

_LOOK_S = 1.0
_EVERY_S = 5.0
"""How long what was forwarded may be unsettled: the kernel begins to write it then, too."""
_MOST_BYTES = 1024 * MIB
"""Of this much unsettled nobody waits so long: a crash would copy it, beside the hot regions."""
_SAVE_S = 60.0
"""How often the rows of a volume whose regions leave its log are saved."""
_SAVE_SHARE = 20
"""And not more often than so many times as long as saving one took."""


@dataclass(slots=True)
class _Seen:
    """Of a row: what was done for it last.

    Attributes:
        settled_s: when it was settled.
        save_s: when it may be saved, if its pages are behind.
        left: how many regions had left by the last save, or None: it was copied since.
        unsettled_at: the epoch of what the last save found unsettled, as long as that may be so:
            the pages say it until they are written again, and whoever settles it tells nobody.
        behind: whether the pages or the log hold bits that are no more.
        status: at the last look.
    """

    settled_s: float
    save_s: float
    left: int | None
    unsettled_at: int | None = None
    behind: bool = False
    status: PairStatus | None = None


class Settling:
    """A thread that keeps small what a crash would copy.

    What a local mirror was sent is made durable there, so that it needn't be copied again: hosts'
    flushes reach their own volume alone. Streams have their barriers for that. The source needn't
    be flushed: what it alone could lose is in hot regions. INV-1, INV-3.

    A region that leaves the activity log takes along what was unsettled then, and its page says so
    until it is written anew: rows of volumes whose regions leave are saved. So does the log, until
    it is told what it may forget; that may wait for an admission, with its flush of the volume.
    While nothing is written, nothing is done.
    """

    def __init__(self, state: SystemState, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = state
        self.clock = clock
        self._seen: dict[bytes, _Seen] = {}
        self._looked = False
        self._stop = threading.Event()
        name = f"settle {state.system_id}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            self.look()

    def look(self) -> None:
        """Look once at every row, and do what is due. What fails is logged; its link tells."""
        with self._state.control:
            if self._state.closing:
                return
            mirrors = list(self._state.mirrors.values())
            live = list(self._state.live.values())
        self._seen = {
            one.row.row_key: self._seen.get(one.row.row_key) or self._first() for one in mirrors
        }
        self._looked = True
        for mirror in mirrors:
            with logging_errors(_log, f"pair.settle pair={mirror.row.pair_id}"):
                self._tend(mirror, self._seen[mirror.row.row_key])
        for one in live:
            if one.log is not None and not self._state.closing:
                with logging_errors(_log, f"alog.forget volume={one.record.volume_id}"):
                    one.log.forget()

    def _first(self) -> _Seen:
        """A row that was opened is saved; one that was made since then may have been copied."""
        now = self.clock()
        return _Seen(settled_s=now, save_s=now + _SAVE_S, left=None if self._looked else 0)

    def _tend(self, mirror: Mirror, seen: _Seen) -> None:
        if self._state.closing:
            return
        if self._wants_settling(mirror, seen):
            began = self.clock()
            mirror.link.settle_epoch()
            now = self.clock()
            # As long as it took, hosts have the disk to themselves.
            seen.settled_s = max(now, now + (now - began) - _EVERY_S)
        if not mirror.savers.acquire(blocking=False):
            return
        try:
            self._note(mirror, seen)
            if self._wants_saving(mirror, seen):
                self._save(mirror, seen)
        finally:
            mirror.savers.release()

    def _note(self, mirror: Mirror, seen: _Seen) -> None:
        """Note whether the row's pages are behind what it has pending and unsettled."""
        before, seen.status = seen.status, mirror.row.status
        if seen.status is PairStatus.COPY:
            seen.left, seen.behind = None, True
            return
        info = mirror.link.info()
        if seen.unsettled_at is not None and not (
            info.any_unsettled and info.unsettled_epoch < seen.unsettled_at + 2
        ):
            seen.unsettled_at, seen.behind = None, True
        # Of a split row nothing is unsettled: what leaves is pending.
        if PairStatus.DUPLEX in (before, seen.status) and self._left(mirror) != seen.left:
            seen.behind = True

    def _wants_saving(self, mirror: Mirror, seen: _Seen) -> bool:
        if mirror.row.status is PairStatus.COPY or mirror.file.marked_open:
            return False  # `Activity` takes care of them
        return seen.behind and self.clock() >= seen.save_s

    def _save(self, mirror: Mirror, seen: _Seen) -> None:
        began = self.clock()
        # In this order: what is written behind it is hot, or has left by the next look.
        left, info = self._left(mirror), mirror.link.info()
        # Saved once more at the same count, only hot regions can have anything unsettled.
        is_left_unsettled = info.any_unsettled and left != seen.left
        try:
            self._state.write(mirror)
            seen.left, seen.behind = left, False
            seen.unsettled_at = info.unsettled_epoch if is_left_unsettled else None
        finally:
            now = self.clock()
            seen.save_s = now + max(_SAVE_S, _SAVE_SHARE * (now - began))

    def _wants_settling(self, mirror: Mirror, seen: _Seen) -> bool:
        info = mirror.link.info()
        if info.mode is not LinkMode.FORWARD or info.broken or not info.any_unsettled:
            return False
        waited_s = self.clock() - seen.settled_s
        if waited_s >= _EVERY_S:
            return True
        unsettled = mirror.link.unsettled_count() * mirror.row.chunk_bytes
        return waited_s >= _LOOK_S and unsettled >= _MOST_BYTES

    def _left(self, mirror: Mirror) -> int:
        """Return how many regions have left the log of the row's volume."""
        live = self._state.live.get(mirror.row.volume_id)
        if live is None or live.log is None:
            return 0
        info = live.log.info()
        return info.admissions - info.hot

    def close(self) -> None:
        """End it. A flush that is under way is waited for."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
