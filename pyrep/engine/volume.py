"""Volumes as embedders see them."""

from __future__ import annotations

from pyrep._core import SLICE_NS, Buffer, Io, VolumeIo, pwrite_at_once, pwrite_begin, scratch
from pyrep.engine.activityinfo import ActivityInfo, activity_of, no_activity
from pyrep.engine.state import SystemState
from pyrep.errors import InvalidArgumentError, OutOfRangeError
from pyrep.model import Row, VolumeId

__all__ = ["Volume"]

_RANGE_END = 1 << 64


class Volume:
    """A volume of an open storage system (Fig. 1: 105a, 105b, 106b).

    Reads and writes may come from any thread. Every write is tracked: it marks, forwards or ships
    in every pair of the volume. Offsets and lengths are bytes.
    """

    def __init__(self, state: SystemState, volume_id: VolumeId) -> None:
        self._state = state
        self._live = state.live
        self._volume_id = volume_id

    def __repr__(self) -> str:
        return f"<Volume {self._state.system_id}:{self._volume_id}>"

    @property
    def volume_id(self) -> VolumeId:
        """Its id."""
        return self._volume_id

    @property
    def size_bytes(self) -> int:
        """Its size."""
        return self._state.volume(self._volume_id).record.size_bytes

    @property
    def path(self) -> str:
        """Its backing file."""
        return self._state.volume(self._volume_id).file.name

    @property
    def rows(self) -> tuple[Row, ...]:
        """Its rows of the copy management table (Fig. 3)."""
        return tuple(one.row for one in self._state.mirrors_of(self._volume_id))

    def activity(self) -> ActivityInfo | None:
        """Return what its activity log does; None: it has none, as before its first pair (INV-1).

        What isn't in a bitmap file yet is in a hot region: that bounds what a crash costs.
        """
        with self._state.control:
            live = self._state.volume(self._volume_id)
            if live.log is not None:
                return activity_of(live.log, live.record.size_bytes)
            if not live.log_error:
                return None
            return no_activity(self._state.logs.shape(live.record), live.log_error)

    def pread(self, length: int, offset: int) -> bytes:
        """Return `length` bytes at `offset`.

        Raises:
            OutOfRangeError: past the end.
            FencedError: it is the target of a running copy, its content inconsistent.
            DeviceError: the storage failed.
        """
        self._check_range(length, offset)
        if length > self.size_bytes:  # before so much memory is asked for
            raise OutOfRangeError(f"volume {self._volume_id} has no {length} bytes to read")
        data = bytearray(length)
        self.pread_into(data, offset)
        return bytes(data)

    def pread_into(self, buffer: bytearray | memoryview, offset: int) -> None:
        """Fill `buffer` from `offset` on. Raises as `pread`."""
        self._check_range(_length_of(buffer), offset)
        self._state.volume(self._volume_id).core.pread_into(buffer, offset)

    def pwrite(self, data: Buffer, offset: int) -> None:
        """Write `data` at `offset`; it returns when synchronous mirrors have acknowledged it.

        A mirror that doesn't answer in time counts as lost: the chunks are pending, the write is
        done.

        Raises:
            OutOfRangeError: past the end; nothing was written.
            FencedError: hosts may not write here now; nothing was written.
            DeviceError: the storage failed; the range is pending in every pair.
            CancelledError: the system is closing.
        """
        # Past the lock of the system's tables: commands hold it while a row becomes durable.
        live = self._live.get(self._volume_id)
        try:
            if live is None or type(data) is not bytes or offset < 0:
                self._pwrite(data, offset)
                return
            core = live.core
            at_once = core.at_once
            if at_once:
                code = pwrite_at_once(core.door, data, len(data), offset, 0)
            else:
                code = pwrite_begin(
                    *(core.door, data, len(data), offset, 0),
                    *(SLICE_NS, core.waking, scratch.ticket, scratch.done),
                )
        except (TypeError, OverflowError):
            self._check_range(len(data), offset)  # costs nothing where nothing is wrong
            raise
        else:
            if code:
                timeout_s = self._state.options.ack_timeout_s
                go_on = core.pwrite_on if at_once else core.pwrite_begun
                go_on(code, data, offset, ack_timeout_s=timeout_s)

    def _pwrite(self, data: Buffer, offset: int) -> None:
        self._check_range(_length_of(data), offset)
        live = self._state.volume(self._volume_id)
        live.core.pwrite(data, offset, ack_timeout_s=self._state.options.ack_timeout_s)

    def zero(self, length: int, offset: int) -> None:
        """Make the range read as zeros. Raises as `pwrite`."""
        self._check_range(length, offset)
        live = self._state.volume(self._volume_id)
        live.core.zero(length, offset, ack_timeout_s=self._state.options.ack_timeout_s)

    def trim(self, length: int, offset: int) -> None:
        """Say that the range isn't needed; it reads as zeros. Raises as `pwrite`."""
        self._check_range(length, offset)
        live = self._state.volume(self._volume_id)
        live.core.trim(length, offset, ack_timeout_s=self._state.options.ack_timeout_s)

    def flush(self) -> None:
        """Make everything written before durable, at mirrors in mode durable too.

        Raises:
            DeviceError: the storage failed.
        """
        # Past the lock of the system's tables, as a write.
        live = self._live.get(self._volume_id) or self._state.volume(self._volume_id)
        live.core.flush(ack_timeout_s=self._state.options.ack_timeout_s)

    def io(self, *, token: int = 0) -> Io:
        """Return the volume as storage for a file system; close it when done.

        Writes take the tracked path, with a workflow's `token` if it holds the volume.
        """
        state = self._state
        live = state.volume(self._volume_id)
        opened = VolumeIo(live.core, token=token, ack_timeout_s=state.options.ack_timeout_s)
        with state.control:
            live.handles.add(opened)
            state.refence([self._volume_id])
        return opened

    def _check_range(self, length: object, offset: object) -> None:
        """Refuse what the core, which takes 64 bits, can't be asked for."""
        if not (isinstance(length, int) and isinstance(offset, int)):
            raise InvalidArgumentError(
                f"a range of {length!r} bytes at {offset!r} isn't in numbers"
            )
        if length < 0 or offset < 0:
            raise InvalidArgumentError(f"a range of {length} bytes at {offset} can't be")
        if length >= _RANGE_END or offset >= _RANGE_END:
            raise OutOfRangeError(
                f"volume {self._volume_id} has no bytes {offset}…{offset + length}"
            )


def _length_of(buffer: object) -> int:
    """Return the bytes of something that has some. InvalidArgumentError: it has none."""
    try:
        return memoryview(buffer).nbytes  # type: ignore[arg-type]
    except TypeError as error:
        kind = type(buffer).__name__
        raise InvalidArgumentError(f"a {kind} has no bytes to write or to fill") from error
