"""The demonstration's two processes: `pyrep serve` twice, over mutual TLS with a PKI of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pyrep.api import Client
from pyrep.engine import StorageSystem
from pyrep.errors import DeviceError

__all__ = ["Process", "run_processes"]

_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A system that is served.

    Attributes:
        address: where it listens for the other system, or None.
    """

    system_id: str
    pid: int
    address: str | None
    client: Client


@contextmanager
def run_processes(directory: Path) -> Iterator[tuple[Process, Process]]:
    """Make systems 100a and 100b, serve each in a process, connect them; end both afterwards.

    They are sessions of their own: Ctrl-C is for the demonstration, which then ends them.

    Raises:
        DeviceError: one didn't come up; the message has what it said.
    """
    # A large library, which nothing else of the program needs.
    from pyrep.interconnect.pki import issue_certificate, make_authority  # noqa: PLC0415

    pki = directory / "pki"
    make_authority(pki, name="demonstration")
    for system_id in ("100a", "100b"):
        issue_certificate(pki, system_id)
        StorageSystem.create(directory / system_id, system_id).close()
    with ExitStack() as stack:
        second = stack.enter_context(_served(directory, "100b", ["--listen=127.0.0.1:0"]))
        dial = f"--dial=100b={second.address}"
        first = stack.enter_context(_served(directory, "100a", [dial]))
        first.client.wait_for_path("100b", timeout_s=_PATIENCE_S)
        yield first, second


@contextmanager
def _served(directory: Path, system_id: str, more: Sequence[str]) -> Iterator[Process]:
    pki, home = directory / "pki", directory / system_id
    command = [
        *(sys.executable, "-m", "pyrep", "serve", str(home), "--json"),
        f"--certificate={pki / system_id}.pem",
        f"--key={pki / system_id}.key",
        f"--authority={pki / 'authority.pem'}",
        *more,
    ]
    log = directory / f"{system_id}.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        ) as process,
    ):
        try:
            facts = _wait_until_ready(process.stdout, system_id, log)
            with Client(str(facts["socket"])) as client:
                address = facts["address"]
                yield Process(
                    system_id=system_id,
                    pid=process.pid,
                    address=None if address is None else str(address),
                    client=client,
                )
        finally:
            _end(process)


def _wait_until_ready(output: IO[bytes] | None, system_id: str, log: Path) -> dict[str, object]:
    line = output.readline() if output is not None else b""
    if not line:
        said = log.read_text(errors="backslashreplace").strip()
        raise DeviceError(f"system {system_id} can't be served: {said or 'it said nothing'}")
    facts: dict[str, object] = json.loads(line)
    return facts


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it cleanly, or, if it doesn't end, at once."""
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except BaseException:
        process.kill()
        raise
