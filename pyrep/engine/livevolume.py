"""A volume that is open."""

from __future__ import annotations

from dataclasses import dataclass, field
from weakref import WeakSet

from pyrep._core import Alog, Io, VolumeCore, VolumeIo
from pyrep.engine.backing import Backing
from pyrep.meta import EpochRecord, VolumeRecord

__all__ = ["LiveVolume"]


@dataclass(slots=True)
class LiveVolume:
    """A volume that is open: its record, its locked file, what stands above it, its core.

    Attributes:
        log: its activity log, from its first pair on.
        log_error: why there is none although it has a pair; it is tried again.
        intervals: of its shared marks, those that are closed and saved; beside each the sequence
            of the one after it: when that goes, its marks come into this one.
    """

    record: VolumeRecord
    file: Backing
    io: Io
    core: VolumeCore
    log: Alog | None = None
    log_error: str = ""
    intervals: dict[int, tuple[EpochRecord, int]] = field(default_factory=dict)
    handles: WeakSet[VolumeIo] = field(default_factory=WeakSet)
    """What was opened for file systems: their writes come from C, where nothing can be noted."""

    def is_blank(self) -> bool:
        """Whether it is one hole, as its storage tells. DeviceError: it can't."""
        return next(self.io.extents(), None) is None

    def close(self) -> None:
        """Free everything, the lock last."""
        self.core.close()
        if self.log is not None:
            self.log.close()
            self.log.io.close()
        if self.io is not self.file:
            self.io.close()
        self.file.close()
