"""The agent of volumes that no host uses, or whose host is looked after elsewhere."""

from __future__ import annotations

from pyrep.model.ids import VolumeId
from pyrep.seams import HostAgent


class NoHostAgent(HostAgent):
    """Do nothing, successfully."""

    def stop(self, volume_id: VolumeId) -> None:
        """Do nothing."""

    def start(self, volume_id: VolumeId) -> None:
        """Do nothing."""

    def unmount(self, volume_id: VolumeId) -> None:
        """Do nothing."""

    def mount(self, volume_id: VolumeId) -> None:
        """Do nothing."""

    def recover(self, volume_id: VolumeId) -> None:
        """Do nothing."""
