"""The volumes of a system: make, attach, delete."""

from __future__ import annotations

import os
from pathlib import Path

from pyrep.engine.backing import create_file, open_backing, same_backing
from pyrep.engine.opening import open_volume
from pyrep.engine.state import SystemState
from pyrep.errors import BusyError, ExistsError, InvalidArgumentError, RefusedError
from pyrep.meta import VolumeRecord
from pyrep.model import VolumeId, check_id, new_key

__all__ = ["Volumes"]

_FILE_BYTES_END = 1 << 63
_LEAVE_S = 0.5
"""How long a volume that is deleted waits for readers: the digester leaves soon by itself."""


def _absolute(path: Path | str) -> Path:
    try:
        if b"\0" in os.fsencode(path):
            raise InvalidArgumentError(f"{path!r} can't be a path")
        return Path(path).absolute()
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"{path!r} isn't a path") from error


class Volumes:
    """Changes which volumes there are. May be called from any thread."""

    def __init__(self, state: SystemState) -> None:
        self._state = state

    def create(self, volume_id: str, size_bytes: int) -> VolumeId:
        """Do `StorageSystem.create_volume`."""
        checked = VolumeId(check_id("volume", volume_id))
        asked: object = size_bytes
        if not isinstance(asked, int) or not 0 < asked < _FILE_BYTES_END:
            raise InvalidArgumentError(f"volume {volume_id} can't have {size_bytes!r} bytes")
        path = Path("volumes") / f"{checked}.img"
        with self._state.control:
            self._check_new(checked)
            create_file(self._state.directory / path, size_bytes)
            try:
                self._add_volume(checked, path, size_bytes, owned=True)
            except BaseException:
                (self._state.directory / path).unlink(missing_ok=True)
                raise
        return checked

    def attach(self, volume_id: str, path: Path | str) -> VolumeId:
        """Do `StorageSystem.attach_volume`."""
        checked = VolumeId(check_id("volume", volume_id))
        with self._state.control:
            self._check_new(checked)
            absolute = _absolute(path)
            self._check_not_a_volume(absolute)
            io = open_backing(absolute)
            size_bytes = io.size_bytes
            io.close()
            self._add_volume(checked, absolute, size_bytes, owned=False)
        return checked

    def _check_new(self, volume_id: VolumeId) -> None:
        self._state.check_open()
        if volume_id in self._state.live:
            raise ExistsError(
                f"volume {volume_id} exists already in system {self._state.system_id}",
                hint="choose another id",
            )

    def _check_not_a_volume(self, path: Path) -> None:
        for volume_id, live in self._state.live.items():
            if same_backing(path, Path(live.file.name)):
                raise ExistsError(
                    f"cannot attach {path}: it is volume {volume_id} already",
                    hint="one backing file or device belongs to one volume",
                )

    def _add_volume(self, volume_id: VolumeId, path: Path, size_bytes: int, *, owned: bool) -> None:
        record = VolumeRecord(
            volume_id=volume_id, key=new_key(), path=str(path), size_bytes=size_bytes, owned=owned
        )
        live = open_volume(self._state, record)
        try:
            self._state.volumes.add(record)
        except BaseException:
            self._state.trees.remove(live.core)
            live.close()
            raise
        self._state.live[volume_id] = live

    def delete(self, volume_id: str) -> None:
        """Do `StorageSystem.delete_volume`."""
        checked = VolumeId(volume_id)
        state = self._state
        with state.control:
            live = state.volume(checked)
            rows = state.mirrors_of(checked)
            if rows:
                raise RefusedError(
                    f"cannot delete volume {volume_id}: it is in pair {rows[0].row.pair_id}",
                    hint="dissolve the pair first: pair.dissolve()",
                )
            holder = state.journal.holder(checked)
            if holder is not None:
                raise BusyError(
                    f"cannot delete volume {volume_id}: workflow {holder} has it leased",
                    hint=f"wait until {holder} has ended, or abandon it",
                )
            if not live.core.shut(_LEAVE_S):
                live.core.let_in()
                raise BusyError(
                    f"cannot delete volume {volume_id}: somebody is reading or writing it",
                    hint="close what was opened with volume.io(), and try again",
                )
            with state.db.transaction():
                state.volumes.remove(checked)
                state.policies.remove(checked)
                state.epochs.replace_all(checked, [])
            del state.live[checked]
            state.trees.remove(live.core)
            live.close()
            state.logs.remove(live.record.key)
            if live.record.owned:
                (state.directory / live.record.path).unlink(missing_ok=True)
