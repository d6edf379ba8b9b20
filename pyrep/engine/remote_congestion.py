"""Groups that pulled ahead of a full queue, and copies that don't come to their end."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pyrep._core import LinkMode, StreamInfo
from pyrep.engine.backoff import Backoff
from pyrep.engine.convergence import Convergence
from pyrep.engine.mirror import Mirror
from pyrep.engine.remote_copies import RemoteCopies
from pyrep.engine.remote_line import RemoteLine
from pyrep.engine.remote_meeting import Will
from pyrep.engine.state import ANY_LEASE, SystemState
from pyrep.errors import BusyError, NotFoundError, PathLostError, PyrepError
from pyrep.model import Direction, PairId, PairStatus, SplitCause

__all__ = ["RemoteCongestion"]

_log = logging.getLogger(__name__)

_OTHERS_S = 60.0
"""How long a resume waits for a command that holds the pair."""


class RemoteCongestion:
    """Remote pairs whose PVOL is here, and the room in their queues.

    The core lets a group pull ahead, at once and without this: the marks come first, the row's
    status follows when somebody looks.
    """

    def __init__(
        self,
        state: SystemState,
        line: RemoteLine,
        copies: RemoteCopies,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._line = line
        self._copies = copies
        self._clock = clock
        self._lock = threading.Lock()
        self._resuming: set[PairId] = set()
        self.backoff = Backoff(clock)
        """Of resumes that were refused; the path's return, too, tries anew."""

    def _remote(self) -> list[Mirror]:
        with self._state.control:
            return [
                one
                for one in self._state.mirrors.values()
                if one.row.is_remote and one.row.is_primary
            ]

    def _stream(self, mirror: Mirror) -> StreamInfo | None:
        """Return how the pair's stream is, if it is open."""
        row = mirror.row
        peer = self._state.peers.get(row.pair_system_id)
        outlet = peer.known_outlet(row.group_id) if peer and row.group_id else None
        info = outlet.stream.info() if outlet else None
        return info if info is not None and info.open else None

    # --- pulled ahead ----------------------------------------------------------------------------

    def refresh(self) -> None:
        """Notice what pulled ahead since the last look; not what a command is busy with."""
        state = self._state
        if state.closing:
            return
        for mirror in self._remote():
            if self._has_left(mirror):
                with (
                    contextlib.suppress(BusyError, NotFoundError),
                    state.operation("mark", [mirror.row.pair_id], lease=ANY_LEASE),
                ):
                    if self._has_left(mirror):
                        self._note_left(mirror)

    def _has_left(self, mirror: Mirror) -> bool:
        if mirror.row.status is PairStatus.SPLIT or mirror.job:
            return False
        info = mirror.link.info()
        left = info.mode is LinkMode.SHIP and info.pulled_ahead
        return left and self._stream(mirror) is not None

    def _note_left(self, mirror: Mirror) -> None:
        """SPLIT, congested. The SVOL holds, or is about to hold, the moment of the point."""
        whole = mirror.row.status is PairStatus.DUPLEX
        count = mirror.pulled_ahead_count + 1
        _log.warning(
            "pair.pulled_ahead pair=%s group=%s count=%d: no room in the queue, writes are marked "
            "until it has drained",
            mirror.row.pair_id,
            mirror.row.group_id,
            count,
        )
        self._state.change(
            mirror,
            status=PairStatus.SPLIT,
            cause=SplitCause.CONGESTED,
            target_consistent=whole and mirror.row.target_consistent,
            pending_union=False,
        )
        mirror.pulled_ahead_count, mirror.pulled_ahead_at = count, datetime.now(UTC)

    def resume_drained(self) -> None:
        """Resync what pulled ahead once the secondary has everything up to that point.

        Until then it isn't told: its records still come. It is SPLIT there for a moment, and then
        copied into, with its DUPLEX mirrors split first.
        """
        for mirror in self._remote():
            pair_id = mirror.row.pair_id
            if not self._is_drained(mirror):
                if mirror.row.cause is not SplitCause.CONGESTED:
                    self.backoff.forget(pair_id)
                continue
            if not self.backoff.may(pair_id):
                continue
            with self._lock:
                if pair_id in self._resuming:
                    continue
                self._resuming.add(pair_id)
            self._state.background(f"resume {pair_id}", lambda one=mirror: self._resume(one))  # type: ignore[misc]

    def _is_drained(self, mirror: Mirror) -> bool:
        if mirror.row.cause is not SplitCause.CONGESTED or mirror.failed:
            return False
        info = self._stream(mirror)
        return info is not None and info.received >= info.pulled

    def _resume(self, mirror: Mirror) -> None:
        state = self._state
        pair_id = mirror.row.pair_id
        try:
            with state.operation("split", [pair_id], lease=ANY_LEASE, timeout_s=_OTHERS_S):
                if mirror.row.cause is not SplitCause.CONGESTED:
                    return
                self._line.tell_split(mirror)
            _log.info("pair.resume pair=%s: the queue has drained", pair_id)
            self._copies.resync_forward(
                pair_id, lease=ANY_LEASE, timeout_s=_OTHERS_S, will=Will(by_itself=True)
            )
        except PathLostError as error:  # its return resumes
            _log.info("pair.resume pair=%s: %s", pair_id, error)
        except PyrepError as error:
            self.backoff.refused(pair_id)
            _log.warning("pair.resume pair=%s not now: %s", pair_id, error)
        finally:
            with self._lock:
                self._resuming.discard(pair_id)

    # --- convergence -----------------------------------------------------------------------------

    def look_at_copies(self) -> None:
        """Notice copies that hosts leave no room; and when they do again."""
        options = self._state.options
        for mirror in self._remote():
            row = mirror.row
            info = self._stream(mirror)
            copies = row.status is PairStatus.COPY and row.direction is Direction.FORWARD
            if not copies or mirror.job is None or info is None:
                mirror.convergence = None
                continue
            if mirror.convergence is None:
                mirror.convergence = Convergence(
                    window_s=options.converge_window_s, share=options.converge_share
                )
            before = mirror.convergence.converges
            if mirror.convergence.note(self._clock(), info.full_s) != before:
                self._tell(mirror, converges=not before)

    def _tell(self, mirror: Mirror, *, converges: bool) -> None:
        if converges:
            _log.info("pair.converges pair=%s: hosts find room again", mirror.row.pair_id)
            return
        _log.warning(
            "pair.not_converging pair=%s: in the last %g s hosts found no room for %g %% of the "
            "time or more; its copy may not end while they write so",
            mirror.row.pair_id,
            self._state.options.converge_window_s,
            100 * self._state.options.converge_share,
        )
