"""What goes over the connections to a server, envelope by envelope, in its order."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from pyrep.interconnect.envelope import ENVELOPE_BYTES, Envelope, open_envelope

__all__ = ["Heard", "Tap"]


class Heard(NamedTuple):
    """One envelope with its body, and who sent it over which connection."""

    connection: int
    by_client: bool
    envelope: Envelope
    body: bytes


class Tap:
    """Stands before a server. Each envelope is told as a whole, and then passed on.

    Args:
        host, port: the server.
        heard: told of each, one at a time.
    """

    def __init__(self, host: str, port: int, heard: Callable[[Heard], None]) -> None:
        self._server = (host, port)
        self._heard = heard
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections; those there are end with their ends."""
        self._listener.close()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for source, target, by_client in ((client, server, True), (server, client, False)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(
                    target=self._pass, args=(number, source, target, by_client), daemon=True
                ).start()
            number += 1

    def _pass(
        self, number: int, source: socket.socket, target: socket.socket, by_client: bool
    ) -> None:
        try:
            with source.makefile("rb") as stream:
                while head := stream.read(ENVELOPE_BYTES):
                    envelope = open_envelope(head)
                    body = stream.read(envelope.body_bytes)
                    with self._lock:
                        self._heard(Heard(number, by_client, envelope, body))
                    target.sendall(head + body)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # whichever end has ended it
