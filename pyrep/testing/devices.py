"""Storage that fails and loses power, for `Options.storage`."""

from __future__ import annotations

from pathlib import Path

from pyrep._core import Io, MemoryIo, OverlayIo, VolatileIo
from pyrep.model import VolumeId

__all__ = ["MemoryIo", "OverlayIo", "PowerLoss", "VolatileIo", "VolatileStorage"]


class _LosingIo(VolatileIo):
    """Loses what wasn't flushed when its system ends without a clean close.

    Args:
        name: of what it is, which its draw is made from.
        owned: closed with it.
    """

    def __init__(
        self, base: Io, storage: VolatileStorage, name: str, *, owned: Io | None = None
    ) -> None:
        super().__init__(base)
        self._storage = storage
        self._name = name
        self._owned = owned

    def close(self) -> None:
        if not self.closed:
            self._storage.lose(self._name, self)
        super().close()
        if self._owned is not None:
            self._owned.close()


class PowerLoss:
    """What of the unflushed writes survives: decided per write by a seed.

    Args:
        seed: which ones; each volume draws its own from it.
        keep_one_in: 0 loses all, 1 keeps all, n keeps one in n on average.
        tear: whether the last write that was kept reaches the storage only in part.
    """

    def __init__(self, *, seed: int = 0, keep_one_in: int = 0, tear: bool = False) -> None:
        self.seed = seed
        self.keep_one_in = keep_one_in
        self.tear = tear


class VolatileStorage:
    """Puts a `VolatileIo` between every volume of a system and its file; and its other files.

    Fault model (contract): a write reaches the file when a flush that began after it has ended.
    What a system that ends hasn't flushed is lost as `loss` says, each write by itself, of the last
    one kept perhaps only a part, cut at 512 bytes: after a clean close that is nothing, after
    `StorageSystem.abort` it is what a power loss takes. The same holds for activity logs and bitmap
    files (`metadata`). Names and the tables are the file system's and SQLite's: for these there are
    recordings (`pyrep.testing.recording`).

        storage = VolatileStorage()
        options = Options(
            storage=storage, log_storage=storage.metadata, bitmap_storage=storage.metadata
        )
        system = StorageSystem.open(directory, options=options)

    Attributes:
        loss: what the next end without a clean close loses.
        doubles: of the volumes.
        files: of logs and bitmap files, by path; the newest of each.
        lost_count: writes lost so far.
    """

    def __init__(self) -> None:
        self.loss = PowerLoss()
        self.doubles: dict[VolumeId, VolatileIo] = {}
        self.files: dict[Path, VolatileIo] = {}
        self.lost_count = 0

    def __call__(self, volume_id: VolumeId, base: Io) -> Io:
        """Return the double for a volume that is being opened."""
        double = self.doubles[volume_id] = _LosingIo(base, self, volume_id)
        return double

    def metadata(self, path: Path, base: Io) -> Io:
        """Return the double for an activity log or a bitmap file, which closes its file."""
        double = self.files[path] = _LosingIo(base, self, path.name, owned=base)
        return double

    def lose(self, name: str, double: VolatileIo) -> None:
        """Lose the unflushed writes of one volume or file, as `loss` says."""
        self.lost_count += double.unflushed_count
        # A seed for each, or all of them would lose the same writes by number.
        seed = self.loss.seed + sum(name.encode())
        double.lose(seed=seed, keep_one_in=self.loss.keep_one_in, tear=self.loss.tear)
