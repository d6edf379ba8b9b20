"""Two served systems that are killed and started again, with a host that remembers everything."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pyrep import StorageSystem
from pyrep.api import Client
from pyrep.errors import PyrepError
from pyrep.interconnect.pki import issue_certificate, make_authority
from pyrep.testing import wait_until

BLOCK = 4096
SIDES = ("100a", "100b")
LONG_S = 60.0


def free_port() -> int:
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Served:
    """100a that mirrors to 100b, each a process of its own that may be killed.

    Args:
        base: where the systems' directories are.
        volumes: per side, volumes and their sizes.
        environment: per side, what its process finds in its environment beside what is there.
        config: per side, its pyrep.toml.
    """

    def __init__(
        self,
        base: Path,
        volumes: dict[str, dict[str, int]],
        *,
        environment: dict[str, dict[str, str]] | None = None,
        config: dict[str, str] | None = None,
    ) -> None:
        self.base = base
        self._environment = environment or {}
        self.port = free_port()
        self.running: dict[str, subprocess.Popen[str]] = {}
        for side in SIDES:
            with StorageSystem.create(base / side, side) as system:
                for name, size in volumes[side].items():
                    system.create_volume(name, size)
            if config:
                (base / side / "pyrep.toml").write_text(config.get(side, ""))

    def start(self, side: str) -> None:
        """Start a side, and wait until it is ready."""
        where = (
            f"--listen=127.0.0.1:{self.port}"
            if side == "100b"
            else f"--dial=100b=127.0.0.1:{self.port}"
        )
        command = [sys.executable, "-m", "pyrep", "serve", str(self.base / side), where]
        with (self.base / f"{side}.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, *self.security(side), "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self._environment.get(side, {})},
            )
        self.running[side] = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (self.base / f"{side}.log").read_text()
        assert json.loads(line)["system_id"] == side

    def kill(self, side: str) -> None:
        """End a side as `kill -9` does."""
        process = self.running.pop(side)
        process.send_signal(signal.SIGKILL)
        process.wait(LONG_S)
        if process.stdout is not None:
            process.stdout.close()

    @contextlib.contextmanager
    def client(self, side: str) -> Iterator[Client]:
        """Talk to a side."""
        with Client.of_system(self.base / side) as client:
            yield client

    def close(self) -> None:
        """Kill what runs."""
        for side in list(self.running):
            self.kill(side)

    def stored(self, side: str, volume: str) -> bytes:
        """Return a volume's file."""
        return (self.base / side / "volumes" / f"{volume}.img").read_bytes()

    def wait_duplex(self, pair_id: str) -> None:
        """Wait until both sides of a remote pair say so."""

        def is_so() -> bool:
            try:
                for side in SIDES:
                    with self.client(side) as client:
                        if client.pair(pair_id)["status"] != "DUPLEX":
                            return False
            except PyrepError:
                return False
            return True

        wait_until(is_so, timeout_s=LONG_S)

    def security(self, _side: str) -> list[str]:
        """Return what a side's command says of its paths."""
        return ["--insecure-plain-tcp"]


class TlsServed(Served):
    """The same over mutual TLS."""

    def __init__(self, base: Path, volumes: dict[str, dict[str, int]]) -> None:
        super().__init__(base, volumes)
        self._pki = base / "pki"
        make_authority(self._pki, name="test")
        for side in SIDES:
            issue_certificate(self._pki, side)

    def security(self, side: str) -> list[str]:
        """Return what a side's command says of its paths."""
        own = [f"--certificate={self._pki / side}.pem", f"--key={self._pki / side}.key"]
        return [*own, f"--authority={self._pki / 'authority.pem'}"]


@dataclass(slots=True)
class Host:
    """A writer with blocks of its own, and the record of what it may rely on, kept outside.

    Attributes:
        stride: block n is n times so many blocks into the volume.
        acked: per block, the last write that was acknowledged: what a killed process leaves.
        asked: per block, the writes asked for since; any of them may have arrived.
    """

    served: Served
    volume: str
    blocks: range
    seed: int
    stride: int = 1
    acked: dict[int, int] = field(default_factory=dict)
    asked: dict[int, set[int]] = field(default_factory=dict)
    count: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Write, now and then flush; when the system is gone, try again."""
        draw = random.Random(self.seed)
        while not self.stop.is_set():
            with contextlib.suppress(PyrepError, OSError), self.served.client("100a") as client:
                while not self.stop.is_set():
                    self._write(client, draw.choice(self.blocks))
                    if draw.random() < 0.1:
                        client.flush(self.volume)
            self.stop.wait(0.01)

    def _write(self, client: Client, block: int) -> None:
        self.count += 1
        number = self.seed << 32 | self.count
        self.asked.setdefault(block, set()).add(number)
        client.write(self.volume, number.to_bytes(8, "little") * (BLOCK // 8), self.offset(block))
        self.acked[block] = number
        self.asked[block] = set()

    def offset(self, block: int) -> int:
        """Return where a block begins."""
        return block * BLOCK * self.stride

    def check(self, data: bytes) -> None:
        """See that every acknowledged write is there, or one that was asked for after it."""
        for block in self.blocks:
            allowed = self.asked.get(block, set()) | {self.acked.get(block, 0)}
            found = data[self.offset(block) : self.offset(block) + BLOCK]
            for at in range(0, BLOCK, 8):
                number = int.from_bytes(found[at : at + 8], "little")
                assert number in allowed, f"block {block} holds {number:x}, not one of {allowed}"


@contextlib.contextmanager
def writing(hosts: list[Host]) -> Iterator[None]:
    """Let hosts write meanwhile."""
    threads = [threading.Thread(target=one.run, name=f"host {one.seed}") for one in hosts]
    for one in hosts:
        one.stop.clear()
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for one in hosts:
            one.stop.set()
        for thread in threads:
            thread.join(LONG_S)
            assert not thread.is_alive()


def environment_count(name: str, default: int) -> int:
    """Return a number from the environment."""
    return int(os.environ.get(name, str(default)))
