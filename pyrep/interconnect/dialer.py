"""A path that this system dials, and dials again, until it is closed."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pyrep.errors import PyrepError
from pyrep.interconnect.address import Address
from pyrep.interconnect.channel import Security
from pyrep.interconnect.handshake import dial
from pyrep.interconnect.tcp import TcpConnection
from pyrep.interconnect.timing import PathTiming
from pyrep.model.ids import SystemId
from pyrep.seams import Endpoint

__all__ = ["PathState", "TcpPath"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.5
"""How often it is looked whether a connection that the other system has dialled is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathState:
    """A path at one moment.

    Attributes:
        peer_id: the other system.
        address: where it is dialled.
        is_up: whether there is a connection, whoever dialled it.
        since: since when it is up, or down.
        attempts: how often it was dialled in vain since it was up.
        last_error: why it isn't up, or why it was lost last; None: never.
        hint: what to do about that.
        retry_s: seconds until it is dialled again; None: it is up, or being dialled.
    """

    peer_id: SystemId
    address: str
    is_up: bool
    since: datetime
    attempts: int = 0
    last_error: str | None = None
    hint: str | None = None
    retry_s: float | None = None


class TcpPath:
    """Path 150 to one system over TCP (Fig. 1). Made by `StorageSystem.dial`.

    While either system has dialled the other one with success, this one doesn't.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        peer_id: SystemId,
        address: Address,
        *,
        security: Security,
        timing: PathTiming,
    ) -> None:
        self.peer_id = peer_id
        self.address = address
        self._endpoint = endpoint
        self._security = security
        self._timing = timing
        self._chance = random.Random()  # noqa: S311 (a pause's length is no secret)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._connection: TcpConnection | None = None
        self._was_up = False
        self._since = datetime.now(UTC)
        self._attempts = 0
        self._why: tuple[str, str | None] | None = None
        """Text and hint of what went wrong last; the error itself would keep frames alive."""
        self._retry_at_s: float | None = None
        self._thread = threading.Thread(target=self._keep, name=f"dial {peer_id}", daemon=True)
        self._thread.start()

    def state(self) -> PathState:
        """Return what is known of the path."""
        is_up = self._endpoint.is_connected(self.peer_id)
        with self._lock:
            self._note_up(is_up=is_up)
            retry_s = None
            if not is_up and self._retry_at_s is not None:
                retry_s = max(self._retry_at_s - time.monotonic(), 0.0)
            return PathState(
                peer_id=self.peer_id,
                address=str(self.address),
                is_up=is_up,
                since=self._since,
                attempts=self._attempts,
                last_error=self._why[0] if self._why else None,
                hint=self._why[1] if self._why else None,
                retry_s=retry_s,
            )

    def close(self) -> None:
        """End the connection and dial no more; the system has been told when it returns."""
        self._stop.set()
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.close()
        self._thread.join()

    def _keep(self) -> None:
        pauses = self._pauses()
        # Of two systems that dial each other one begins, so that they don't meet half-way.
        pause_s = next(pauses) if self.peer_id < self._endpoint.system_id else 0.0
        while not self._stop.wait(pause_s):
            if self._endpoint.is_connected(self.peer_id):
                with self._lock:
                    self._note_up(is_up=True)
                pauses, pause_s = self._pauses(), _LOOK_S
                continue
            # What is lost as soon as it is up was no success: it would be dialled, and resynced, at
            # the first pause for ever, by a peer that sends garbage or a network that flaps.
            if self._try() > pause_s:
                pauses = self._pauses()
            pause_s = next(pauses)
            with self._lock:
                self._note_up(is_up=False)
                self._retry_at_s = time.monotonic() + pause_s

    def _pauses(self) -> Iterator[float]:
        return self._timing.pauses_s(self._chance)

    def _try(self) -> float:
        """Dial, and stay until the connection is over; return for how many seconds it was up."""
        with self._lock:
            self._retry_at_s = None
        try:
            connection = dial(
                self._endpoint,
                self.peer_id,
                self.address,
                security=self._security,
                timing=self._timing,
            )
        except PyrepError as error:
            self._note(error)
            return 0.0
        except Exception as error:  # noqa: BLE001 (told to who waits)
            _log.exception("path.dial_failed peer=%s at=%s", self.peer_id, self.address)
            self._note(
                PyrepError(
                    f"cannot dial system {self.peer_id}: {error!r}",
                    hint="this is a fault of pyrep's own: its log has it whole",
                )
            )
            return 0.0
        begun_s = time.monotonic()
        with self._lock:
            self._connection = connection
            self._note_up(is_up=True)
            stopped = self._stop.is_set()
        connection.start()
        if stopped:
            connection.close()
        try:
            self._endpoint.path_up(connection)
        except PyrepError as error:
            _log.info("path.given_up peer=%s why=%s", self.peer_id, error)
        connection.join()
        with self._lock:
            self._connection = None
            why = connection.why
            self._why = (str(why), why.hint) if why else None
        return time.monotonic() - begun_s

    def _note(self, error: PyrepError) -> None:
        with self._lock:
            self._attempts += 1
            why = (str(error), error.hint)
            first = self._attempts == 1 or why != self._why
            self._why = why
        if first:  # not each of a thousand attempts while a site is gone
            _log.warning("path.down peer=%s at=%s why=%s hint=%s", self.peer_id, self.address, *why)

    def _note_up(self, *, is_up: bool) -> None:
        if is_up is not self._was_up:
            self._was_up = is_up
            self._since = datetime.now(UTC)
            if is_up:
                self._attempts = 0
