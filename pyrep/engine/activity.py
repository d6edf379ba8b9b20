"""Activity logs of an open system: when they begin, and the thread's share of their work."""

from __future__ import annotations

import contextlib
import errno
import logging
import time

from pyrep._core import Alog, AlogState
from pyrep.engine.backoff import Backoff
from pyrep.engine.livevolume import LiveVolume
from pyrep.engine.mirror import Mirror
from pyrep.engine.state import SystemState
from pyrep.errors import DeviceError, PyrepError
from pyrep.model import PairStatus, VolumeId

__all__ = ["Activity", "close_log", "keep_row", "make_source_durable", "try_begin"]

_log = logging.getLogger(__name__)

_COPY_S = 10.0
"""How often the row of a running copy is saved: what a crash makes it copy again."""
_COPY_SHARE = 20
"""And not more often than so many times as long as saving it took."""


def try_begin(state: SystemState, live: LiveVolume, read: Alog | None) -> bool:
    """Let a volume's log begin; what an earlier run has left in it is in the pages by now.

    Returns:
        Whether it works. If not, rows must bear the open mark, and writes go on without it; it is
        tried again later.
    """
    wanted = state.logs.shape(live.record)
    if read is not None and (read.hot_regions, read.region_bytes) != (
        wanted.hot_regions,
        wanted.region_bytes,
    ):
        close_log(read)
        read = None
    try:
        live.log = read or state.logs.make(live.record)
        live.log_error = ""
        live.log.begin(live.core)
    except PyrepError as error:
        _log.warning("alog.failed volume=%s: %s", live.record.volume_id, error)
        if live.log is None:
            live.log_error = str(error)
        return False
    return True


def close_log(log: Alog) -> None:
    """Free a log that isn't at work, and its file."""
    log.close()
    log.io.close()


def make_source_durable(state: SystemState, volume_id: VolumeId) -> None:
    """Flush a volume whose row has begun to pass writes on, before a copy out of it.

    What was written before that is in no hot region. Once its mirror is durable nothing would tell
    that a power loss took it from the source alone (INV-1). A flush that fails breaks the links.
    The same holds, without a record to settle, of what a comparison finds to be equal.
    """
    live = state.volume(volume_id)
    with contextlib.suppress(DeviceError):
        if live.log is not None:
            live.log.flush()
        else:  # its rows bear the open mark, until there is a log again
            live.core.flush(ack_timeout_s=state.options.ack_timeout_s)


def keep_row(state: SystemState, mirror: Mirror) -> None:
    """Give a row's file, marked open, to its volume's log; make the log if need be.

    Before the row is durable: what fails here other than the log's own storage, which is tried
    again later, is the failure of a creation that has changed nothing.
    """
    live = state.live[mirror.row.volume_id]
    if live.log is None:
        try_begin(state, live, None)
        for one in state.mirrors_of(mirror.row.volume_id):  # for which it couldn't be made
            if one is not mirror:
                _give_file(live, one)
    _give_file(live, mirror)


def _give_file(live: LiveVolume, mirror: Mirror) -> None:
    if live.log is not None:
        mirror.link.keep(mirror.file, mirror.row.row_key)


class Activity:
    """What isn't done by writers: checkpoints, rows that are saved, logs that begin again."""

    def __init__(self, state: SystemState) -> None:
        self._state = state
        self.backoff = Backoff()
        self._next_save: dict[bytes, float] = {}

    def tend(self) -> None:
        """Look at every log and every row once."""
        with self._state.control:
            if self._state.closing:
                return
            live = list(self._state.live.values())
            mirrors = list(self._state.mirrors.values())
        for one in live:
            self._look_at_log(one)
        for mirror in mirrors:
            self._look_at_row(mirror)

    def _look_at_log(self, live: LiveVolume) -> None:
        """Tend a volume's log; what fails leaves the others' turn."""
        try:
            if live.log is not None:
                self._tend_log(live, live.log)
            elif live.log_error:
                self._make_log(live)
        except PyrepError as error:
            _log.warning("alog.tend volume=%s: %s", live.record.volume_id, error)

    def _make_log(self, live: LiveVolume) -> None:
        """Make the log that couldn't be made when the volume's first row was."""
        volume_id = live.record.volume_id
        state = self._state
        if not state.mirrors_of(volume_id):
            live.log_error = ""
            self.backoff.forget(volume_id)
            return
        if not self.backoff.may(volume_id):
            return
        self.backoff.refused(volume_id)
        make_source_durable(state, volume_id)  # `begin` flushes again: there is little left then
        with state.control:
            rows = state.mirrors_of(volume_id)
            if state.closing or live.log is not None or not rows:
                return
            try_begin(state, live, None)
            for mirror in rows:
                _give_file(live, mirror)

    def _tend_log(self, live: LiveVolume, log: Alog) -> None:
        info = log.info()
        volume_id = live.record.volume_id
        if info.state is AlogState.WORKING:
            self.backoff.forget(volume_id)
            with contextlib.suppress(DeviceError):  # it is tried again, by who needs room at last
                log.checkpoint(info.ring_blocks // 2)
            return
        if not self.backoff.may(volume_id):
            return
        self.backoff.refused(volume_id)  # until it is seen at work
        _log.warning("alog.again volume=%s errno=%d", volume_id, info.error)
        log.begin(live.core)

    def _look_at_row(self, mirror: Mirror) -> None:
        """Save a row if that is due; one that can't be saved rests, and leaves the others' turn."""
        if not mirror.savers.acquire(blocking=False):
            return
        try:
            if self._wants_saving(mirror) and self.backoff.may(mirror.row.row_key):
                self._save_row(mirror)
        finally:
            mirror.savers.release()

    def _save_row(self, mirror: Mirror) -> None:
        row_key = mirror.row.row_key
        began = time.monotonic()
        try:
            mirror.save()
            self.backoff.forget(row_key)
        except PyrepError as error:
            if isinstance(error, DeviceError) and error.errno_code == errno.ENOTCONN:
                pass  # its log has failed: that is told
            else:
                _log.warning(
                    "pair.save pair=%s volume=%s: %s",
                    mirror.row.pair_id,
                    mirror.row.volume_id,
                    error,
                )
                self.backoff.refused(row_key)
        live = self._state.live.get(mirror.row.volume_id)
        if live is not None and live.log is not None:
            with contextlib.suppress(PyrepError):  # another row's pages: that row's failure
                live.log.checkpoint()
        took_s = time.monotonic() - began
        wait_s = max(_COPY_S, _COPY_SHARE * took_s)
        self._next_save[row_key] = time.monotonic() + wait_s

    def _wants_saving(self, mirror: Mirror) -> bool:
        """Whether the row's file is worse than it need be.

        A row in COPY without its copy is left alone: it may be about to have everything pending.
        """
        with self._state.control:
            live = self._state.live.get(mirror.row.volume_id)
            if self._state.mirrors.get(mirror.key) is not mirror or live is None or not live.log:
                return False
            if mirror.job is None:
                return mirror.row.status is not PairStatus.COPY and mirror.file.marked_open
            due = self._next_save.setdefault(mirror.row.row_key, time.monotonic() + _COPY_S)
            return time.monotonic() >= due
