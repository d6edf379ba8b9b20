"""The Protocols passed in by constructor: where an embedder may put something of their own."""

from __future__ import annotations

from typing import Protocol

from pyrep.model.ids import SystemId, VolumeId

__all__ = ["Buffer", "Connection", "Endpoint", "HostAgent", "OwnedPath"]

Buffer = bytes | bytearray | memoryview


class HostAgent(Protocol):
    """What the workflows ask of the host that uses a volume.

    Each call returns when its effect is there, and raises HostAgentError when it isn't. A workflow
    that is resumed or abandoned asks only for what is left; but a call that the system's end came
    amid is made again, or undone: every call must succeed when what it asks for is so already.
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


class Connection(Protocol):
    """One side's end of one connection to another system (Fig. 1, path 150).

    Calls raise PathLostError once the connection is gone; it never comes back: the next one has a
    higher attempt number.
    """

    attempt: int

    pump: object | None = None
    """What carries frames and numbers without Python (the core's `Pump`); None: nothing does."""

    def send_frame(self, frame: Buffer) -> None:
        """Send one sealed frame of a stream; its memory is the caller's again on return.

        Not asked for where there is a pump.
        """
        raise AssertionError((self.pump, len(frame)))

    def send_ack(self, ack: bytes) -> None:
        """Send the numbers of a stream that were applied and made durable."""
        ...

    def request(self, message: bytes) -> bytes:
        """Send a command and return its answer."""
        ...

    def close(self) -> None:
        """End the connection, as if it were lost."""
        ...


class Endpoint(Protocol):
    """What a system offers to the path: called by whatever carries the bytes."""

    @property
    def system_id(self) -> SystemId:
        """The system's id."""
        ...

    def hello(self) -> bytes:
        """Return this side's handshake."""
        ...

    def attempt_above(self, peer_id: SystemId) -> int:
        """Return the lowest number that the next connection with a system may have."""
        ...

    def is_connected(self, peer_id: SystemId) -> bool:
        """Whether there is a connection with a system."""
        ...

    def greet(self, connection: Connection, hello: bytes) -> None:
        """Check the other side's handshake. WireError: it isn't understood; nothing changed."""
        ...

    def path_up(self, connection: Connection) -> None:
        """Both sides have greeted: the connection may be used."""
        ...

    def path_down(self, connection: Connection) -> None:
        """The connection is gone. Harmless when it is known already."""
        ...

    def take_frame(self, connection: Connection, frame: Buffer) -> None:
        """Apply a frame and acknowledge it over the connection; its memory is used again after."""
        ...

    def take_ack(self, connection: Connection, ack: bytes) -> None:
        """Take the other side's numbers. Takes no gate and waits for no queue room."""
        ...

    def pump_frames(self, connection: Connection) -> bytes:
        """Take frames by the connection's pump; return an envelope that is no frame's.

        Raises as `take_frame`.
        """
        ...

    def pump_numbers(self, connection: Connection) -> bytes:
        """Take numbers by the connection's pump; return another envelope. Raises as `take_ack`."""
        ...

    def take_numbers(self, connection: Connection, body: bytes) -> None:
        """Take the other side's numbers of one stream, as the core sends them."""
        ...

    def answer(self, connection: Connection, message: bytes) -> bytes:
        """Perform a command and return its answer."""
        ...


class OwnedPath(Protocol):
    """What a system ends when it closes: a path to another one, or where others dial in."""

    def close(self) -> None:
        """Lose it for good; when it returns, this system has taken notice."""
        ...
