"""The next SVOL: bringing the mirror that the next backup takes to DUPLEX ahead of it."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from pyrep.engine.local import LocalPairs
from pyrep.engine.reuse import Reuse
from pyrep.engine.state import UNLEASED, SystemState
from pyrep.errors import BusyError, NotFoundError, RefusedError
from pyrep.model import NextSvol, PairId, PairStatus, VolumeId

__all__ = ["NextSvols"]

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Want:
    """One wish, and why it couldn't be fulfilled when it was last looked at."""

    said: str = ""


class NextSvols:
    """Does what policy `NextSvol.ALWAYS` asks for, in the rounds of the watch.

    It never gives up more than a backup itself would, and never a volume's last complete
    generations: with too few mirrors nothing happens, and the next backup decides.
    """

    def __init__(self, state: SystemState, local: LocalPairs, reuse: Reuse) -> None:
        self._state = state
        self._local = local
        self._reuse = reuse
        self._lock = threading.Lock()
        self._wanted: dict[VolumeId, _Want] = {}

    def want(self, volume: VolumeId) -> None:
        """Say that a volume was backed up: its next SVOL is due if the policy says so."""
        if self._state.policies.effective(volume).next_svol is NextSvol.ALWAYS:
            with self._lock:
                self._wanted[volume] = _Want()  # anew: a look under way may end the older one

    def want_all(self) -> None:
        """Do so for every volume that has a backup: after an open, or when the policy changed."""
        for generation in self._state.catalogue.all():
            if generation.home == self._state.system_id and generation.is_complete:
                for member in generation.members:
                    self.want(member.source)

    def look(self) -> None:
        """Begin what is due and may begin now; what is held up stays due."""
        with self._lock:
            due = dict(self._wanted)
        for volume, want in due.items():
            try:
                self._begin(volume, want)
            except (BusyError, RefusedError) as error:  # a workflow, a copy, the remote pair
                if str(error) != want.said:
                    _log.info("next_svol.later volume=%s why=%s", volume, error)
                want.said = str(error)
            except NotFoundError:
                self._drop(volume, want)

    def _begin(self, volume: VolumeId, want: _Want) -> None:
        if self._state.policies.effective(volume).next_svol is not NextSvol.ALWAYS:
            self._drop(volume, want)
            return
        statuses = {one.row.status for one in self._state.local_svol_mirrors(volume)}
        if statuses & {PairStatus.DUPLEX, PairStatus.COPY}:
            self._drop(volume, want)
            return
        try:
            pair_id = self._choose(volume)
        except RefusedError as error:  # no mirror is free; the next backup changes that
            _log.info("next_svol.none volume=%s why=%s", volume, error)
            self._drop(volume, want)
            return

        def check() -> None:
            if self._choose(volume) != pair_id:
                raise RefusedError(
                    f"pair {pair_id} isn't the one that the next backup takes",
                    hint="it is looked at again by itself",
                )

        # A backup that begins meanwhile waits for this one's first moments, and then for its copy.
        self._local.copies.resync_forward(pair_id, lease=UNLEASED, check=check)
        _log.info("next_svol.begun volume=%s pair=%s", volume, pair_id)
        self._drop(volume, want)

    def _choose(self, volume: VolumeId) -> PairId:
        return self._reuse.choose(volume, [volume], reuse_last=False)

    def _drop(self, volume: VolumeId, want: _Want) -> None:
        with self._lock:
            if self._wanted.get(volume) is want:
                del self._wanted[volume]
