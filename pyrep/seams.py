"""The Protocols passed in by constructor: where an embedder may put something of their own."""

from __future__ import annotations

from typing import Protocol

from pyrep.model.ids import VolumeId


class HostAgent(Protocol):
    """What the workflows ask of the host that uses a volume.

    Each call returns when its effect is there, and raises HostAgentError when it isn't. A workflow
    that is resumed asks again: every call must be harmless when what it asks for is so already.
    The system doesn't trust the agent to keep the host off a volume (INV-5); it fences by itself.

    Source: Fig. 1, hosts 110a and 110b; Fig. 5, steps 510 and 560; Fig. 6, step 620.
    """

    def stop(self, volume_id: VolumeId) -> None:
        """Stop the application that uses the volume."""
        ...

    def start(self, volume_id: VolumeId) -> None:
        """Start the application that uses the volume."""
        ...

    def unmount(self, volume_id: VolumeId) -> None:
        """Unmount the volume's file system, so that nothing of it stays unwritten at the host."""
        ...

    def mount(self, volume_id: VolumeId) -> None:
        """Mount the volume's file system."""
        ...

    def recover(self, volume_id: VolumeId) -> None:
        """Run the application's own recovery of restored data, as a database does from its log."""
        ...
