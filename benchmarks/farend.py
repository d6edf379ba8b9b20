"""The far end of a path, in a process of its own: a secondary system, and the ceilings' other end.

Run as a program it takes commands as lines of JSON, one after the other, until its input ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ceilings import Ceilings
from pyrep import StorageSystem
from pyrep.interconnect import Plain, Security, Tls
from pyrep.interconnect.pki import AUTHORITY_CERTIFICATE, issue_certificate, make_authority

__all__ = ["FarEnd", "far_end", "security_of", "tls_context"]

_PUMP_BYTES = 256 << 10
_VOLUME = "105b"


def _files(directory: Path, system_id: str) -> tuple[Path, Path, Path]:
    authority = directory / "authority"
    return (
        authority / f"{system_id}.pem",
        authority / f"{system_id}.key",
        authority / AUTHORITY_CERTIFICATE,
    )


def security_of(directory: Path, system_id: str, *, is_tls: bool) -> Security:
    """Return what secures a system's end of the path."""
    if not is_tls:
        return Plain()
    certificate, key, authority = _files(directory, system_id)
    return Tls(certificate=certificate, key=key, authority=authority)


def tls_context(directory: Path, system_id: str, *, is_server: bool) -> ssl.SSLContext:
    """Return a context for the ceiling, with the same certificates and demands."""
    certificate, key, authority = _files(directory, system_id)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    return context


class FarEnd:
    """The near side's hold on it. Made by `far_end`.

    Attributes:
        directory: where both ends keep what they need.
        address: where its system listens.
        target: the file of its volume.
    """

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self._process = process
        self.directory = directory
        told = self._read()
        self.address = f"127.0.0.1:{told['port']}"
        self.target = Path(told["target"])
        self._ceiling_port: int = told["ceiling_port"]

    @property
    def volume(self) -> str:
        """The id of its volume."""
        return _VOLUME

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the far end has ended: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @contextlib.contextmanager
    def connected(self, verb: str, **arguments: object) -> Iterator[socket.socket]:
        """Let it do the other end of a ceiling; yield the socket when it is about to begin."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"verb": verb, **arguments}) + "\n")
        self._process.stdin.flush()
        with socket.create_connection(("127.0.0.1", self._ceiling_port)) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            assert sock.recv(1) == b"r"
            yield sock
        answer = self._read()
        if answer.get("error"):
            raise OSError(answer["error"], os.strerror(answer["error"]))

    def resident_bytes(self) -> int:
        """Return the most that it ever had in memory."""
        with self.connected("resident") as sock:
            return int(sock.makefile().readline())

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Stop it: its sockets stay open, and nobody reads them."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def far_end(directory: Path, *, volume_bytes: int, is_tls: bool = False) -> Iterator[FarEnd]:
    """Start one over a new system 100b with one volume."""
    if is_tls:
        make_authority(directory / "authority")
        for system_id in ("100a", "100b"):
            issue_certificate(directory / "authority", system_id)
    command = [sys.executable, __file__, str(directory), str(volume_bytes), str(int(is_tls))]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
    )
    try:
        yield FarEnd(process, directory)
    finally:
        process.communicate()


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[1]
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{Path(__file__).parent}"}


# --- the process -----------------------------------------------------------------------------


def _do(command: dict[str, Any], sock: socket.socket, ceilings: Ceilings, target: int) -> None:
    match command["verb"]:
        case "receive":
            ceilings.receive_runs(sock.fileno(), target)
        case "answer":
            ceilings.answer(
                sock.fileno(),
                target,
                command["length"],
                command["count"],
                is_durable=command["is_durable"],
            )
        case "resident":
            most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            sock.sendall(f"{most}\n".encode())
        case verb:
            raise ValueError(verb)


def _drain(sock: ssl.SSLSocket, count: int) -> None:
    view = memoryview(bytearray(_PUMP_BYTES))
    while count:
        count -= sock.recv_into(view)
    sock.sendall(b"w")


def _serve(directory: Path, system: StorageSystem, port: int) -> None:
    ceilings = Ceilings()
    path = system.volume(_VOLUME).path
    target = os.open(path, os.O_RDWR)
    with socket.create_server(("127.0.0.1", 0)) as server:
        told = {"port": port, "ceiling_port": server.getsockname()[1], "target": path}
        print(json.dumps(told), flush=True)  # noqa: T201 (what the near end reads)
        for line in sys.stdin:
            command = json.loads(line)
            error = 0
            sock, _ = server.accept()
            with sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.sendall(b"r")
                try:
                    if command["verb"] == "pump":
                        context = tls_context(directory, "100b", is_server=True)
                        with context.wrap_socket(sock, server_side=True) as secured:
                            _drain(secured, command["count"])
                    else:
                        _do(command, sock, ceilings, target)
                except OSError as failed:
                    error = failed.errno or -1
            print(json.dumps({"error": error}), flush=True)  # noqa: T201


def _main(directory: Path, volume_bytes: int, *, is_tls: bool) -> None:
    with StorageSystem.create(directory / "100b", "100b") as system:
        system.create_volume(_VOLUME, volume_bytes)
        security = security_of(directory, "100b", is_tls=is_tls)
        listener = system.listen("127.0.0.1:0", security=security)
        _serve(directory, system, listener.address.port)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), is_tls=sys.argv[3] == "1")
