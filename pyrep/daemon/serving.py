"""Serving one system: its paths, its API, and a clean end on a signal."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pyrep.api import SOCKET_NAME, ApiServer, JobTable, Site
from pyrep.daemon.certificates import Certificates
from pyrep.engine import Options, StorageSystem
from pyrep.errors import PyrepError, format_error
from pyrep.interconnect import PathTiming, Security, Tls

__all__ = ["Serving", "serve"]

_log = logging.getLogger(__name__)

_LOOK_S = 0.5

_GRACE_S = 5.0
"""How long jobs have to end by themselves. One that waits for another system's answer may wait for
minutes (`Options.copy_wait_s`), and a service manager kills what doesn't end in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How a system is served.

    Attributes:
        directory: the system's.
        socket_path: of its API; None: `pyrep.sock` in the directory.
        listen: host:port where other systems may dial it; None: nowhere.
        dial: addresses of other systems, by their ids.
        security: of all paths; None: no path may be asked for.
        timing: of all paths.
        group: group id that may use the API beside root and this user; None: this process's.
        options: of the engine.
        reload: what SIGHUP does beside reading the certificates anew.
    """

    directory: Path
    socket_path: Path | None = None
    listen: str | None = None
    dial: Mapping[str, str] = field(default_factory=dict)
    security: Security | None = None
    timing: PathTiming = field(default_factory=PathTiming)
    group: int | None = None
    options: Options = field(default_factory=Options)
    reload: Callable[[], None] | None = None


def serve(serving: Serving, *, ready: Callable[[dict[str, object]], None]) -> None:
    """Serve a system until SIGTERM or SIGINT; then close it cleanly. From the main thread only.

    SIGHUP reads the certificates anew, for paths that come up from then on. Once a day it is logged
    which of them end soon. systemd is told when it is ready and when it ends (`Type=notify`).

    Args:
        serving: what and how.
        ready: told once when all is up: system_id, socket, address (of the listener), pid.

    Raises:
        PyrepError: it couldn't be opened or served, or not be closed cleanly.
    """
    end = threading.Event()
    reload = threading.Event()
    with _signals(end, reload):
        jobs = JobTable()
        path = serving.socket_path or serving.directory.absolute() / SOCKET_NAME
        with StorageSystem.open(serving.directory, options=serving.options) as system:
            watched = None
            if isinstance(serving.security, Tls):
                watched = Certificates(serving.security, system.system_id)
            address = _connect(system, serving)
            facts: dict[str, object] = {
                "system_id": system.system_id,
                "socket": str(path),
                "address": address,
                "pid": os.getpid(),
            }
            lasting = watched.facts if watched is not None else dict[str, str]
            site = Site(system=system, jobs=jobs, facts=lambda: {**facts, **lasting()})
            with ApiServer(path, site, group=serving.group) as api:
                ready(facts)
                _tell_systemd("READY=1")
                _log.info("serve.ready system=%s socket=%s", system.system_id, path)
                while not end.wait(_LOOK_S):
                    if reload.is_set():
                        reload.clear()
                        _reload(serving, watched)
                    if watched is not None:
                        watched.look()
                        _cut_denied(system, watched.denied)
                _log.info("serve.end system=%s", system.system_id)
                _tell_systemd("STOPPING=1")
                api.hush()
                if not jobs.cancel(_GRACE_S):
                    _log.info("serve.end system=%s some jobs wait for others", system.system_id)
                # Requests and jobs that wait inside the system, for a copy or for another system,
                # end with it; the API is closed behind it, so that they are still answered.
                system.close()
        jobs.close()


def _connect(system: StorageSystem, serving: Serving) -> str | None:
    if serving.security is None:
        return None
    address = None
    if serving.listen is not None:
        listener = system.listen(serving.listen, security=serving.security, timing=serving.timing)
        address = str(listener.address)
    for system_id, where in serving.dial.items():
        system.dial(system_id, where, security=serving.security, timing=serving.timing)
    return address


@contextlib.contextmanager
def _signals(end: threading.Event, reload: threading.Event) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        end.set()

    def read_anew(_number: int, _frame: FrameType | None) -> None:
        reload.set()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: read_anew}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cut_denied(system: StorageSystem, denied: Iterable[str]) -> None:
    """Cut off who was let in before it was denied, or just then."""
    for one in denied:
        if system.cut_off(one):
            _log.warning("path.cut_off peer=%s: it is denied", one)


def _reload(serving: Serving, watched: Certificates | None) -> None:
    try:
        if serving.reload is not None:
            serving.reload()
        if watched is not None:
            watched.reload()
    except PyrepError as error:
        _log.error("serve.reload failed, what was read before stays: %s", format_error(error))
    else:
        _log.info("serve.reload done")


def _tell_systemd(state: str) -> None:
    name = os.environ.get("NOTIFY_SOCKET")
    if name:
        address = "\0" + name[1:] if name.startswith("@") else name
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode(), address)
