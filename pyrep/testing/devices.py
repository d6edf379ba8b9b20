"""Storage that fails and loses power, for `Options.storage`."""

from __future__ import annotations

from pyrep._core import Io, MemoryIo, OverlayIo, VolatileIo
from pyrep.model import VolumeId

__all__ = ["MemoryIo", "OverlayIo", "PowerLoss", "VolatileIo", "VolatileStorage"]


class _LosingIo(VolatileIo):
    """Loses what wasn't flushed when its system ends without a clean close."""

    def __init__(self, base: Io, storage: VolatileStorage, volume_id: VolumeId) -> None:
        super().__init__(base)
        self._storage = storage
        self._volume_id = volume_id

    def close(self) -> None:
        if not self.closed:
            self._storage.lose(self._volume_id, self)
        super().close()


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
    """Puts a `VolatileIo` between every volume of a system and its file.

    Writes reach the file when they are flushed. What a system that ends hasn't flushed is lost as
    `loss` says: after a clean close that is nothing, after `StorageSystem.abort` it is what a power
    loss takes.

        storage = VolatileStorage()
        system = StorageSystem.open(directory, options=Options(storage=storage))
    """

    def __init__(self) -> None:
        self.loss = PowerLoss()
        self.doubles: dict[VolumeId, VolatileIo] = {}
        self.lost_count = 0

    def __call__(self, volume_id: VolumeId, base: Io) -> Io:
        """Return the double for a volume that is being opened."""
        double = self.doubles[volume_id] = _LosingIo(base, self, volume_id)
        return double

    def lose(self, volume_id: VolumeId, double: VolatileIo) -> None:
        """Lose one volume's unflushed writes, as `loss` says."""
        self.lost_count += double.unflushed_count
        # A seed per volume, or all of them would lose the same writes by number.
        seed = self.loss.seed + sum(volume_id.encode())
        double.lose(seed=seed, keep_one_in=self.loss.keep_one_in, tear=self.loss.tear)
