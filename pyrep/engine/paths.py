"""The paths of an open system: those it dials, and those that others dial (path 150)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from pyrep.engine.endpoint import SystemEndpoint
from pyrep.engine.state import SystemState
from pyrep.interconnect.address import Address
from pyrep.interconnect.channel import Security
from pyrep.interconnect.dialer import PathState, TcpPath
from pyrep.interconnect.listener import Listener
from pyrep.interconnect.timing import PathTiming
from pyrep.model import SystemId, check_id
from pyrep.seams import OwnedPath

__all__ = ["Paths"]

_Owned = TypeVar("_Owned", Listener, TcpPath)


class Paths:
    """Owns the paths of one system: whoever ends the system closes each of them.

    `StorageSystem` documents what its methods take and raise.
    """

    def __init__(self, state: SystemState, endpoint: SystemEndpoint) -> None:
        self._state = state
        self._endpoint = endpoint
        self._paths: list[OwnedPath] = []

    def __iter__(self) -> Iterator[OwnedPath]:
        return iter(self._paths)

    def add(self, path: OwnedPath) -> None:
        """Own a path. InvalidArgumentError: the system is closed; the path stays the caller's."""
        with self._state.control:
            self._state.check_open()
            self._paths.append(path)

    def listen(self, address: str, *, security: Security, timing: PathTiming | None) -> Listener:
        """Let other systems dial this one."""
        where = Address.parse(address)
        timing = timing or PathTiming()
        return self._own(Listener(self._endpoint, where, security=security, timing=timing))

    def dial(
        self, system_id: str, address: str, *, security: Security, timing: PathTiming | None
    ) -> TcpPath:
        """Dial a system, and again whenever the path is lost."""
        path = TcpPath(
            self._endpoint,
            SystemId(check_id("system", system_id)),
            Address.parse(address),
            security=security,
            timing=timing or PathTiming(),
        )
        return self._own(path)

    def states(self) -> tuple[PathState, ...]:
        """Return the state of each path that this system dials."""
        return tuple(one.state() for one in self._paths if isinstance(one, TcpPath))

    def _own(self, path: _Owned) -> _Owned:
        try:
            self.add(path)
        except BaseException:
            path.close()
            raise
        return path
