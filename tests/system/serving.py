"""Two systems as processes over mutual TLS, that are killed and started anew."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from pyrep import StorageSystem
from pyrep.api import Client
from pyrep.interconnect.pki import issue_certificate, make_authority

_PATIENCE_S = 60.0


class Served:
    """A process that serves one system."""

    def __init__(
        self, root: Path, system_id: str, *more: str, prefix: tuple[str, ...] = ()
    ) -> None:
        self.system_id = system_id
        self.directory = root / system_id
        self._log = root / f"{system_id}.log"
        own = [f"--certificate={root / system_id}.pem", f"--key={root / system_id}.key"]
        words = ["-m", "pyrep", "serve", str(self.directory), "--json", *own]
        authority = f"--authority={root / system_id}-authority.pem"
        self._command = [*prefix, sys.executable, *words, authority, *more]
        self._running: subprocess.Popen[str] | None = None
        self.address = ""
        self.client: Client | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self._log.open("a") as log:
            self._running = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ
            )
        assert self._running.stdout is not None
        line = self._running.stdout.readline()
        assert line, self._log.read_text()
        self.address = str(json.loads(line)["address"])
        self.client = Client.of_system(self.directory)

    @property
    def api(self) -> Client:
        assert self.client is not None
        return self.client

    def signal(self, number: int) -> None:
        """Send a signal."""
        assert self._running is not None
        self._running.send_signal(number)

    def end(self, number: int) -> int:
        """Send a signal that ends it; wait, and return the exit status."""
        self.signal(number)
        assert self._running is not None
        status = self._running.wait(_PATIENCE_S)
        self.kill()
        return status

    def log(self) -> str:
        """Return what it has logged, in all its runs."""
        return self._log.read_text()

    def kill(self) -> None:
        """kill -9, and wait for the end. Idempotent."""
        if self.client is not None:
            self.client.close()
            self.client = None
        if self._running is not None:
            self._running.kill()
            self._running.wait(_PATIENCE_S)
            assert self._running.stdout is not None
            self._running.stdout.close()
            self._running = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


def make_sites(root: Path, config: str) -> None:
    """Make 100a and 100b with certificates, and one configuration for both."""
    make_authority(root, name="test")
    for system_id in ("100a", "100b"):
        issue_certificate(root, system_id)
        shutil.copy(root / "authority.pem", root / f"{system_id}-authority.pem")
        StorageSystem.create(root / system_id, system_id).close()
        (root / system_id / "pyrep.toml").write_text(config)
